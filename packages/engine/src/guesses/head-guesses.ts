import { noTokens } from '../kv/token-list.js';
import { Acceptance } from './acceptance.js';

/**
 * What a new sequence is credited with, until it shows how often the head is right: as with a draft, which is more often than
 * with lookup, as it guesses after every token.
 */
const credit = { hits: 1.2, misses: 0.8 };

/** What the model's own head guesses for one sequence: it comes with each sampled token, whether it is tried or not. */
export class HeadGuesses {
  /** How often its guesses come true. */
  readonly acceptance = new Acceptance(credit);
  #came: { readonly atTokens: number; readonly tokens: Int32Array } | null = null;

  /** Guesses behind so many known tokens. That they are right or not is learned of them although nobody tries them. */
  came(atTokens: number, tokens: Int32Array): void {
    this.#came = { atTokens, tokens };
    const [first] = tokens;
    if (first !== undefined) this.acceptance.foresaw(first);
  }

  /** The next tokens, of which some were the head's if these were tried. */
  judge(tried: number, tokens: Int32Array): void {
    if (tried > 0) this.acceptance.judged(tried, tokens.length - 1);
    else this.acceptance.came(tokens[0] ?? 0);
  }

  /** Those behind so many known tokens, at most so many; empty where there are none. */
  at(knownTokens: number, max: number): Int32Array {
    return this.#came?.atTokens === knownTokens ? this.#came.tokens.subarray(0, Math.max(0, max)) : noTokens;
  }
}
