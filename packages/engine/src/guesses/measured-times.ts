/**
 * How much one time counts beside what is known. What was held up by something else, or done for the first time, takes longer
 * than usual, and nothing takes much less: so shorter times say more.
 */
const weights = { shorter: 0.3, longer: 0.05 } as const;
/** A time so many times as long as expected counts as no more than that. */
const outlier = 4;
const leastShare = 0.1;

/**
 * Times of something that are known but for a part that is always about the same: what steps take beyond what their rows
 * let expect, on links and in queues.
 */
export class TimesBeyond {
  #beyondMicros = 0;
  #observed = 0;

  /** How many were observed. */
  get observed(): number {
    return this.#observed;
  }

  observe(micros: number, expectedMicros: number): void {
    const most = this.#observed === 0 ? Infinity : outlier * this.micros(expectedMicros);
    const more = Math.min(micros, most) - expectedMicros - this.#beyondMicros;
    this.#observed += 1;
    // The first few count alike.
    this.#beyondMicros += Math.max(more < 0 ? weights.shorter : weights.longer, 1 / this.#observed) * more;
  }

  /** What it will take: as expected where nothing was observed, and never less than a part of that. */
  micros(expectedMicros: number): number {
    return Math.max(expectedMicros * leastShare, expectedMicros + this.#beyondMicros);
  }
}

/**
 * How long it takes until so many guesses are there: a time for all and one for each, by least squares over what was
 * observed, of which the past counts less and less.
 */
export class DraftTimes {
  #observed = 0;
  #weight = 0;
  #counts = 0;
  #countSquares = 0;
  #micros = 0;
  #products = 0;

  /** How often. */
  get observed(): number {
    return this.#observed;
  }

  observe(count: number, micros: number): void {
    const known = this.micros(count);
    const taken = known === null ? micros : Math.min(micros, outlier * known);
    const { shorter, longer } = weights;
    const weight = known === null || taken <= known ? 1 : longer / shorter;
    const keep = (1 - shorter) ** weight;
    this.#observed += 1;
    this.#weight = this.#weight * keep + weight;
    this.#counts = this.#counts * keep + weight * count;
    this.#countSquares = this.#countSquares * keep + weight * count * count;
    this.#micros = this.#micros * keep + weight * taken;
    this.#products = this.#products * keep + weight * count * taken;
  }

  /** Null where nothing was observed. In proportion where all were as many. */
  micros(count: number): number | null {
    if (this.#weight === 0) return null;
    const meanCount = this.#counts / this.#weight;
    const meanMicros = this.#micros / this.#weight;
    const variance = this.#countSquares / this.#weight - meanCount * meanCount;
    const proportion = meanMicros / meanCount;
    const slope =
      variance > 1e-6 ? (this.#products / this.#weight - meanCount * meanMicros) / variance : proportion;
    // More guesses take longer, and none take no less than no time.
    const each = Math.min(Math.max(slope, 0), proportion);
    return meanMicros + each * (count - meanCount);
  }
}
