import { type StepTime, stepMicros } from '@butterfly/common';

/** What a worker measured of itself for a model: the time over rows of one layer, and of norm, head and sampling. */
export interface ModelCurves {
  readonly layerCurve: readonly StepTime[];
  readonly outputCurve: readonly StepTime[];
}

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

/** Rows to compute so that kernels meet whole groups only, whose numbers depend on nothing but the row. */
export function wholeGroups(rows: number): number {
  return Math.ceil(rows / rowGroupMax) * rowGroupMax;
}

/** What a stage of so many layers takes, by the times of one layer and, for the last stage, of the output. */
export function stageCurve(
  layers: number,
  { layerCurve, outputCurve }: ModelCurves,
  options: { readonly isLast: boolean; readonly rowsMax: number },
): StepTime[] {
  const curves = options.isLast ? [layerCurve, outputCurve] : [layerCurve];
  const measured = curves.flatMap((curve) => curve.map(({ rows }) => rows));
  // The largest step stands in for those beyond it.
  const within = [...new Set(measured.map((rows) => Math.min(rows, options.rowsMax)))].sort((a, b) => a - b);
  return within.map((rows) => ({
    rows,
    micros: layers * stepMicros(rows, layerCurve) + (options.isLast ? stepMicros(rows, outputCurve) : 0),
  }));
}

/** The times of steps that are padded. */
export function paddedCurve(curve: readonly StepTime[]): StepTime[] {
  return curve.map(({ rows }) => ({ rows, micros: stepMicros(paddedRows(rows, curve), curve) }));
}
