import type { StepCurve } from '@butterfly/common';
import type { Roster } from './roster.js';
import type { SchedulerConfig } from './scheduler-types.js';
import { mixedRows, prefillChunk } from './step-sizes.js';

/** While others decode, a step with a part of a prompt may take this long: they wait for it. */
const mixedStepMicrosMax = 400_000;
/** Row groups of all kernels that we know divide this. */
const rowsMultiple = 8;

/** Up to how many rows a step may be filled with parts of prompts, that has so many rows already. */
export function prefillRowsEnd(
  rows: number,
  { prefilling, waiting, decoding, waitingTokens, next }: Roster,
  { stages, stepRowsMax }: Required<Pick<SchedulerConfig, 'stages' | 'stepRowsMax'>>,
  curve: StepCurve,
): number {
  if (prefilling.size === 0 && waiting === 0) return rows;
  let tokensOfRunning = 0;
  for (const { known } of prefilling) tokensOfRunning += known.length;
  // Whole prompts, not what is left of them: the chunks of one prompt are of one size.
  if (decoding === 0) return prefillChunk(waitingTokens + tokensOfRunning, stages, stepRowsMax, curve);
  const rowsMax = Math.max(
    curve.rowsWithin(mixedStepMicrosMax, stepRowsMax, rowsMultiple),
    Math.min(stepRowsMax, rows + 4 * rowsMultiple),
  );
  const promptTokens = (next?.known.length ?? 0) + tokensOfRunning;
  return mixedRows({ decodeRows: rows, promptTokens, stages, rowsMax, multiple: rowsMultiple }, curve);
}
