import type { Logprobs, StepOutput } from '@butterfly/wire';
import type { ScoredRange } from './prompt-scores.js';
import type { Sequence } from './scheduler-sequence.js';
import type { SchedulerResult } from './scheduler-types.js';

/** What a step in flight will bring: tokens of the sequence from `position` on, scores of its prompt, both, or its embedding. */
export interface Expected {
  readonly sequence: Sequence;
  /** The life of the sequence in which the step was made. */
  readonly life: number;
  readonly position: number;
  readonly guesses: Int32Array;
  /** Whether it computes the last known token, behind which a token or the embedding comes. */
  readonly isSampled: boolean;
  readonly scored: ScoredRange | null;
}

/** A step that is under way. */
export interface StepInFlight {
  readonly rows: number;
  /** All that are in it. */
  readonly sequences: readonly Sequence[];
  readonly expected: readonly Expected[];
}

/** What a step brought of one sequence. */
export interface Answer {
  readonly expected: Expected;
  readonly output: StepOutput;
}

/** A result, taken apart. */
export interface Answers {
  readonly given: readonly Answer[];
  /** Sequences that failed, also in the midst of their prompts. */
  readonly failed: readonly Sequence[];
}

/**
 * Null unless a result has, for each sequence that a step samples, some of its guesses and one token more, and all scores
 * and the embedding that are wanted, or says that it failed, which any of the step may have.
 */
export function answersOf(
  { sequences, expected }: StepInFlight,
  { outputs }: SchedulerResult,
): Answers | null {
  const failures = outputs.filter((output) => isFailure(output));
  const gone = new Set(failures.map(({ sequenceId }) => sequenceId));
  const failed = sequences.filter(({ id }) => gone.has(id));
  if (failed.length < failures.length) return null;
  const answered = failures.length === 0 ? outputs : outputs.filter((output) => !isFailure(output));
  const asked = gone.size === 0 ? expected : expected.filter(({ sequence }) => !gone.has(sequence.id));
  if (answered.length !== asked.length) return null;
  const given: Answer[] = [];
  for (const [index, each] of asked.entries()) {
    const output = answered[index];
    if (!output || !answers(output, each)) return null;
    given.push({ expected: each, output });
  }
  return { given, failed };
}

function isFailure({ tokens, scored, vector }: StepOutput): boolean {
  return tokens.length === 0 && scored === undefined && vector === undefined;
}

function answers(
  { sequenceId, tokens, logprobs, scored, vector }: StepOutput,
  { sequence, guesses, isSampled, scored: range }: Expected,
): boolean {
  const isPooled = isSampled && sequence.pooling !== null;
  const isDrawn = isSampled && !isPooled;
  const wantedLogprobs = isDrawn && sequence.logprobs !== null ? tokens.length : 0;
  return (
    sequenceId === sequence.id &&
    (isDrawn ? confirms(tokens, guesses) : tokens.length === 0) &&
    (vector !== undefined) === isPooled &&
    countOf(logprobs) === wantedLogprobs &&
    countOf(scored) === (range ? range.to - range.from : 0)
  );
}

const countOf = (logprobs: Logprobs | undefined): number => logprobs?.chosen.length ?? 0;

/** Whether tokens are some of the guesses, from the first on, and one more. */
function confirms(tokens: Int32Array, guesses: Int32Array): boolean {
  const confirmed = tokens.length - 1;
  if (confirmed < 0 || confirmed > guesses.length) return false;
  for (let index = 0; index < confirmed; index += 1) if (tokens[index] !== guesses[index]) return false;
  return true;
}
