import { type StepTime, stepMicros } from '@butterfly/common';
import type { LayerTimes, TimedLayers } from '@butterfly/model';

/** What a worker measured of itself for a model: the time over rows of its layers, and of norm, head and sampling. */
export interface ModelCurves extends LayerTimes {
  /** The same of layers whose experts lie with the host, where a device has such. */
  readonly hostExperts?: LayerTimes | undefined;
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

/**
 * What a stage of these layers takes.
 * @param outputCurve of the output where it is the last stage, else null
 */
export function stageCurve(
  layers: readonly TimedLayers[],
  outputCurve: readonly StepTime[] | null,
  rowsMax: number,
): StepTime[] {
  const parts = outputCurve === null ? layers : [...layers, { layers: 1, curve: outputCurve }];
  const measured = parts.flatMap(({ curve }) => curve.map(({ rows }) => rows));
  // The largest step stands in for those beyond it.
  const within = [...new Set(measured.map((rows) => Math.min(rows, rowsMax)))].sort((a, b) => a - b);
  return within.map((rows) => ({
    rows,
    micros: parts.reduce((sum, part) => sum + part.layers * stepMicros(rows, part.curve), 0),
  }));
}

/** The times of steps that are padded. */
export function paddedCurve(curve: readonly StepTime[]): StepTime[] {
  return curve.map(({ rows }) => ({ rows, micros: stepMicros(paddedRows(rows, curve), curve) }));
}
