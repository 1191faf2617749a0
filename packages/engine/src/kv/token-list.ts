import type { TokenReader } from './token-hash.js';

/** Shared, because nothing in it can change: to make a typed array, even an empty one, takes some 0.2 µs. */
export const noTokens = new Int32Array(0);

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

  /** Copies the tokens from `start` to `end` to `offset` of another array. */
  copyTo(target: Int32Array, offset: number, start: number, end: number): void {
    for (let index = start; index < end; index += 1) target[offset + index - start] = this.at(index);
  }

  /** How many tokens the two lists begin with in common, counted up to `max`. */
  commonPrefix(other: TokenList, max: number): number {
    const end = Math.min(max, this.#length, other.#length);
    let length = 0;
    while (length < end && this.#tokens[length] === other.#tokens[length]) length += 1;
    return length;
  }
}
