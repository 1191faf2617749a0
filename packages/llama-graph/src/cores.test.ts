import { HeaderModel, dtype } from '@butterfly/ggml';
import { beforeAll, describe, expect, it } from 'vitest';
import { findCores, rowDimensions, type Core } from './cores.js';
import { GraphCutter, type WholeGraph } from './cut.js';
import { surveyRequest } from './describe.js';
import { ggml, openFixture, useFixtures } from './testing/fixtures.js';

useFixtures();
const rows = 7;

interface FoundCores {
  readonly graph: WholeGraph;
  readonly cores: readonly Core[];
  readonly dimensions: readonly number[];
}

async function coresOf(name: string): Promise<FoundCores> {
  const { header } = surveyRequest(await openFixture(name));
  using model = new HeaderModel(ggml, { header, contextTokens: 512, rowsMax: 16, cacheType: dtype.F16 });
  const graph = model.graph(rows, 1).snapshot();
  const dimensions = rowDimensions(graph, model.graph(rows + 1, 1).snapshot(), rows);
  const cut = new GraphCutter(graph, model.layers).cut(0, model.layers);
  return { graph, cores: findCores(graph, cut, dimensions), dimensions };
}

describe('the cores of a hybrid of attention and delta net', () => {
  let found: FoundCores;
  beforeAll(async () => {
    found = await coresOf('qwen3next');
  });

  it('are one for each state of each layer that has such', () => {
    const names = [0, 1, 2, 4, 5, 6].flatMap((layer) => [`cache_r_l${layer}`, `cache_s_l${layer}`]);
    expect(found.cores.map(({ state }) => state).sort()).toEqual(names.sort());
  });

  it('hold what joins rows, and no matrix products of weights', () => {
    const operations = (core: Core): string[] =>
      core.inner.map((position) => found.graph.nodes[position]?.op ?? '');
    for (const core of found.cores) {
      expect(operations(core)).not.toContain('MUL_MAT');
      expect(operations(core)).toContain(core.state.startsWith('cache_r') ? 'SSM_CONV' : 'GATED_DELTA_NET');
      expect(core.writes.size).toBe(1);
    }
  });

  it('read and give whole rows', () => {
    for (const { exits, entries, innerSet } of found.cores) {
      expect(exits.length).toBeGreaterThan(0);
      for (const { position, dimension } of exits)
        expect(found.graph.nodes[position]?.shape[dimension]).toBe(rows);
      for (const position of entries) expect(innerSet.has(position)).toBe(false);
    }
  });
});

describe('the cores of RWKV', () => {
  it('are one for both states of a layer, as each is computed from the other', async () => {
    const { cores, graph } = await coresOf('rwkv7');
    expect(cores.map(({ state }) => state.split(' and ').sort())).toEqual(
      Array.from({ length: 6 }, (_, layer) => [`cache_r_l${layer}`, `cache_s_l${layer}`]),
    );
    for (const { writes, innerSet } of cores) {
      expect(writes.size).toBe(2);
      expect([...innerSet].map((position) => graph.nodes[position]?.op)).toContain('RWKV_WKV7');
    }
  });

  it('give what a later stage reads, though no node of their own does', async () => {
    const { header } = surveyRequest(await openFixture('rwkv7'));
    using model = new HeaderModel(ggml, { header, contextTokens: 512, rowsMax: 16, cacheType: dtype.F16 });
    const graph = model.graph(rows, 1).snapshot();
    const dimensions = rowDimensions(graph, model.graph(rows + 1, 1).snapshot(), rows);
    const cut = new GraphCutter(graph, model.layers).cut(0, 1);
    const [core] = findCores(graph, cut, dimensions);
    const inner = cut.exits.filter((position) => core?.innerSet.has(position));
    expect(inner).toHaveLength(1);
    expect(core?.exits.map(({ position }) => position)).toContain(inner[0]);
  });

  it('hold what reads a state that is not computed from what it was', async () => {
    const { cores, graph } = await coresOf('rwkv6qwen2');
    const shift = cores.find(({ state }) => state.includes('cache_r_l0'));
    const operations = [...(shift?.inner ?? [])].map((position) => graph.nodes[position]?.op);
    expect(operations).toContain('GET_ROWS');
    expect(operations).toContain('CONCAT');
  });
});

describe('rowDimensions', () => {
  let found: FoundCores;
  beforeAll(async () => {
    found = await coresOf('mamba2');
  });

  it('names the dimension of each node that grows with the rows', () => {
    const { graph, dimensions } = found;
    for (const [position, { op, shape }] of graph.nodes.entries()) {
      const dimension = dimensions[position] ?? -1;
      if (dimension >= 0) expect(shape[dimension]).toBe(rows);
      // The rows of the embedding are those of the batch.
      if (op === 'GET_ROWS' && position === 0) expect(dimension).toBe(1);
    }
  });

  it('refuses graphs of other sizes', () => {
    const { graph } = found;
    expect(() => rowDimensions(graph, { ...graph, nodes: graph.nodes.slice(1) }, rows)).toThrow(
      /another one for one row more/u,
    );
  });
});
