import { expectedRepeats, expectedTokens } from './acceptance.js';

/** What is known of the next token of a sequence, and of those that could be guessed behind it. */
export interface DraftOutlook {
  /** How often a guess of the draft is right once all before it were. */
  readonly rate: number;
  /** How often one by lookup is, and how many there are. */
  readonly lookup: { readonly rate: number; readonly guesses: number };
  /** Most guesses that may be asked for. */
  readonly countMax: number;
  /** As in `Guesser`. */
  readonly repeated: number | null;
  /** From one token to the next without guesses. */
  readonly plainMicros: number;
  /** The way of a step with so many guesses of each sequence, from the orchestrator and back. */
  readonly verifyMicros: (guesses: number) => number;
  /** What it takes longer where so many rows more are computed. */
  readonly repeatMicros: (rows: number) => number;
  /** From asking for so many guesses to having them. */
  readonly draftMicros: (guesses: number) => number;
}

/** Guesses are asked for where that gives so many times the tokens per time: they cost others something too. */
const gainMin = 1.05;

/** Whose guesses give the most tokens per time, and how many those of a draft are. */
export type DraftChoice =
  { readonly by: 'nobody' } | { readonly by: 'lookup' } | { readonly by: 'draft'; readonly count: number };

/** Those by lookup are there at once, so a draft must give more. */
export function draftsWorthwhile(outlook: DraftOutlook): DraftChoice {
  const { rate, lookup, countMax, plainMicros, draftMicros } = outlook;
  let choice: DraftChoice = { by: 'nobody' };
  let best = 1 / plainMicros;
  for (let count = 1; count <= Math.min(lookup.guesses, countMax); count += 1) {
    const gained = perMicro(outlook, lookup.rate, count, 0);
    if (gained > best) [choice, best] = [{ by: 'lookup' }, gained];
  }
  best *= gainMin;
  for (let count = 1; count <= countMax; count += 1) {
    const gained = perMicro(outlook, rate, count, draftMicros(count));
    if (gained > best) [choice, best] = [{ by: 'draft', count }, gained];
  }
  return choice;
}

function perMicro(
  { repeated, verifyMicros, repeatMicros }: DraftOutlook,
  rate: number,
  guesses: number,
  waitMicros: number,
): number {
  const guesser = { rate, guesses, repeated };
  const repeats = repeatMicros(expectedRepeats(guesser, guesses));
  return expectedTokens(guesser, guesses) / (waitMicros + verifyMicros(guesses) + repeats);
}
