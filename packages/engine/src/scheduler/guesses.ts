import { expectedTokens, guessesWorthwhile, type Guesser, type GuessedStep } from '../guesses/acceptance.js';
import type { Guesses } from '../guesses/guesses.js';
import type { SchedulerConfig } from './scheduler-types.js';
import type { Sequence } from './scheduler-sequence.js';

type Guessing = Required<Pick<SchedulerConfig, 'guessesMax' | 'headGuessesMax' | 'stateSlots'>>;

/** What could be tried for a sequence, and how much that gives. */
interface Choice {
  readonly guesses: Guesses;
  readonly guesser: Guesser;
}

/**
 * Guesses that are there at once, by lookup or by the model's own head, for those of the decoding sequences that have any: for
 * each of that of which more came true, as many as give the most tokens per time. All may have the same number of them, which is
 * 0 where none pay.
 * @param isAhead whether the tokens that they will be behind are still under way, so that those of the head are not there yet
 */
export function chooseGuesses(
  sequences: Iterable<Sequence>,
  guessing: Guessing,
  step: GuessedStep,
  isAhead: boolean,
): Map<Sequence, Guesses> {
  const found = new Map<Sequence, Choice>();
  if (guessing.guessesMax === 0) return new Map();
  for (const sequence of sequences) {
    const choice = bestOf(sequence, guessing, isAhead);
    if (choice) found.set(sequence, choice);
  }
  const count = guessesWorthwhile(
    [...found.values()].map(({ guesser }) => guesser),
    step,
  );
  const chosen = new Map<Sequence, Guesses>();
  for (const [sequence, { guesses }] of found) {
    // Whether the head was right is learned in any case.
    if (count === 0 && guesses.by === 'lookup') sequence.acceptance.foresaw(guesses.tokens[0] ?? 0);
    chosen.set(sequence, { ...guesses, tokens: guesses.tokens.subarray(0, count) });
  }
  return chosen;
}

function bestOf(
  sequence: Sequence,
  { guessesMax, headGuessesMax, stateSlots }: Guessing,
  isAhead: boolean,
): Choice | null {
  const { tokensMax, known, again, lookup, acceptance, head, pending } = sequence;
  // The last token of the output is never computed, so nothing is guessed behind it.
  const behind = tokensMax - known.length - 1;
  // What is computed again counts as guessed, so that a line of guesses that prove wrong again and again has an end.
  const most = Math.min(guessesMax - again, behind);
  const byLookup = lookup.guess(most);
  const byHead = isAhead
    ? new Int32Array(Math.max(0, Math.min(headGuessesMax, most - 1)))
    : head.at(known.length, most);
  const choiceOf = (guesses: Guesses, rate: number): Choice => ({
    guesses,
    // One of which the token is still under way will have it to compute.
    guesser: { rate, guesses: guesses.tokens.length, repeated: stateSlots > 0 ? Math.max(1, pending) : null },
  });
  const choices = [
    choiceOf({ by: 'lookup', tokens: byLookup }, acceptance.rate),
    choiceOf({ by: 'head', tokens: byHead }, head.acceptance.rate),
  ].filter(({ guesses }) => guesses.tokens.length > 0);
  const [first, second] = choices;
  if (!first || !second) return first ?? null;
  const gives = ({ guesser }: Choice): number => expectedTokens(guesser, guesser.guesses);
  if (gives(first) >= gives(second)) return first;
  // So that it is known when lookup becomes the better one.
  acceptance.foresaw(first.guesses.tokens[0] ?? 0);
  return second;
}
