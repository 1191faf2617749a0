import type { StepCurve } from '@butterfly/common';

/**
 * In how many steps to let `sequences` decode in turn through a pipeline of `stages`, so that a round takes the least
 * time. Fewer steps than stages leave stages idle; more than needed read the weights more often.
 */
export function decodeGroups(sequences: number, stages: number, curve: StepCurve): number {
  let best = 1;
  let bestMicros = Infinity;
  for (let groups = 1; groups <= Math.min(sequences, 2 * stages); groups += 1) {
    const micros = Math.max(groups, stages) * curve.micros(Math.ceil(sequences / groups));
    if (micros < bestMicros) [best, bestMicros] = [groups, micros];
  }
  return best;
}

/** Rows of a chunk are whole multiples of this: the row groups of all kernels that we know divide it. */
const chunkMultiple = 32;

/**
 * Rows of each chunk of prompts of `tokens` together: small enough that all stages soon have one to work on, large
 * enough that the weights are not read too often.
 */
export function prefillChunk(tokens: number, stages: number, rowsMax: number, curve: StepCurve): number {
  let best = Math.min(tokens, rowsMax);
  let bestMicros = Infinity;
  for (let chunks = Math.ceil(tokens / rowsMax); chunks <= 4 * stages; chunks += 1) {
    const rows = Math.min(tokens, rowsMax, roundUp(Math.ceil(tokens / chunks)));
    const micros = (Math.ceil(tokens / rows) + stages - 1) * curve.micros(rows);
    if (micros < bestMicros) [best, bestMicros] = [rows, micros];
    if (rows <= chunkMultiple) break;
  }
  return best;
}

/**
 * Rows of the next chunk of `pending` tokens in a step with room for `room` more by plan and `rowsLeft` at most: none
 * that leaves or takes a single row where that can be helped, since a single row is computed as what is decoded.
 */
export function chunkRows(pending: number, room: number, rowsLeft: number): number {
  if (room <= 0) return 0;
  const rows = Math.min(pending, rowsLeft, Math.max(room, 2));
  if (pending - rows !== 1) return rows;
  if (rows < rowsLeft) return pending;
  return rows > 2 ? rows - 1 : rows;
}

/** While others decode, a step with a part of a prompt may take this long: they wait for it. */
const mixedStepMicrosMax = 400_000;
/** Row groups of all kernels that we know divide this. */
const rowsMultiple = 8;

function roundUp(rows: number): number {
  return Math.ceil(rows / chunkMultiple) * chunkMultiple;
}

/** A step that decodes, and prompts that wait to be computed beside. */
interface MixedStep {
  readonly decodeRows: number;
  /** Tokens of all these prompts together. */
  readonly promptTokens: number;
  readonly stages: number;
  readonly rowsMax: number;
  /** Rows are to be a multiple of this. */
  readonly multiple: number;
}

/**
 * Up to how many rows to fill a step that decodes with parts of prompts, so that the prompts are soon through the
 * pipeline. A single step that is far larger than its neighbours would keep one stage busy and all others waiting.
 */
export function mixedRows(step: MixedStep, curve: StepCurve): number {
  const { decodeRows, promptTokens, stages, rowsMax, multiple } = step;
  let best = rowsMax;
  let bestMicros = Infinity;
  const least = multiple * (Math.floor(decodeRows / multiple) + 1);
  for (let rows = least; rows <= rowsMax; rows += multiple) {
    const chunks = Math.ceil(promptTokens / (rows - decodeRows));
    const micros = (chunks + stages - 1) * curve.micros(rows);
    if (micros < bestMicros) [best, bestMicros] = [rows, micros];
    if (chunks <= 1) break;
  }
  return best;
}

/** The same for a step that decodes so many rows, of a stage of at most so many: no longer than others may wait for it. */
export function mixedStepRows(
  { stepRowsMax, ...step }: Omit<MixedStep, 'rowsMax' | 'multiple'> & { readonly stepRowsMax: number },
  curve: StepCurve,
): number {
  const rowsMax = Math.max(
    curve.rowsWithin(mixedStepMicrosMax, stepRowsMax, rowsMultiple),
    Math.min(stepRowsMax, step.decodeRows + 4 * rowsMultiple),
  );
  return mixedRows({ ...step, rowsMax, multiple: rowsMultiple }, curve);
}
