import { describe, expect, it } from 'vitest';
import { medianDifference } from './device-check.js';

const row = (factor: number): number[] => [3 * factor, 4 * factor];

describe('medianDifference', () => {
  it.each([
    ['equal rows', [row(1), row(2), row(3)], 0],
    ['one row that is another, as behind other experts', [row(1), row(-9), row(3)], 0],
    ['rows that are a tenth longer', [row(1.1), row(2.2), row(3.3)], 0.1],
    ['zeros', [row(0), row(0), row(0)], 1],
    ['rows that are no numbers', [row(NaN), row(NaN), row(3)], NaN],
  ])('tells of %s', (_, actual, expected) => {
    const reference = new Float32Array([row(1), row(2), row(3)].flat());
    const difference = medianDifference(reference, new Float32Array(actual.flat()), 3);
    if (Number.isNaN(expected)) expect(difference).toBeNaN();
    else expect(difference).toBeCloseTo(expected, 6);
  });
});
