import { stepMicros, type StepTime } from '@butterfly/common';

/** Kernels take rows in groups of at most this many. */
const rowGroupMax = 8;

/**
 * Rows to compute so that these take the least time, at most seven more: the time over rows has cliffs. A single row
 * stays alone, because ggml multiplies it by unquantised weights with another kernel, which rounds otherwise.
 */
export function paddedRows(rows: number, curve: readonly StepTime[]): number {
  if (rows <= 1) return rows;
  let best = rows;
  for (let padded = rows + 1; padded < rows + rowGroupMax; padded++)
    if (stepMicros(padded, curve) < stepMicros(best, curve)) best = padded;
  return best;
}

/** The times of steps that are padded. */
export function paddedCurve(curve: readonly StepTime[]): StepTime[] {
  return curve.map(({ rows }) => ({ rows, micros: stepMicros(paddedRows(rows, curve), curve) }));
}
