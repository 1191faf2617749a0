import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { uniforms } from './random.js';
import { percentile, percentiles, poissonArrivals } from './statistics.js';

describe('percentiles', () => {
  it('lie in a straight line between the two nearest values', () => {
    expect(percentile([4, 1, 3, 2], 0)).toBe(1);
    expect(percentile([4, 1, 3, 2], 100)).toBe(4);
    expect(percentile([10, 20], 25)).toBe(12.5);
    expect(percentile([], 50)).toBeNaN();
  });

  it('are the same one by one and together, and have their share of the values below them', () => {
    const values = fc.array(fc.integer({ min: -1000, max: 1000 }), { minLength: 1 });
    fc.assert(
      fc.property(values, fc.array(fc.integer({ min: 0, max: 100 })), (all, percents) => {
        const found = percentiles(all, percents);
        expect(found).toEqual(percents.map((percent) => percentile(all, percent)));
        found.forEach((value, index) => {
          const below = all.filter((each) => each <= value).length;
          expect(below).toBeGreaterThanOrEqual(
            Math.floor(((all.length - 1) * (percents[index] ?? 0)) / 100) + 1,
          );
        });
      }),
    );
  });
});

describe('Poisson arrivals', () => {
  it('come at their rate, later and later, with gaps that vary as much as they are long', () => {
    const arrivalsMs = poissonArrivals(uniforms('a'), 5_000, 4);
    const gapsMs = arrivalsMs.map((atMs, index) => atMs - (arrivalsMs[index - 1] ?? 0));
    expect(Math.min(...gapsMs)).toBeGreaterThanOrEqual(0);
    const meanMs = gapsMs.reduce((a, b) => a + b, 0) / gapsMs.length;
    const deviationMs = Math.sqrt(gapsMs.reduce((sum, gap) => sum + (gap - meanMs) ** 2, 0) / gapsMs.length);
    expect(Math.abs(meanMs - 250)).toBeLessThan(15);
    expect(Math.abs(deviationMs - 250)).toBeLessThan(25);
  });
});
