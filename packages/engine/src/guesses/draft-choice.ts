import { expectedRepeats, expectedTokens } from './acceptance.js';

/** A sequence for which guesses could be had. */
export interface DraftCandidate {
  /** How often a guess is right once all before it were. */
  readonly rate: number;
  /** Most guesses. */
  readonly countMax: number;
  /** As in `Guesser`. */
  readonly repeated: number | null;
}

/** What a round of a sequence takes, until it has its next token or tokens. */
export interface RoundTimes {
  /** Without guesses. */
  readonly plainMicros: number;
  /** With so many guesses that are there at once. */
  readonly verifyMicros: (guesses: number) => number;
  /** With so many that another model must make first. */
  readonly draftMicros: (guesses: number) => number;
  /** What it takes longer where so many rows more are computed. */
  readonly repeatMicros: (rows: number) => number;
}

/** Guesses are asked for where that gives so many times the tokens per time: they cost others something too. */
const gainMin = 1.05;

/**
 * How many guesses each of these sequences should ask another model for, so that all together get the most tokens per time; 0
 * where none pay. All ask for as many, so that they go on together: a step of few sequences takes little less than one of many.
 */
export function draftsWorthwhile(candidates: readonly DraftCandidate[], times: RoundTimes): number {
  const countMax = Math.max(0, ...candidates.map((candidate) => candidate.countMax));
  let best = 0;
  let bestPerMicro = (candidates.length * gainMin) / times.plainMicros;
  for (let count = 1; count <= countMax; count += 1) {
    const gained = perMicro(candidates, count, times, times.draftMicros(count));
    if (gained > bestPerMicro) [best, bestPerMicro] = [count, gained];
  }
  return best;
}

/** Whether guesses by lookup or by the model's own head, which are there at once, give a sequence more than any of another model, and than none. */
export function prefersLookup(candidate: DraftCandidate, lookup: DraftCandidate, times: RoundTimes): boolean {
  const bestOf = (each: DraftCandidate, roundMicros: (guesses: number) => number): number =>
    Math.max(
      0,
      ...Array.from({ length: each.countMax }, (_, index) =>
        perMicro([each], index + 1, times, roundMicros(index + 1)),
      ),
    );
  const byLookup = bestOf(lookup, times.verifyMicros);
  return byLookup > 1 / times.plainMicros && byLookup * gainMin > bestOf(candidate, times.draftMicros);
}

function perMicro(
  candidates: readonly DraftCandidate[],
  count: number,
  { repeatMicros }: RoundTimes,
  roundMicros: number,
): number {
  let [tokens, repeats] = [0, 0];
  for (const { rate, countMax, repeated } of candidates) {
    const guesser = { rate, guesses: countMax, repeated };
    tokens += expectedTokens(guesser, count);
    repeats += expectedRepeats(guesser, count);
  }
  return tokens / (roundMicros + repeatMicros(repeats));
}
