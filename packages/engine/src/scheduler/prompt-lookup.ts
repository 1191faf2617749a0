import { noTokens, type TokenList } from '../kv/token-list.js';

/** A guess is made where this many tokens have occurred before: fewer repeat by chance, more are found too seldom. */
const ngramTokens = 3;
/** Places of the table for each token, at least. */
const placesPerToken = 3;
/** Places that are looked at for one n-gram, so that nobody can choose tokens that make this slow. */
const probesMax = 8;

/**
 * Guesses how a sequence goes on from its own tokens: what followed the last time that its latest tokens occurred.
 * Prompt lookup decoding (A. Saxena, https://github.com/apoorvumang/prompt-lookup-decoding).
 */
export class PromptLookup {
  /**
   * A hash table of the n-grams, by the end of the latest occurrence of each but for the one that ends the list; 0 is
   * an empty place. A map takes twice as long, and a long prompt is indexed within one step.
   */
  #ends = noTokens;
  #indexed = ngramTokens;

  constructor(private readonly tokens: TokenList) {}

  /** At most `max` tokens; empty when the latest tokens are new. */
  guess(max: number): Int32Array {
    const { length } = this.tokens;
    if (placesPerToken * length > this.#ends.length) this.#enlarge();
    for (; this.#indexed < length; this.#indexed += 1) this.#ends[this.#place(this.#indexed)] = this.#indexed;
    if (length < ngramTokens || max < 1) return noTokens;
    const end = this.#ends[this.#place(length)] ?? 0;
    if (end === 0 || !this.#isRepeated(end, length)) return noTokens;
    // What follows may reach into the repetition itself: a cycle goes on as it went.
    return Int32Array.from({ length: max }, (_, i) => this.tokens.at(end + (i % (length - end))));
  }

  /** Makes room for twice as many tokens as there are now; they are indexed anew. */
  #enlarge(): void {
    const places = 2 * placesPerToken * this.tokens.length;
    this.#ends = new Int32Array(2 ** Math.ceil(Math.log2(places)));
    this.#indexed = ngramTokens;
  }

  /** Where the n-gram with this end is found or, if it is new, belongs. */
  #place(end: number): number {
    const mask = this.#ends.length - 1;
    const home = this.#hash(end);
    for (let probe = 0; probe < probesMax; probe += 1) {
      const place = (home + probe) & mask;
      const other = this.#ends[place] ?? 0;
      if (other === 0 || this.#isRepeated(other, end)) return place;
    }
    return home & mask;
  }

  #isRepeated(end: number, laterEnd: number): boolean {
    for (let back = 1; back <= ngramTokens; back += 1)
      if (this.tokens.at(end - back) !== this.tokens.at(laterEnd - back)) return false;
    return true;
  }

  #hash(end: number): number {
    let hash = 0;
    for (let back = ngramTokens; back >= 1; back -= 1) {
      hash = Math.imul(hash ^ this.tokens.at(end - back), 0x9e3779b1);
      hash ^= hash >>> 15;
    }
    return hash;
  }
}

/** What a new sequence is credited with: without evidence, guesses seldom pay. */
const credit = { hits: 0.5, misses: 1 } as const;
/** How much of the past counts on with each guess judged: some twenty guesses are remembered. */
const memory = 0.95;

/** How often guesses for one sequence come true, those that were made and those that only could have been. */
export class Acceptance {
  #hits: number = credit.hits;
  #misses: number = credit.misses;
  #foreseen: number | null = null;

  /** Estimated probability that the next guess is right when all before it were. */
  get rate(): number {
    return this.#hits / (this.#hits + this.#misses);
  }

  /** Of `guessed` tokens that a step computed the first `confirmed` were right. */
  judged(guessed: number, confirmed: number): void {
    this.#foreseen = null;
    const trials = confirmed < guessed ? confirmed + 1 : confirmed;
    const decay = memory ** trials;
    this.#hits = this.#hits * decay + confirmed;
    this.#misses = this.#misses * decay + (trials - confirmed);
  }

  /** A token could have been guessed and was not: whether it comes is learned for nothing. */
  foresaw(token: number): void {
    this.#foreseen = token;
  }

  /** The next token, which no guess was made for. */
  came(token: number): void {
    if (this.#foreseen !== null) this.judged(1, token === this.#foreseen ? 1 : 0);
  }
}

/** A sequence that could add guesses to the row that it decodes. */
export interface Guesser {
  readonly rate: number;
  /** How many guesses it has. */
  readonly guesses: number;
  /**
   * How many known tokens of it the step computes, where a guess that is refused has the next step compute them again, with
   * the guesses that were right; null where refused ones are just written over.
   */
  readonly repeated: number | null;
}

/** The step that guesses are for. */
export interface GuessedStep {
  /** Rows without guesses. */
  readonly rows: number;
  /** Tokens that it gives without guesses: fewer than rows where some are computed again. */
  readonly tokens: number;
  readonly rowsMax: number;
  /** Predicted time of a step of so many rows. */
  readonly stepMicros: (rows: number) => number;
  /** What a step with guesses costs besides, because it cannot go ahead of the tokens. */
  readonly waitMicros: number;
}

/** Tokens that one step gives on average, when each guess is right with the given probability once those before it are. */
function expectedTokens({ rate, guesses }: Guesser, count: number): number {
  // A sum, not the closed form of it: rates of 1 occur.
  let [expected, right] = [1, 1];
  for (let guess = Math.min(count, guesses); guess > 0; guess -= 1) expected += right *= rate;
  return expected;
}

/** Rows that the next step computes again on average, because a guess was refused. */
function expectedRepeats({ rate, guesses, repeated }: Guesser, count: number): number {
  if (repeated === null) return 0;
  let [expected, right] = [0, 1];
  for (let confirmed = 0; confirmed < Math.min(count, guesses); confirmed += 1) {
    expected += right * (1 - rate) * (repeated + confirmed);
    right *= rate;
  }
  return expected;
}

/** How many guesses each sequence may add to a step, so that the step gives the most tokens per time; 0 where none pay. */
export function guessesWorthwhile(guessers: readonly Guesser[], step: GuessedStep): number {
  const { rows: baseRows, rowsMax, tokens, stepMicros, waitMicros } = step;
  const countMax = Math.max(0, ...guessers.map(({ guesses }) => guesses));
  let best = 0;
  let bestRate = tokens / stepMicros(baseRows);
  for (let count = 1; count <= countMax; count += 1) {
    const rows = guessers.reduce((sum, { guesses }) => sum + Math.min(count, guesses), baseRows);
    if (rows > rowsMax) break;
    const gained = guessers.reduce((sum, guesser) => sum + expectedTokens(guesser, count) - 1, tokens);
    const repeats = guessers.reduce((sum, guesser) => sum + expectedRepeats(guesser, count), 0);
    const repeatMicros = stepMicros(tokens + repeats) - stepMicros(tokens);
    const rate = gained / (stepMicros(rows) + waitMicros + repeatMicros);
    if (rate > bestRate) [best, bestRate] = [count, rate];
  }
  return best;
}
