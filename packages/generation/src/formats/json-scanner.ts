/** Characters that JSON has outside of strings. */
const outside = /[\s{}[\],:0-9a-zA-Z+.-]/;

/** Finds the end of a JSON object or list that comes in pieces, without looking at what it says. */
export class JsonScanner {
  #depth: number;
  #isInString = false;
  #isEscaped = false;

  /** @param depth levels that were opened before the first character */
  constructor(depth = 0) {
    this.#depth = depth;
  }

  get isInString(): boolean {
    return this.#isInString;
  }

  /**
   * Reads on.
   * @returns how much of the piece belongs to the value, and whether it ended there: as it should, or because the next
   * character cannot be in JSON
   */
  scan(piece: string): { readonly length: number; readonly state: 'open' | 'done' | 'broken' } {
    for (let at = 0; at < piece.length; at++) {
      const character = piece.charAt(at);
      if (this.#isInString) this.#inString(character);
      else if (character === '"') this.#isInString = true;
      else if (character === '{' || character === '[') this.#depth++;
      else if (character === '}' || character === ']') {
        this.#depth--;
        if (this.#depth <= 0) return { length: at + 1, state: 'done' };
      } else if (!outside.test(character)) return { length: at, state: 'broken' };
    }
    return { length: piece.length, state: 'open' };
  }

  #inString(character: string): void {
    if (this.#isEscaped) this.#isEscaped = false;
    else if (character === '\\') this.#isEscaped = true;
    else if (character === '"') this.#isInString = false;
  }
}
