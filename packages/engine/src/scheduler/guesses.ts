import { guessesWorthwhile, type GuessedStep } from '../guesses/acceptance.js';
import type { Sequence } from './scheduler-sequence.js';

/** What guesses a model may have. */
interface Guessing {
  /** Most guesses of one sequence. */
  readonly guessesMax: number;
  /** Whether layers keep states, which cannot be rewound. */
  readonly hasStates: boolean;
}

/**
 * Guesses by lookup for those of the decoding sequences that have any, as many as give the most tokens per time: all may have the
 * same number of them, which is 0 where none pay.
 */
export function chooseGuesses(
  sequences: Iterable<Sequence>,
  { guessesMax, hasStates }: Guessing,
  step: GuessedStep,
): ReadonlyMap<Sequence, Int32Array> {
  const found = new Map<Sequence, Int32Array>();
  if (guessesMax === 0) return found;
  for (const sequence of sequences) {
    // The last token of the output is never computed, so nothing is guessed behind it.
    const behind = sequence.tokensMax - sequence.known.length - 1;
    // What is computed again counts as guessed, so that a line of guesses that prove wrong again and again has an end.
    const tokens = sequence.lookup.guess(Math.min(guessesMax - sequence.again, behind));
    if (tokens.length > 0) found.set(sequence, tokens);
  }
  if (found.size === 0) return found;
  const guessers = [...found].map(([{ acceptance, pending }, { length }]) => ({
    rate: acceptance.rate,
    guesses: length,
    // One of which the token is still under way will have it to compute.
    repeated: hasStates ? Math.max(1, pending) : null,
  }));
  const count = guessesWorthwhile(guessers, step);
  for (const [sequence, tokens] of found) {
    if (count === 0) sequence.acceptance.foresaw(tokens[0] ?? 0);
    found.set(sequence, tokens.subarray(0, count));
  }
  return found;
}
