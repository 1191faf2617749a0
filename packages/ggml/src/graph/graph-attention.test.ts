import { describe, expect, it } from 'vitest';
import { dtype } from './dtype.js';
import type { RopeParams } from './graph.js';
import { shapeOf } from './tensor.js';
import { computeFloats, numbers } from '../testing/graphs.js';

const at = (values: ArrayLike<number>, index: number): number => values[index] ?? NaN;

function expectClose(actual: readonly number[], expected: readonly number[], tolerance: number): void {
  expect(actual).toHaveLength(expected.length);
  expect(Math.max(...actual.map((value, i) => Math.abs(value - at(expected, i))))).toBeLessThan(tolerance);
}

describe('rope', () => {
  const headSize = 8;
  const heads = 2;
  const positions = [0, 1, 7, 300];
  const values = numbers(headSize * heads * positions.length);
  const plain: RopeParams = {
    dimensions: headSize,
    mode: 0,
    originalContext: 4096,
    base: 10_000,
    scale: 1,
    extrapolation: 0,
    attention: 1,
    betaFast: 32,
    betaSlow: 1,
  };

  /** Rotates pairs as RoFormer does (https://arxiv.org/abs/2104.09864). */
  function rotated(params: RopeParams, factors: readonly number[] | null): number[] {
    const result = [...values];
    const { dimensions, mode, base, scale } = params;
    for (const [row, position] of positions.entries())
      for (let head = 0; head < heads; head++)
        for (let pair = 0; pair < dimensions / 2; pair++) {
          const start = (row * heads + head) * headSize;
          const first = start + (mode === 0 ? pair * 2 : pair);
          const second = first + (mode === 0 ? 1 : dimensions / 2);
          const frequency = base ** ((-2 * pair) / dimensions) / (factors?.[pair] ?? 1);
          const angle = position * frequency * scale;
          const [x, y] = [at(values, first), at(values, second)];
          result[first] = (x * Math.cos(angle) - y * Math.sin(angle)) * params.attention;
          result[second] = (x * Math.sin(angle) + y * Math.cos(angle)) * params.attention;
        }
    return result;
  }

  it.each<[string, Partial<RopeParams>, number[] | null]>([
    ['neighbouring pairs', {}, null],
    ['halves', { mode: 2 }, null],
    ['part of a head', { dimensions: 4, mode: 2 }, null],
    ['another base', { base: 500_000 }, null],
    ['linear scaling', { scale: 0.25 }, null],
    ['a magnitude', { attention: 1.5 }, null],
    ['factors', {}, [1, 2, 4, 8]],
  ])('rotates by %s', async (_, change, factors) => {
    const params = { ...plain, ...change };
    const result = await computeFloats((graph, fill) =>
      graph.rope(
        fill(shapeOf(headSize, heads, positions.length), values),
        fill(shapeOf(positions.length), Int32Array.from(positions), dtype.I32),
        factors && fill(shapeOf(factors.length), factors),
        params,
      ),
    );
    expectClose(result, rotated(params, factors), 1e-4);
  });
});

describe('flashAttention', () => {
  const headSize = 16;
  const kvHeads = 2;
  const cached = 40;
  const scale = 1 / Math.sqrt(headSize);
  const keys = numbers(headSize * cached * kvHeads, 2);
  const values = numbers(headSize * cached * kvHeads, 3);

  /** Softmax attention, row by row; each query row sees so many cached tokens. */
  function attend(queries: ArrayLike<number>, heads: number, seen: readonly number[]): number[] {
    const rows = seen.length;
    const result: number[] = [];
    for (let row = 0; row < rows; row++)
      for (let head = 0; head < heads; head++) {
        const kvHead = Math.floor((head * kvHeads) / heads);
        const offset = (token: number): number => (kvHead * cached + token) * headSize;
        const scores = Array.from({ length: at(seen, row) }, (_, token) => {
          let dot = 0;
          for (let i = 0; i < headSize; i++)
            dot += at(queries, (head * rows + row) * headSize + i) * at(keys, offset(token) + i);
          return Math.exp(dot * scale);
        });
        const total = scores.reduce((sum, score) => sum + score, 0);
        for (let i = 0; i < headSize; i++)
          result.push(
            scores.reduce((sum, score, token) => sum + (score / total) * at(values, offset(token) + i), 0),
          );
      }
    return result;
  }

  it.each([
    ['F32', dtype.F32, 2, [40, 40, 40], 1e-5],
    ['F16', dtype.F16, 2, [40], 2e-3],
    ['a causal mask', dtype.F16, 2, [1, 2, 3, 20, 40], 2e-3],
    ['grouped heads', dtype.F16, 6, [38, 39, 40], 2e-3],
  ])('attends over %s', async (_, type, heads, seen, tolerance) => {
    const rows = seen.length;
    const queries = numbers(headSize * rows * heads, 4);
    const mask = Uint16Array.from({ length: cached * rows }, (_unused, i) =>
      i % cached < at(seen, Math.floor(i / cached)) ? 0 : 0xfc00,
    );
    const result = await computeFloats((graph, fill) => {
      const shape = shapeOf(headSize, cached, kvHeads);
      const [k, v] = [keys, values].map((data) => {
        const tensor = fill(shape, data);
        return type === dtype.F32 ? tensor : graph.copy(tensor, graph.tensor(type, shape));
      });
      if (!k || !v) throw new RangeError('two caches were made');
      const q = fill(shapeOf(headSize, rows, heads), queries);
      return graph.flashAttention(q, k, v, fill(shapeOf(cached, rows), mask, dtype.F16), scale);
    });
    expectClose(result, attend(queries, heads, seen), tolerance);
  });
});
