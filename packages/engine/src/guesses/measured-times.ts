/** How much one time counts beside what is known. */
const observedWeight = 0.1;
/** A time so many times as long as expected was held up by something else, and counts as no more than that. */
const outlier = 4;

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
    this.#observed += 1;
    // The first few count alike.
    const weight = Math.max(observedWeight, 1 / this.#observed);
    this.#beyondMicros += weight * (Math.min(micros, most) - expectedMicros - this.#beyondMicros);
  }

  /** What it will take: as expected where nothing was observed, and never less than a part of that. */
  micros(expectedMicros: number): number {
    return Math.max(expectedMicros * observedWeight, expectedMicros + this.#beyondMicros);
  }
}

/**
 * How long it takes until so many guesses are there: a time for all and one for each, by least squares over what was
 * observed, of which the past counts less and less.
 */
export class DraftTimes {
  #weight = 0;
  #counts = 0;
  #countSquares = 0;
  #micros = 0;
  #products = 0;

  observe(count: number, micros: number): void {
    const known = this.micros(count);
    const taken = known === null ? micros : Math.min(micros, outlier * known);
    const keep = 1 - observedWeight;
    this.#weight = this.#weight * keep + 1;
    this.#counts = this.#counts * keep + count;
    this.#countSquares = this.#countSquares * keep + count * count;
    this.#micros = this.#micros * keep + taken;
    this.#products = this.#products * keep + count * taken;
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
