import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { EndRate } from './end-rate.js';

function after(intervalsMs: readonly number[]): number {
  const rate = new EndRate(1000);
  let nowMs = 1000;
  for (const intervalMs of intervalsMs) rate.ended((nowMs += intervalMs));
  return rate.expectedWaitMs();
}

describe('EndRate', () => {
  it('starts with the shortest wait and comes to the interval between ends', () => {
    expect(after([])).toBe(1000);
    expect(after(new Array<number>(60).fill(7000))).toBeCloseTo(7000, -2);
    expect(after([...new Array<number>(60).fill(7000), ...new Array<number>(60).fill(3000)])).toBeCloseTo(
      3000,
      -2,
    );
  });

  it('asks nobody to stay away for less than a second or more than a minute', () => {
    fc.assert(
      fc.property(fc.array(fc.double({ min: 0, max: 1e9, noNaN: true })), (intervalsMs) => {
        const waitMs = after(intervalsMs);
        expect(waitMs).toBeGreaterThanOrEqual(1000);
        expect(waitMs).toBeLessThanOrEqual(60_000);
      }),
    );
    expect(after(new Array<number>(100).fill(1))).toBe(1000);
    expect(after(new Array<number>(200).fill(1e9))).toBeCloseTo(60_000, -1);
  });

  it('does not let one long pause count for more than a tenth of a minute', () => {
    expect(after([...new Array<number>(60).fill(2000), 1e9])).toBeLessThan(2000 + 6000);
  });
});
