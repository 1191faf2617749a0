/** How long clients that are turned away should stay away, at least and at most. */
const waitMs = { min: 1_000, max: 60_000 } as const;
/** How much the latest interval counts. */
const weight = 0.1;

/** How often requests end, which is how often a place in the queue becomes free. */
export class EndRate {
  #lastMs: number;
  #intervalMs: number = waitMs.min;

  constructor(nowMs: number) {
    this.#lastMs = nowMs;
  }

  ended(nowMs: number): void {
    this.#intervalMs += weight * (Math.min(nowMs - this.#lastMs, waitMs.max) - this.#intervalMs);
    this.#lastMs = nowMs;
  }

  /** Expected time until one more place is free. */
  expectedWaitMs(): number {
    return Math.min(waitMs.max, Math.max(waitMs.min, this.#intervalMs));
  }
}
