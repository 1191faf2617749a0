import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { median, medianSpread, slope, spreadOf } from './statistics.js';

describe('medians and spreads', () => {
  it('have the middle, or the mean of the two in the middle', () => {
    expect(median([3, 1, 2])).toBe(2);
    expect(median([4, 1, 3, 2])).toBe(2.5);
    expect(median([])).toBeNaN();
  });

  it('sort by value and not by text', () => {
    expect(median([9, 10, 100])).toBe(10);
  });

  it('rise with the percentage and stay within the values', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: -1000, max: 1000 }), { minLength: 1 }), (values) => {
        const { p50, p95, p99 } = spreadOf(values);
        expect(Math.min(...values)).toBeLessThanOrEqual(p50);
        expect(p50).toBeLessThanOrEqual(p95);
        expect(p95).toBeLessThanOrEqual(p99);
        expect(p99).toBeLessThanOrEqual(Math.max(...values));
      }),
    );
  });

  it('of several rounds are taken one by one', () => {
    const spreads = [1, 2, 3].map((p50) => ({ p50, p95: 10 * p50, p99: 100 }));
    expect(medianSpread(spreads)).toEqual({ p50: 2, p95: 20, p99: 100 });
  });
});

describe('the slope', () => {
  it('is that of the line that points lie on', () => {
    fc.assert(
      fc.property(fc.integer({ min: -9, max: 9 }), fc.integer({ min: -9, max: 9 }), (rise, start) => {
        const points = [0, 1, 2, 5].map((x) => [x, start + rise * x] as const);
        expect(slope(points)).toBeCloseTo(rise, 9);
      }),
    );
  });

  it('is none for one point', () => {
    expect(slope([[1, 1]])).toBeNaN();
  });
});
