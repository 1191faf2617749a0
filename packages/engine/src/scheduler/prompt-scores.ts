import type { Logprobs, ScoredTokens } from '@butterfly/wire';
import type { TokenLogprobs } from '../types.js';

/** What is known of a sequence: a part of `TokenList`. */
interface KnownTokens {
  readonly length: number;
  at(index: number): number;
  slice(start: number, end: number): Int32Array;
}

/** Tokens of a prompt, by their indices: from the first to before the last. */
export interface ScoredRange {
  readonly from: number;
  readonly to: number;
}

export interface PromptToken {
  readonly token: number;
  /** Null for the first, before which nothing stands. */
  readonly logprobs: TokenLogprobs | null;
}

/** Of one of the tokens that log probabilities came for. */
export function tokenLogprobs(
  { chosen, alternatives, topTokens, topValues }: Logprobs,
  index: number,
): TokenLogprobs {
  const start = index * alternatives;
  const top = Array.from({ length: alternatives }, (_, rank) => ({
    token: topTokens[start + rank] ?? 0,
    logprob: topValues[start + rank] ?? -Infinity,
  }));
  return { logprob: chosen[index] ?? -Infinity, top };
}

/**
 * The log probabilities of one prompt on their way: which tokens were told, and which rows are yet to be computed for the
 * others. A token is scored by the row before it. Each is told once and in order, however often its rows are computed.
 */
export class PromptScores {
  readonly #promptTokens: number;
  /** Tokens from the first on. */
  #told = 0;
  /** The first that steps score since the sequence began to run; of the first of all nothing is to be known. */
  #from = 1;

  /** @param known of the sequence, which begins with its prompt; now that is all. */
  constructor(
    private readonly known: KnownTokens,
    private readonly alternatives: number,
  ) {
    this.#promptTokens = known.length;
  }

  /** How many tokens of the sequence may be cached before it runs, since the rows behind them are needed. */
  get prefixMax(): number {
    return this.#told >= this.#promptTokens ? Infinity : Math.max(0, this.#told - 1);
  }

  /** The sequence begins to run: what was told need not be scored again. */
  restart(): void {
    this.#from = Math.max(1, this.#told);
  }

  /** What a step scores that computes the rows from `start` to before `end`. */
  range(start: number, end: number): ScoredRange | null {
    const from = Math.max(start + 1, this.#from);
    const to = Math.min(end + 1, this.#promptTokens);
    return from < to ? { from, to } : null;
  }

  /** How many rows from `start` on a step may compute that scores so many tokens at most; infinite where none is left. */
  rowsWithin(start: number, scoredMax: number): number {
    const first = Math.max(start, this.#from - 1);
    return first + scoredMax >= this.#promptTokens - 1 ? Infinity : first + scoredMax - start;
  }

  /** What the stages are to score. */
  wanted({ from, to }: ScoredRange): ScoredTokens {
    return { tokens: this.known.slice(from, to), alternatives: this.alternatives };
  }

  /** Takes what a step brought, scores or the token behind the prompt, and gives what was not told before, in order. */
  *taken(range: ScoredRange | null, scored: Logprobs | undefined): Generator<PromptToken> {
    if (this.#told === 0) yield this.#tell(null);
    if (!range || !scored) return;
    // Steps of a sequence that began again bring some twice, but none too early.
    while (this.#told >= range.from && this.#told < range.to)
      yield this.#tell(tokenLogprobs(scored, this.#told - range.from));
  }

  #tell(logprobs: TokenLogprobs | null): PromptToken {
    const token = this.known.at(this.#told);
    this.#told += 1;
    return { token, logprobs };
  }
}
