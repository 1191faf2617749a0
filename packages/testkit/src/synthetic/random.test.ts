import { expect, it } from 'vitest';
import { createRandom } from './random.js';

it('gives the same numbers for the same key and others for another', () => {
  const draw = (key: string): number[] =>
    Array.from(
      { length: 8 },
      (
        (random) => () =>
          random.below(1000)
      )(createRandom(key)),
    );
  expect(draw('a')).toEqual(draw('a'));
  expect(draw('a')).not.toEqual(draw('b'));
});

it('fills with the wanted mean and deviation', () => {
  const values = new Float32Array(100_000);
  createRandom('moments').fillNormal(values, 3, 0.5);
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length;
  expect(mean).toBeCloseTo(3, 2);
  expect(Math.sqrt(variance)).toBeCloseTo(0.5, 2);
});

it('draws every integer below a bound and none beyond', () => {
  const random = createRandom('range');
  expect(new Set(Array.from({ length: 1000 }, () => random.below(7)))).toEqual(
    new Set([0, 1, 2, 3, 4, 5, 6]),
  );
});
