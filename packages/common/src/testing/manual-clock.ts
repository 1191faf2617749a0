import type { Clock } from '../clock.js';

/** Time that passes only when a test moves it. */
export class ManualClock implements Clock {
  #nowMs = 0;
  readonly #timers = new Set<{ readonly dueMs: number; readonly callback: () => void }>();

  /** Timers that are set. */
  get waiting(): number {
    return this.#timers.size;
  }

  nowMs(): number {
    return this.#nowMs;
  }

  after(delayMs: number, callback: () => void): () => void {
    const timer = { dueMs: this.#nowMs + delayMs, callback };
    this.#timers.add(timer);
    return () => this.#timers.delete(timer);
  }

  /** What is due within a jump fires once, at its end, as after a stall of the process. */
  jump(byMs: number): void {
    this.#nowMs += byMs;
    for (const timer of [...this.#timers])
      if (timer.dueMs <= this.#nowMs && this.#timers.delete(timer)) timer.callback();
  }
}
