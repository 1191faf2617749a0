import type { TokenReader } from './token-hash.js';

export interface PrefixMatch {
  /** Who has it cached. */
  readonly id: number;
  /** Its length. */
  readonly tokens: number;
}

/** Whose cached tokens a request may go on from. Owners are regions of the arena. */
export interface Prefixes {
  /** The owner with the longest prefix of `tokens[0..lengthMax)` that can be gone on from; null where there is none. */
  longest(tokens: TokenReader, lengthMax: number): PrefixMatch | null;
  /**
   * Says that `id` now has `tokens[0..length)` cached. The reader is kept, and only its first `length` tokens are read:
   * one of them may change only after a `set` of a smaller length, or `delete`.
   */
  set(id: number, tokens: TokenReader, length: number): void;
  /** Forgets an owner, or does nothing when there is none. */
  delete(id: number): void;
  /** Ids of all owners that may begin as the tokens do, and none that does is left out. */
  sharing(tokens: TokenReader): readonly number[];
  /** How many of the first `length` tokens of an owner others can ever go on from. */
  worthKeeping(id: number, length: number): number;
}
