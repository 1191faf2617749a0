import fc from 'fast-check';
import type { StepTime } from '../step-time.js';

/** Measured on the 1B shape (design, section 4): 4 rows cost more than 8, 24 more than 32. */
export const curveWithCliffs: readonly StepTime[] = [
  [1, 31],
  [2, 53],
  [4, 65],
  [8, 61],
  [16, 92],
  [24, 171],
  [32, 145],
  [48, 277],
  [64, 283],
].map(([rows = 0, millis = 0]) => ({ rows, micros: millis * 1000 }));

/** Curves with ascending rows and any times, so with cliffs. */
export const anyCurve: fc.Arbitrary<StepTime[]> = fc
  .uniqueArray(fc.integer({ min: 1, max: 600 }), { minLength: 1, maxLength: 8 })
  .chain((rows) =>
    fc.tuple(
      ...rows
        .toSorted((a, b) => a - b)
        .map((count) =>
          fc.record({ rows: fc.constant(count), micros: fc.integer({ min: 1, max: 100_000 }) }),
        ),
    ),
  );
