import type { StepOutput } from '@butterfly/wire';
import type { Sequence } from './scheduler-sequence.js';
import type { SchedulerResult } from './scheduler-types.js';

/** What a step in flight will bring: tokens of the sequence from `position` on, or its embedding. */
export interface Expected {
  readonly sequence: Sequence;
  /** The life of the sequence in which the step was made. */
  readonly life: number;
  readonly position: number;
  readonly guesses: Int32Array;
}

/** A step that is under way. */
export interface StepInFlight {
  readonly rows: number;
  /** All that are in it. */
  readonly sequences: readonly Sequence[];
  readonly expected: readonly Expected[];
}

/** What a step brought of one sequence: tokens, or none because its numbers are NaN or infinite. */
export interface Answer {
  readonly expected: Expected;
  readonly tokens: Int32Array;
  /** Where an embedding was wanted. */
  readonly vector: Float32Array | null;
}

/** A result, taken apart. */
export interface Answers {
  readonly tokens: readonly Answer[];
  /** Sequences that failed, also in the midst of their prompts. */
  readonly failed: readonly Sequence[];
}

/**
 * Null unless a result has, for each sequence that a step samples, some of its guesses and one token more, or its embedding
 * where that is wanted, or says that it failed, which any of the step may have.
 */
export function answersOf(
  { sequences, expected }: StepInFlight,
  { outputs }: SchedulerResult,
): Answers | null {
  const isEmpty = ({ tokens, vector }: StepOutput): boolean => tokens.length === 0 && !vector;
  const failures = outputs.filter(isEmpty);
  const gone = new Set(failures.map(({ sequenceId }) => sequenceId));
  const failed = sequences.filter(({ id }) => gone.has(id));
  if (failed.length < failures.length) return null;
  const answered = outputs.filter((output) => !isEmpty(output));
  const asked = gone.size === 0 ? expected : expected.filter(({ sequence }) => !gone.has(sequence.id));
  if (answered.length !== asked.length) return null;
  const answers: Answer[] = [];
  for (const [index, each] of asked.entries()) {
    const output = answered[index];
    if (output?.sequenceId !== each.sequence.id) return null;
    const { tokens, vector = null } = output;
    const isFitting = each.sequence.pooling === null ? confirms(tokens, each.guesses) : vector !== null;
    if (!isFitting || (vector !== null && each.sequence.pooling === null)) return null;
    answers.push({ expected: each, tokens, vector });
  }
  return { tokens: answers, failed };
}

/** Whether tokens are some of the guesses, from the first on, and one more. */
function confirms(tokens: Int32Array, guesses: Int32Array): boolean {
  const confirmed = tokens.length - 1;
  if (confirmed < 0 || confirmed > guesses.length) return false;
  for (let index = 0; index < confirmed; index += 1) if (tokens[index] !== guesses[index]) return false;
  return true;
}
