import { type StepTime, limits, stepMicros } from '@butterfly/common';
import { type ModelSpec, cacheBlockSlots, stateSlotsOf, windowsOf } from '@butterfly/model';
import {
  type SequenceState,
  type StepSequence,
  emptyState,
  firstOwnState,
  greedySampling,
} from '@butterfly/wire';
import type { StageResult, StageStep } from './stage.js';
import type { PayloadShape } from './steps/step-check.js';

/** Rows that are measured even where they take twice the time, as most steps have so few. */
const firstMeasured = [1, 2, 3, 4, 5, 6, 7, 8];
const measuredInTime = [12, 16, 24, 32, 48, 64, 128, 256];
const sweepsMax = 3;
/** Of the two least times of a step on a quiet machine. */
const steadyRatio = 1.25;
/** Of a step to one of more rows, at most: kernels take whole groups of rows faster than others (docs/performance.md). */
const cliffRatio = 1.3;
const noTokens = new Int32Array(0);
const drawn = { temperature: 1, topP: 0.95 };

/** What a decoding step depends on of the stage that computes it. */
export interface SteppedStage {
  readonly spec: Pick<ModelSpec, 'graph' | 'isEncoder'>;
  readonly payloadShape: PayloadShape;
  readonly slots: number;
  readonly rowsMax: number;
}

export interface RowInvariance {
  /**
   * Whether some rows beside a row leave its numbers as they are. Not so with K-quants in ggml's repacked layouts, which
   * round activations otherwise in whole groups of four rows than in the rest.
   */
  readonly isRowwise: boolean;
  /** Whether that holds for a row alone too. Not so with F16 and F32 weights, for which ggml has a kernel of one row. */
  readonly isBatchInvariant: boolean;
  /** In whole groups of so many rows a row's numbers depend on nothing but the row: 1 where they never depend on more, else 4 or 8. */
  readonly rowGroup: number;
}

interface CheckedStage extends SteppedStage {
  readonly isDeterministic?: boolean;
  readonly run: (step: StageStep) => Promise<StageResult>;
}

/** Computes some small steps and compares what they give for the same row; this also warms up the stage. */
export async function checkInvariance(stage: CheckedStage): Promise<RowInvariance> {
  const firstRow = async (rows: number): Promise<Buffer> => {
    const [first] = rowsOf(await stage.run(decodingStep(rows, stage)), rows);
    return first ?? Buffer.alloc(0);
  };
  const rowsMax = Math.min(stage.rowsMax, limits.stepSequencesMax, stage.slots);
  // Three rows are no group of any kernel that we know, and eight are whole groups, to which all steps of a deterministic
  // stage are padded: forty are several groups, of sixteen as well.
  const many = stage.isDeterministic ? 40 : 8;
  const few = await firstRow(Math.min(3, rowsMax));
  const rowsOfMany = await firstRow(Math.min(many, rowsMax));
  const isRowwise = few.equals(rowsOfMany);
  if (isRowwise) {
    const isBatchInvariant = few.equals(await firstRow(1)) && (await areStatesRowwise(stage));
    return { isRowwise, isBatchInvariant, rowGroup: 1 };
  }
  const isGroupOfFour = rowsOfMany.equals(await firstRow(Math.min(4, rowsMax)));
  return { isRowwise, isBatchInvariant: false, rowGroup: isGroupOfFour ? 4 : 8 };
}

/** More than the windows of convolutions that we know, so that the last ones see none of the state before. */
const rowsThroughStates = 6;

/** Whether rows of one sequence leave each other's numbers as they are, and the state behind them, where layers keep such. */
async function areStatesRowwise(stage: CheckedStage): Promise<boolean> {
  const { spec, rowsMax, payloadShape } = stage;
  const rows = Math.min(rowsThroughStates, rowsMax);
  if (stateSlotsOf(spec) < firstOwnState + 2 || rows < 2) return true;
  const [first] = decodingStep(1, stage).sequences;
  const { payload, tokens } = stepPayload(rows, payloadShape, 0);
  const run = async (start: number, count: number, state: SequenceState): Promise<Buffer[]> => {
    const part = (bytes: Uint8Array): Uint8Array =>
      bytes.slice((bytes.length / rows) * start, (bytes.length / rows) * (start + count));
    const draftTokens = new Int32Array(count - 1);
    const place = { positionStart: start, rows: count, logitRows: count, draftTokens, state };
    const sequences = first ? [{ ...first, ...place }] : [];
    const step = { copies: [], sequences, payload: part(payload), tokens: part(tokens) };
    return rowsOf(await stage.run(step), count);
  };
  const [even, odd] = [firstOwnState, firstOwnState + 1];
  // The last row is computed from the state that the others left.
  const together = [
    ...(await run(0, rows - 1, { from: emptyState, to: even })),
    ...(await run(rows - 1, 1, { from: even, to: odd })),
  ];
  const oneByOne: Buffer[] = [];
  for (let row = 0; row < rows; row++) {
    const [from, to] = row % 2 === 0 ? [odd, even] : [even, odd];
    oneByOne.push(...(await run(row, 1, { from: row === 0 ? emptyState : from, to })));
  }
  return Buffer.concat(together).equals(Buffer.concat(oneByOne));
}

/** What a step gave of each of so many rows, or of each of so many texts. */
function rowsOf({ activations, logits, vectors = [], rowSums = [] }: StageResult, rows: number): Buffer[] {
  const output = vectors.length > 0 ? null : (activations ?? logits);
  return Array.from({ length: rows }, (_, row) => {
    const parts = [
      ...(output ? [bytesOf(output, row, rows)] : []),
      ...(vectors[row] ? [bytesOf(vectors[row], 0, 1)] : []),
      ...rowSums.map((sums) => bytesOf(sums, row, rows)),
    ];
    return Buffer.concat(parts);
  });
}

/** A view of one row. */
function bytesOf(values: Uint8Array | Float32Array, row: number, rows: number): Buffer {
  const rowBytes = values.byteLength / rows;
  return Buffer.from(values.buffer, values.byteOffset + row * rowBytes, rowBytes);
}

/** Times of steps by their rows. */
export interface MeasuredCurve {
  readonly curve: StepTime[];
  /** Whether repeated steps took as long as before: not so while something else computes on this machine. */
  readonly isSteady: boolean;
}

/**
 * Measures steps of ascending rows, and again while time is left: of each the least time, since whatever else the
 * machine does can only add to it. Where the two least differ, it goes on for up to three times as long.
 * @param measure computes a step of so many rows and gives the microseconds that count.
 */
export async function measureCurve(
  measure: (rows: number) => Promise<number>,
  options: { readonly rowsMax: number; readonly budgetMs: number; readonly nowMs: () => number },
): Promise<MeasuredCurve> {
  const { rowsMax, budgetMs, nowMs } = options;
  const startedMs = nowMs();
  /** The two least times by rows. */
  const samples = new Map<number, readonly number[]>();
  const curve = (): StepTime[] => [...samples].map(([rows, [micros = 1]]) => ({ rows, micros }));
  const hasTimeFor = (rows: number, withinMs: number): boolean =>
    nowMs() - startedMs + stepMicros(rows, curve()) / 1000 <= withinMs;
  const take = async (rows: number): Promise<void> => {
    const all = [...(samples.get(rows) ?? []), await measure(rows)];
    samples.set(rows, all.sort((a, b) => a - b).slice(0, 2));
  };
  const candidates = [
    ...firstMeasured.map((rows) => ({ rows, withinMs: 2 * budgetMs })),
    ...measuredInTime.map((rows) => ({ rows, withinMs: budgetMs })),
  ];
  for (const { rows, withinMs } of candidates) {
    if (rows > rowsMax || !hasTimeFor(rows, withinMs)) break;
    await take(rows);
  }
  for (let sweep = 1; sweep < sweepsMax; sweep++)
    for (const rows of samples.keys()) if (hasTimeFor(rows, budgetMs)) await take(rows);
  const unsteady = (): number[] => [...samples.keys()].filter((rows) => !agree(samples.get(rows)));
  for (let rows = unsteady(); rows.length > 0; rows = unsteady()) {
    const inTime = rows.filter((count) => hasTimeFor(count, 3 * budgetMs));
    if (inTime.length === 0) break;
    for (const count of inTime) await take(count);
  }
  return { curve: plausible(curve()), isSteady: unsteady().length === 0 };
}

/** Whether it was measured twice at least, and the two least times are about the same. */
function agree([least = 0, next = Infinity]: readonly number[] = []): boolean {
  return next <= steadyRatio * least;
}

/** No step takes much longer than one of more rows: where it seems to, something else computed meanwhile. */
export function plausible(curve: readonly StepTime[]): StepTime[] {
  let most = Infinity;
  return curve
    .toReversed()
    .map(({ rows, micros }) => {
      const likely = Math.min(micros, most);
      most = Math.min(most, cliffRatio * likely);
      return { rows, micros: likely };
    })
    .reverse();
}

/**
 * Each row is a sequence of its own, of an encoder a text, spread over the arena, no two in one slot; they sample as requests
 * do. Where there are not states for so many, the other rows are their guesses.
 * @param variant gives rows other numbers than those of other variants
 */
export function decodingStep(
  rows: number,
  { spec, payloadShape, slots }: SteppedStage,
  variant = 0,
): StageStep {
  // Of several in one room each has positions of its own, as in one region.
  const regions = Math.min(slots / cacheBlockSlots, windowsOf(spec)?.rooms ?? Infinity);
  const stateSlots = stateSlotsOf(spec);
  const count = stateSlots === 0 ? rows : Math.min(rows, stateSlots - firstOwnState);
  const rowsEach = Math.ceil(rows / count);
  const rowsOf = (i: number): number => Math.floor(rows / count) + (i < rows % count ? 1 : 0);
  const guessesOf = (i: number): number => (rowsEach <= 1 + limits.draftTokensMax ? rowsOf(i) - 1 : 0);
  const sequences = Array.from({ length: count }, (_, i): StepSequence => ({
    sequenceId: i,
    regionStart: (i % regions) * cacheBlockSlots,
    regionSlots: cacheBlockSlots,
    positionStart: spec.isEncoder ? 0 : Math.floor(i / regions) * rowsEach,
    rows: rowsOf(i),
    logitRows: 1 + guessesOf(i),
    sampling: spec.isEncoder ? null : i % 2 === 0 ? greedySampling : { ...greedySampling, ...drawn },
    pooling: spec.isEncoder ? 'last' : null,
    draftTokens: new Int32Array(guessesOf(i)),
    recentTokens: noTokens,
    logprobs: null,
    scored: null,
    state: stateSlots === 0 ? null : { from: emptyState, to: firstOwnState + i },
    window: windowsOf(spec) && { from: i % regions, fromFirst: 0, to: i % regions, toFirst: 0 },
  }));
  return { copies: [], sequences, ...stepPayload(rows, payloadShape, variant) };
}

function stepPayload(
  rows: number,
  { isFirst, width, vocabulary }: PayloadShape,
  variant: number,
): { readonly payload: Uint8Array; readonly tokens: Uint8Array } {
  const tokens = new Uint8Array(
    Int32Array.from({ length: rows }, (_, i) => (i * 7919 + variant + 1) % vocabulary).buffer,
  );
  const activations = (): Float32Array<ArrayBuffer> =>
    Float32Array.from({ length: rows * width }, (_, i) => Math.sin(i + variant));
  return { payload: isFirst ? tokens : new Uint8Array(activations().buffer), tokens };
}
