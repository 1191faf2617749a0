/** Tokens that are decoded before something is tried again that did not pay, at first and at most. */
const restTokensMin = 16;
const restTokensMax = 512;

/** What did not pay is left alone for a while, and for longer each time. */
export class Resting {
  #until = 0;
  #tokens = restTokensMin;

  /** Whether it is to be left alone after so many tokens. */
  isResting(tokens: number): boolean {
    return tokens < this.#until;
  }

  /** It did not pay, after so many tokens. @param of how many sequences these are, which are one token further together */
  rest(tokens: number, sequences = 1): void {
    this.#until = tokens + this.#tokens * sequences;
    this.#tokens = Math.min(restTokensMax, 2 * this.#tokens);
  }

  /** It pays. */
  reset(): void {
    this.#tokens = restTokensMin;
  }
}
