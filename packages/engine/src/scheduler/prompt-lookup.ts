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
