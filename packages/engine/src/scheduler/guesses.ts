import { guessesWorthwhile, type GuessedStep } from './prompt-lookup.js';
import type { Sequence } from './scheduler-sequence.js';

/**
 * Guesses for those of the decoding sequences that have any, as many as give the most tokens per time: all may have the
 * same number of them, which is 0 where none pay.
 * @param guessesMax most guesses of one sequence
 */
export function chooseGuesses(
  sequences: Iterable<Sequence>,
  guessesMax: number,
  step: GuessedStep,
): ReadonlyMap<Sequence, Int32Array> {
  const found = new Map<Sequence, Int32Array>();
  if (guessesMax === 0) return found;
  for (const sequence of sequences) {
    // The last token of the output is never computed, so nothing is guessed behind it.
    const behind = sequence.tokensMax - sequence.known.length - 1;
    const tokens = sequence.lookup.guess(Math.min(guessesMax, behind));
    if (tokens.length > 0) found.set(sequence, tokens);
  }
  if (found.size === 0) return found;
  const guessers = [...found].map(([{ acceptance }, { length }]) => ({
    rate: acceptance.rate,
    guesses: length,
  }));
  const count = guessesWorthwhile(guessers, step);
  for (const [sequence, tokens] of found) {
    if (count === 0) sequence.acceptance.foresaw(tokens[0] ?? 0);
    found.set(sequence, tokens.subarray(0, count));
  }
  return found;
}
