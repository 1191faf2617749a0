import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { GraphCutter, cacheLayer, type Cut } from './cut.js';
import { leavesOf } from './leaves.js';
import { HandMadeGraph, handMadeModel, tensorOf, type HandMadeModel } from './testing/hand-made-graph.js';

const cutterOf = ({ graph, layers }: HandMadeModel): GraphCutter => new GraphCutter(graph, layers);
const leafNames = ({ graph }: HandMadeModel, cut: Cut): string[] =>
  leavesOf(graph, cut).map(({ name }) => name);

describe('cacheLayer', () => {
  it.each([
    ['cache_k_l12', 12],
    ['cache_r_l0', 0],
    ['conv_states_all-3', 3],
    ['blk.2.attn_k.weight', null],
    ['my_cache_k_l1', null],
  ])('tells the layer of %s', (name, layer) => {
    expect(cacheLayer(tensorOf({ name }))).toBe(layer);
  });

  it('does not take a view of a cache for it', () => {
    expect(cacheLayer(tensorOf({ op: 'VIEW', name: 'cache_k_l1' }))).toBeNull();
  });
});

describe('GraphCutter', () => {
  it('gives the whole graph for all layers, and nothing comes from before', () => {
    const model = handMadeModel(3);
    const { nodes, entries, exits } = cutterOf(model).cut(0, 3);
    expect(nodes).toEqual([...model.graph.nodes.keys()]);
    expect(entries).toEqual([]);
    expect(model.graph.names(exits)).toEqual(['logits']);
  });

  it('lets the residual cross, of which the norm behind it is computed anew', () => {
    const model = handMadeModel(3);
    const cut = cutterOf(model).cut(1, 2);
    expect(model.graph.names(cut.entries)).toEqual(['residual-0']);
    expect(model.graph.names(cut.exits)).toEqual(['residual-1']);
    expect(model.graph.names(cut.nodes)).toEqual([
      'mask',
      'norm-1',
      'scaled-1',
      'key-1',
      'stored-1',
      'seen-1',
      'attention-1',
      'out-1',
      'residual-1',
    ]);
  });

  it('computes in each stage what depends on positions alone', () => {
    const model = handMadeModel(2);
    for (const [start, end] of [
      [0, 1],
      [1, 2],
    ] as const)
      expect(model.graph.names(cutterOf(model).cut(start, end).nodes)).toContain('mask');
  });

  it('reads the weights and caches of its layers alone', () => {
    const model = handMadeModel(3);
    const names = leafNames(model, cutterOf(model).cut(1, 2));
    expect(names.filter((name) => /^blk|^cache/u.test(name)).sort()).toEqual([
      'blk.1.attn_k.weight',
      'blk.1.attn_norm.weight',
      'blk.1.attn_output.weight',
      'cache_k_l1',
    ]);
    expect(names).not.toContain('token_embd.weight');
    expect(names).not.toContain('output_norm.weight');
  });

  it('reads a tied embedding in the last stage, but no tokens', () => {
    const model = handMadeModel(2, { isTied: true });
    const names = leafNames(model, cutterOf(model).cut(1, 2));
    expect(names).toContain('token_embd.weight');
    expect(names).not.toContain('inp_tokens');
  });

  it('computes no more than what is cached, where nobody wants logits', () => {
    const model = handMadeModel(2);
    const { nodes, entries, exits } = cutterOf(model).cut(1, 2, 'cachesOnly');
    expect(model.graph.names(nodes)).toEqual(['norm-1', 'scaled-1', 'key-1', 'stored-1']);
    expect(model.graph.names(entries)).toEqual(['residual-0']);
    expect(exits).toEqual([]);
  });

  it('lets every tensor cross that does not follow from others', () => {
    const model = handMadeModel(3, { hasSecondPath: true });
    expect(model.graph.names(cutterOf(model).cut(1, 2).entries)).toEqual(['side-0', 'sum-0']);
  });

  it('shows that a layer attends to the cache of another one', () => {
    const model = handMadeModel(3, { cacheOf: (layer) => Math.min(layer, 1) });
    const cut = cutterOf(model).cut(2, 3);
    const isOpen = leafNames(model, cut).includes('cache_k_l1') || cut.entries.length > 1;
    expect(isOpen).toBe(true);
  });

  it.each([
    [-1, 1],
    [1, 1],
    [2, 1],
    [0, 4],
  ])('refuses layers %i to %i of 3', (start, end) => {
    expect(() => cutterOf(handMadeModel(3)).cut(start, end)).toThrow(/no range/u);
  });

  it('makes parts that are whole, of graphs of every kind', () => {
    fc.assert(
      fc.property(anyModel, fc.nat(), fc.nat(), (model, a, b) => {
        const cutter = cutterOf(model);
        const start = a % model.layers;
        const end = start + 1 + (b % (model.layers - start));
        const cut = cutter.cut(start, end);
        const known = new Set([...cut.nodes, ...cut.entries].map((i) => model.graph.nodes[i]?.pointer));
        for (const position of cut.nodes)
          for (const source of model.graph.nodes[position]?.sources ?? []) {
            const layer = /^blk\.(\d+)/u.exec(source === null ? '' : model.graph.get(source).name)?.[1];
            const isLeaf = source !== null && model.graph.get(source).op === 'NONE';
            expect(isLeaf || known.has(source ?? undefined)).toBe(true);
            if (layer === undefined) continue;
            expect(Number(layer)).toBeGreaterThanOrEqual(start);
            expect(Number(layer)).toBeLessThan(end);
          }
        // What one stage hands on is what the next one takes.
        if (end < model.layers) expect(cut.exits).toEqual(cutter.cut(end, model.layers).entries);
      }),
    );
  });
});

/** Nodes that read some of the nodes before them and a weight of their layer, or none; the last one depends on all. */
const anyModel: fc.Arbitrary<HandMadeModel> = fc
  .array(
    fc.array(fc.record({ reads: fc.array(fc.nat(), { maxLength: 3 }), hasWeight: fc.boolean() }), {
      minLength: 1,
      maxLength: 6,
    }),
    {
      minLength: 1,
      maxLength: 5,
    },
  )
  .map((layers) => {
    const graph = new HandMadeGraph();
    graph.node('GET_ROWS', [graph.leaf('token_embd.weight'), graph.leaf('inp_tokens')]);
    for (const [layer, nodes] of layers.entries())
      for (const { reads, hasWeight } of nodes) {
        const sources = reads.map((read) => graph.nodes[read % graph.nodes.length]?.pointer ?? 0n);
        const weight = hasWeight ? [graph.leaf(`blk.${layer}.w.weight`)] : [];
        graph.node('ADD', [graph.nodes.at(-1)?.pointer ?? 0n, ...sources, ...weight]);
      }
    graph.node('MUL_MAT', [graph.leaf('output.weight'), graph.nodes.at(-1)?.pointer ?? 0n]);
    return { graph, layers: layers.length };
  });
