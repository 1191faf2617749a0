/** Hears the figures that come of what happens to requests, when they come. Times in milliseconds. */
export interface Tally {
  started(): void;
  /** Tokens of prompts that were computed. */
  prefilled(tokens: number): void;
  /** Tokens of a prompt that were found in the cache. */
  cached(tokens: number): void;
  /** Tokens of answers. */
  generated(tokens: number): void;
  firstToken(sinceArrivalMs: number): void;
  /** Between tokens of one answer, on average over those that came at once. */
  between(tokenMs: number): void;
  replayed(): void;
  ended(totalMs: number, isFailed: boolean): void;
}
