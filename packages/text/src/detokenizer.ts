import type { Vocabulary } from '@butterfly/ggml';

/**
 * Tokens to text, one at a time. Tokens may end inside a code point: those bytes wait for the rest, so
 * that what is emitted is always whole. Bytes that are no UTF-8 become U+FFFD, the same ones however the
 * tokens cut them. A leading space of the first token is kept: it belongs to the continuation.
 */
export class IncrementalDetokenizer {
  readonly #vocabulary: Pick<Vocabulary, 'tokenToBytes'>;
  readonly #decoder = new TextDecoder('utf-8', { ignoreBOM: true });

  constructor(vocabulary: Pick<Vocabulary, 'tokenToBytes'>) {
    this.#vocabulary = vocabulary;
  }

  /** The text that this token completes; empty for special tokens and inside a code point. */
  push(token: number): string {
    return this.#decoder.decode(this.#vocabulary.tokenToBytes(token, { special: false }), { stream: true });
  }

  /** What is left at the end: U+FFFD for a code point that never came to its end, else nothing. */
  flush(): string {
    return this.#decoder.decode();
  }
}

/** Text that may go out, and the stop string that has ended it, if one has. */
interface StopMatch {
  readonly text: string;
  readonly stop: string | null;
}

/**
 * Cuts a growing text at the first stop string, which is not emitted. Text that could be the beginning of
 * a stop string is held back until it is decided. The stop string that is complete first wins (of two that
 * end together the longer), so the result does not depend on how the text was cut into pieces.
 */
export class StopMatcher {
  readonly #stops: readonly string[];
  #held = '';
  #stopped: string | null = null;

  /** @param stops non-empty strings; none means that all text passes. */
  constructor(stops: readonly string[]) {
    this.#stops = stops;
  }

  push(text: string): StopMatch {
    if (this.#stopped !== null) return { text: '', stop: this.#stopped };
    const seen = this.#held + text;
    const found = this.#firstStop(seen);
    if (found !== null) {
      this.#held = '';
      this.#stopped = found.stop;
      return { text: seen.slice(0, found.start), stop: found.stop };
    }
    const heldCharacters = this.#undecidedCharacters(seen);
    this.#held = seen.slice(seen.length - heldCharacters);
    return { text: seen.slice(0, seen.length - heldCharacters), stop: null };
  }

  /** What was held back, once it is sure that no more text follows. */
  flush(): string {
    const rest = this.#held;
    this.#held = '';
    return rest;
  }

  /** The stop string that is complete first, and where it begins; null when there is none. */
  #firstStop(seen: string): { readonly start: number; readonly stop: string } | null {
    let first: { readonly start: number; readonly end: number; readonly stop: string } | null = null;
    for (const stop of this.#stops) {
      const start = seen.indexOf(stop);
      if (start < 0) continue;
      const end = start + stop.length;
      if (first === null || end < first.end || (end === first.end && start < first.start))
        first = { start, end, stop };
    }
    return first;
  }

  /** Length of the longest tail that begins a stop string. */
  #undecidedCharacters(seen: string): number {
    let longest = 0;
    for (const stop of this.#stops)
      for (let length = Math.min(stop.length - 1, seen.length); length > longest; length--)
        if (seen.endsWith(stop.slice(0, length))) longest = length;
    return longest;
  }
}
