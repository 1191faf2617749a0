/** What a new sequence is credited with: without evidence, guesses seldom pay. */
const credit = { hits: 0.5, misses: 1 };
/** How much of the past counts on with each guess judged: some twenty guesses are remembered. */
const memory = 0.95;

/** How often guesses for one sequence come true, those that were made and those that only could have been. */
export class Acceptance {
  #hits: number;
  #misses: number;
  #foreseen: number | null = null;

  /** @param before what it is credited with before anything is known of it */
  constructor({ hits, misses }: typeof credit = credit) {
    this.#hits = hits;
    this.#misses = misses;
  }

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
export function expectedTokens({ rate, guesses }: Guesser, count: number): number {
  // A sum, not the closed form of it: rates of 1 occur.
  let [expected, right] = [1, 1];
  for (let guess = Math.min(count, guesses); guess > 0; guess -= 1) expected += right *= rate;
  return expected;
}

/** Rows that the next step computes again on average, because a guess was refused. */
export function expectedRepeats({ rate, guesses, repeated }: Guesser, count: number): number {
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
