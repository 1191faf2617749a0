import type { Sequence } from './scheduler-sequence.js';
import type { SchedulerResult } from './scheduler-types.js';

/** What a step in flight will bring: tokens of the sequence from `position` on. */
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
  /** Of all sequences in it. */
  readonly ids: readonly number[];
  readonly expected: readonly Expected[];
}

/** Whether a result has, for each sequence that a step samples, some of its guesses and one token more. */
export function isAnsweredBy(expected: readonly Expected[], { outputs }: SchedulerResult): boolean {
  return (
    outputs.length === expected.length &&
    expected.every(({ sequence, guesses }, index) => {
      const output = outputs[index];
      return output?.sequenceId === sequence.id && confirms(output.tokens, guesses);
    })
  );
}

/** Whether tokens are some of the guesses, from the first on, and one more. */
function confirms(tokens: Int32Array, guesses: Int32Array): boolean {
  const confirmed = tokens.length - 1;
  if (confirmed < 0 || confirmed > guesses.length) return false;
  for (let index = 0; index < confirmed; index += 1) if (tokens[index] !== guesses[index]) return false;
  return true;
}
