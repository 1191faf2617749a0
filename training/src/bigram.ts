/** How much the single token counts beside the pair, in occurrences. */
const priorWeight = 2;

/**
 * The chance of each token given the one before it, from counts: pairs smoothed with single tokens, and those with
 * equal chances for all (MacKay and Peto's hierarchical Dirichlet model with fixed weights).
 */
export class Bigram {
  readonly #singles: Float64Array;
  readonly #pairs = new Map<number, number>();
  readonly #firsts: Float64Array;
  #total = 0;

  constructor(private readonly vocabulary: number) {
    this.#singles = new Float64Array(vocabulary);
    this.#firsts = new Float64Array(vocabulary);
  }

  learn(tokens: Int32Array): void {
    for (let index = 1; index < tokens.length; index++) {
      const [before, token] = this.#pairAt(tokens, index);
      const pair = before * this.vocabulary + token;
      this.#pairs.set(pair, (this.#pairs.get(pair) ?? 0) + 1);
      this.#firsts[before] = (this.#firsts[before] ?? 0) + 1;
      this.#singles[token] = (this.#singles[token] ?? 0) + 1;
      this.#total++;
    }
  }

  /** Sum of the negative log likelihoods in nats of all tokens but the first. */
  surprise(tokens: Int32Array): number {
    let sum = 0;
    for (let index = 1; index < tokens.length; index++) {
      const [before, token] = this.#pairAt(tokens, index);
      const single = ((this.#singles[token] ?? 0) + 1) / (this.#total + this.vocabulary);
      const pairs = this.#pairs.get(before * this.vocabulary + token) ?? 0;
      sum -= Math.log((pairs + priorWeight * single) / ((this.#firsts[before] ?? 0) + priorWeight));
    }
    return sum;
  }

  #pairAt(tokens: Int32Array, index: number): [number, number] {
    return [tokens[index - 1] ?? 0, tokens[index] ?? 0];
  }
}
