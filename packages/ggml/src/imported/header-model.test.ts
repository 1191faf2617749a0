import { describe, expect, it } from 'vitest';
import { dtype } from '../graph/dtype.js';
import { computeInvalid, ggml } from '../testing/graphs.js';
import { headerOf } from '../testing/header.js';
import { HeaderModel, type HeaderModelOptions } from './header-model.js';

const open = (change: Partial<HeaderModelOptions> = {}): HeaderModel =>
  new HeaderModel(ggml, {
    header: headerOf(),
    contextTokens: 256,
    rowsMax: 8,
    cacheType: dtype.F16,
    ...change,
  });
const invalid = expect.objectContaining(computeInvalid) as Error;
const refused = (words: string): Error =>
  expect.objectContaining({
    code: 'MODEL_UNSUPPORTED',
    message: expect.stringContaining(words) as unknown,
  }) as Error;

describe('HeaderModel', () => {
  it('has the graph of a model whose weights are nowhere', () => {
    using model = open();
    expect([model.layers, model.windowTokens, model.contextTokens]).toEqual([2, 0, 256]);
    const graph = model.graph(5, 2);
    const nodes = graph.nodes();
    expect(nodes).toHaveLength(graph.size);
    expect(nodes.filter(({ op }) => op === 'FLASH_ATTN_EXT')).toHaveLength(2);
    expect(nodes.at(-1)).toMatchObject({ op: 'MUL_MAT', type: dtype.F32, shape: [32, 2, 1, 1] });
  });

  it('gives graphs of other shapes the same nodes at the same places', () => {
    using model = open();
    const operations = (rows: number): string[] =>
      model
        .graph(rows, 1)
        .nodes()
        .map(({ op }) => op);
    const some = operations(3);
    expect(some.length).toBeGreaterThan(20);
    expect(operations(8)).toEqual(some);
    expect(operations(1)).toEqual(some);
  });

  it('knows weights by their names, and caches in the type that is wanted', () => {
    using model = open({ cacheType: dtype.Q8_0 });
    const graph = model.graph(1, 1);
    const read = graph.nodes().flatMap(({ sources, viewOf }) => [...sources, viewOf]);
    const leaves = read.flatMap((pointer) => (pointer === null ? [] : [graph.get(pointer)]));
    const byName = new Map(leaves.filter(({ op }) => op === 'NONE').map((leaf) => [leaf.name, leaf]));
    expect(byName.get('blk.1.ffn_down.weight')).toMatchObject({ type: dtype.F32, shape: [128, 64, 1, 1] });
    expect(byName.get('cache_k_l0')).toMatchObject({ type: dtype.Q8_0, shape: [64, 256, 1, 1] });
  });

  it.each([
    ['a key that is missing', { 'llama.embedding_length': undefined }, 'llama.embedding_length'],
    [
      'an architecture that it does not know',
      { 'general.architecture': { type: 'string', value: 'butterfly' } },
      "unknown model architecture: 'butterfly'",
    ],
    ['layers without tensors', { 'llama.block_count': { type: 'u32', value: 3 } }, 'blk.2.attn_norm.weight'],
  ] as const)('says in the words of llama.cpp what is wrong: %s', (_, change, words) => {
    expect(() => open({ header: headerOf(change) })).toThrow(refused(words));
  });

  it.each([
    ['no header', new Uint8Array(64)],
    ['half a header', headerOf().subarray(0, 500)],
  ])('refuses %s', (_, header) => {
    expect(() => open({ header })).toThrow(refused('has a header that cannot be read'));
  });

  it.each([
    [0, 1],
    [9, 1],
    [4, 0],
    [4, 5],
  ])('has no graph of %i rows with %i outputs', (rows, outputs) => {
    using model = open();
    expect(() => model.graph(rows, outputs)).toThrow(invalid);
  });

  it('has no graph when it is disposed, and may be disposed again', () => {
    const model = open();
    model[Symbol.dispose]();
    model[Symbol.dispose]();
    expect(() => model.graph(1, 1)).toThrow(invalid);
  });

  it('has no node behind the last', () => {
    using model = open();
    const graph = model.graph(1, 1);
    expect(() => graph.node(graph.size)).toThrow(invalid);
    expect(graph.node(graph.size - 1)).toBe(graph.nodes().at(-1));
  });
});
