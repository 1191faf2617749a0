import type { TokenReader } from '@butterfly/model';

/** A list of token ids that grows at its end. */
export class TokenList implements TokenReader {
  #tokens: Int32Array;
  #length: number;

  constructor(tokens: Int32Array) {
    this.#tokens = Int32Array.from(tokens);
    this.#length = tokens.length;
  }

  get length(): number {
    return this.#length;
  }

  /** The token at an index of the list; -1, which is no token, outside of it. */
  at(index: number): number {
    return index < this.#length ? (this.#tokens[index] ?? -1) : -1;
  }

  push(token: number): void {
    if (this.#length === this.#tokens.length) {
      const larger = new Int32Array(Math.max(16, this.#length * 2));
      larger.set(this.#tokens);
      this.#tokens = larger;
    }
    this.#tokens[this.#length] = token;
    this.#length += 1;
  }

  /** A copy, so that a step never changes after it was formed. */
  slice(start: number, end: number): Int32Array {
    return this.#tokens.slice(start, Math.min(end, this.#length));
  }

  /** How many tokens the two lists begin with in common, counted up to `max`. */
  commonPrefix(other: TokenList, max: number): number {
    const end = Math.min(max, this.#length, other.#length);
    let length = 0;
    while (length < end && this.#tokens[length] === other.#tokens[length]) length += 1;
    return length;
  }
}
