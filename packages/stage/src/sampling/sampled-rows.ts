import type { SamplingParams, Step, StepSequence } from '@butterfly/wire';
import { looksBack } from './adjust.js';

/** A row of logits and the token to be sampled from it. */
export interface SampledRow {
  readonly row: number;
  readonly position: number;
  readonly sampling: SamplingParams;
  /** The tokens that penalties and DRY look at, oldest first. */
  readonly recentTokens: Int32Array;
}

/** The rows of logits of one sequence in a step. */
export interface Line {
  readonly sequence: StepSequence;
  /** Whether the numbers of its known rows are in order. */
  readonly isSound: boolean;
  /** The first of the rows behind which known tokens are scored. */
  readonly scoredStart: number;
  /** The row before its guesses and those of the guesses. */
  readonly sampled: readonly SampledRow[];
}

/** Lines of all sequences that sample, are scored, or have failed. */
export function linesOf(sequences: Step['sequences'], faulty: ReadonlyMap<number, unknown> | null): Line[] {
  let end = 0;
  return sequences.flatMap((sequence) => {
    const scoredStart = end;
    end += sequence.logitRows;
    const isSound = faulty?.has(sequence.sequenceId) !== true;
    const { sampling, scored } = sequence;
    if (isSound && sampling === null && scored === null) return [];
    const sampled = isSound && sampling !== null ? sampledRows(sequence, sampling, end) : [];
    return [{ sequence, isSound, scoredStart, sampled }];
  });
}

/** Given the end of its rows of logits. */
function sampledRows(sequence: StepSequence, sampling: SamplingParams, end: number): SampledRow[] {
  const { draftTokens, recentTokens } = sequence;
  const count = draftTokens.length + 1;
  const positionEnd = sequence.positionStart + sequence.rows;
  const isLooking = count > 1 && looksBack(sampling);
  const all = isLooking ? Int32Array.of(...recentTokens, ...draftTokens) : recentTokens;
  return Array.from({ length: count }, (_, i) => ({
    row: end - count + i,
    position: positionEnd - count + i,
    sampling,
    // The row of a guess counts only if it and those before it are confirmed.
    recentTokens: isLooking ? all.subarray(0, recentTokens.length + i) : all,
  }));
}
