/** The time that a step of so many rows takes. */
export interface StepTime {
  readonly rows: number;
  readonly micros: number;
}

/** Kernels take rows in groups of at most this many. */
const rowGroupMax = 8;

/** The time of a step by what was measured, rows ascending: on straight lines, and behind the end in proportion. */
export function stepMicros(rows: number, curve: readonly StepTime[]): number {
  const next = curve.findIndex((point) => point.rows >= rows);
  const above = curve[next];
  const below = next === -1 ? curve.at(-1) : curve[next - 1];
  if (!above) return below ? (below.micros * rows) / below.rows : 0;
  if (!below) return above.micros;
  const share = (rows - below.rows) / (above.rows - below.rows);
  return below.micros + share * (above.micros - below.micros);
}

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
