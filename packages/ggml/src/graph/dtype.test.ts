import { expect, it } from 'vitest';
import { dtype, isWeightType, rowBytes, typeTraits } from './dtype.js';
import { computeInvalid, ggml } from '../testing/graphs.js';

it.each([
  [dtype.F32, 'f32', 1, 4],
  [dtype.F16, 'f16', 1, 2],
  [dtype.BF16, 'bf16', 1, 2],
  [dtype.I32, 'i32', 1, 4],
  [dtype.I64, 'i64', 1, 8],
  [dtype.Q8_0, 'q8_0', 32, 34],
  [2, 'q4_0', 32, 18],
  [12, 'q4_K', 256, 144],
  [14, 'q6_K', 256, 210],
])('knows type %i as %s', (type, name, blockSize, blockBytes) => {
  expect(typeTraits(ggml, type)).toEqual({ name, blockSize, blockBytes });
  // From the second time on out of the cache.
  expect(typeTraits(ggml, type)).toEqual({ name, blockSize, blockBytes });
  expect(rowBytes(ggml, type, blockSize * 3)).toBe(blockBytes * 3);
});

it.each([-1, 43, 1000, 1.5, NaN, Infinity, 4, 5, 31, 36])(
  'refuses the unknown or retired type %d',
  (type) => {
    expect(() => typeTraits(ggml, type)).toThrow(expect.objectContaining(computeInvalid));
  },
);

it.each([0, -32, 31, 33, 32.5, NaN])('refuses a row of %d elements in blocks of 32', (elements) => {
  expect(() => rowBytes(ggml, dtype.Q8_0, elements)).toThrow(expect.objectContaining(computeInvalid));
});

it('tells weights from indices and intermediate results', () => {
  expect([0, 1, 2, 8, 12, 14, 30].every(isWeightType)).toBe(true);
  expect([9, 15, dtype.I32, dtype.I64, 28].some(isWeightType)).toBe(false);
});
