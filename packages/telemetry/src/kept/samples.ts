import { limits } from '@butterfly/common';
import type { Percentiles } from '../view/live-view.js';

/** Values of one interval; of very many, a fair choice (reservoir sampling, Vitter's algorithm R). */
export class Samples {
  readonly #values: number[] = [];
  #count = 0;

  /** @param random a number from 0 to below 1 for each value */
  constructor(private readonly random: () => number) {}

  add(value: number): void {
    this.#count += 1;
    if (this.#values.length < limits.samplesPerIntervalMax) this.#values.push(value);
    else {
      const at = Math.floor(this.random() * this.#count);
      if (at < this.#values.length) this.#values[at] = value;
    }
  }

  /** By nearest rank; null without values. */
  get percentiles(): Percentiles | null {
    if (this.#values.length === 0) return null;
    const sorted = [...this.#values].sort((a, b) => a - b);
    const at = (share: number): number => sorted[Math.ceil(share * sorted.length) - 1] ?? 0;
    return { p50: at(0.5), p95: at(0.95), p99: at(0.99) };
  }
}
