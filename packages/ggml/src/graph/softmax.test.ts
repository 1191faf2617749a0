import { describe, expect, it } from 'vitest';
import { CpuBackend } from '../device/cpu-backend.js';
import { Softmax } from './softmax.js';
import { backend, computeInvalid, ggml, numbers } from '../testing/graphs.js';

const invalid = expect.objectContaining(computeInvalid) as Error;

function reference(values: Float32Array): number[] {
  const largest = Math.max(...values);
  const weights = [...values].map((value) => Math.exp(value - largest));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return weights.map((weight) => weight / total);
}

describe('Softmax', () => {
  it.each([1, 7, 320, 4099])('gives the shares of %i numbers, row by row', async (columns) => {
    using softmax = new Softmax(backend, columns, 4);
    for (const rows of [2, 4, 1, 3, 2]) {
      const values = numbers(columns * rows, rows).map((value) => value * 30);
      values[0] = -Infinity;
      softmax.inputs(rows).set(values);
      const shares = await softmax.compute(rows);
      expect(shares).toHaveLength(columns * rows);
      for (let start = 0; start < shares.length; start += columns) {
        const row = values.subarray(start, start + columns);
        if (!row.some(Number.isFinite)) continue;
        for (const [i, share] of reference(row).entries())
          expect(Math.abs((shares[start + i] ?? NaN) - share)).toBeLessThan(1e-6);
      }
    }
  });

  it('computes each row by itself, on any number of threads', async () => {
    const columns = 999;
    const values = numbers(columns * 8).map((value) => value * 20);
    using alone = new Softmax(backend, columns, 1);
    using two = new CpuBackend(ggml, 2);
    using together = new Softmax(two, columns, 8);
    together.inputs(8).set(values);
    const all = (await together.compute(8)).slice();
    for (let row = 0; row < 8; row++) {
      alone.inputs(1).set(values.subarray(row * columns, (row + 1) * columns));
      expect(all.slice(row * columns, (row + 1) * columns)).toEqual((await alone.compute(1)).slice());
    }
  });

  it('refuses more rows than it has room for, and all use after it is disposed, which may be done twice', async () => {
    const softmax = new Softmax(backend, 8, 2);
    for (const rows of [0, 3, 1.5, -1]) expect(() => softmax.inputs(rows)).toThrow(invalid);
    softmax[Symbol.dispose]();
    softmax[Symbol.dispose]();
    expect(() => softmax.inputs(1)).toThrow(invalid);
    await expect(softmax.compute(1)).rejects.toThrow(invalid);
  });
});
