import { CpuBackend, Graph } from '@butterfly/ggml';
import { afterAll, describe, expect, it } from 'vitest';
import { StateArena } from './state-arena.js';
import { ggml } from './testing/stages.js';

const backend = new CpuBackend(ggml, 1);
afterAll(() => backend[Symbol.dispose]());
const layers = [
  [
    { name: 'cache_r_l', width: 96 },
    { name: 'cache_s_l', width: 1024 },
  ],
  [],
  [{ name: 'cache_r_l', width: 96 }],
];

describe('StateArena', () => {
  it('has all slots of each state of each layer, zero once it is cleared', async () => {
    using arena = new StateArena(backend, layers, 10);
    await arena.clear(() => undefined);
    using graph = new Graph(ggml, 1);
    expect(arena.layers.map((states) => [...states.keys()])).toEqual(
      layers.map((states) => states.map(({ name }) => name)),
    );
    for (const [layer, states] of arena.layers.entries())
      for (const { name, width } of layers[layer] ?? []) {
        const tensor = states.get(name);
        expect(tensor?.shape).toEqual([width, 10, 1, 1]);
        const values = tensor ? new Float32Array(graph.data(tensor)) : [NaN];
        expect(values.every((value) => value === 0)).toBe(true);
      }
  });

  it('takes the bytes of its slots', () => {
    using arena = new StateArena(backend, layers, 10);
    expect(arena.bytes).toBeGreaterThanOrEqual((96 + 1024 + 96) * 4 * 10);
    expect(arena.bytes).toBeLessThan((96 + 1024 + 96) * 4 * 10 + 3 * backend.plain.alignment);
  });

  it('takes nothing in a model without states', async () => {
    using arena = new StateArena(backend, [[], []], 0);
    await arena.clear(() => undefined);
    expect(arena.bytes).toBe(0);
    expect(arena.layers.map(({ size }) => size)).toEqual([0, 0]);
  });

  it('stops clearing when whoever is asked throws', async () => {
    using arena = new StateArena(backend, [[{ name: 'cache_s_l', width: 2 ** 20 }]], 40);
    const stop = (): never => {
      throw new RangeError('no more');
    };
    await expect(arena.clear(stop)).rejects.toThrow('no more');
  });
});
