import type { Clock } from '@butterfly/common';
import { TimerHeap } from './timer-heap.js';
import type { Timer } from './timer-heap.js';

/**
 * A clock that stands still until a test moves it, from one timer to the next: an hour passes in milliseconds, and in
 * the same order every time. Timers that are due together fire in the order in which they were set. After each one,
 * everything that it set off runs to its end (microtasks and `process.nextTick`) before time moves on; what waits for
 * the real world, such as a file or a thread, does not.
 */
export class SimulatedClock implements Clock {
  readonly #timers = new TimerHeap();
  #nowMs = 0;
  #timersSet = 0;

  nowMs(): number {
    return this.#nowMs;
  }

  after(delayMs: number, callback: () => void): () => void {
    // As setTimeout does; a time of the past or none at all must not turn the order of events.
    const dueMs = this.#nowMs + (delayMs > 0 ? delayMs : 0);
    const timer: Timer = { dueMs, order: this.#timersSet++, callback };
    this.#timers.push(timer);
    return () => {
      timer.callback = null;
    };
  }

  /**
   * Moves on to the next timer and runs it, with all that follows from it. False where there is none.
   * Rejects with what the timer's callback throws.
   */
  async step(): Promise<boolean> {
    return this.#stepUntil(Infinity);
  }

  /** Lets so many milliseconds pass, with all that happens in them. */
  async advance(byMs: number): Promise<void> {
    const endMs = this.#nowMs + byMs;
    await settled();
    while (await this.#stepUntil(endMs));
    this.#nowMs = Math.max(this.#nowMs, endMs);
  }

  /**
   * Moves on from event to event until the condition holds.
   * @param options.withinMs simulated time that it may take at most, by default an hour
   * @throws Error when it does not hold by then, or nothing is left to happen
   */
  async runUntil(isDone: () => boolean, { withinMs = 3_600_000 } = {}): Promise<void> {
    const startMs = this.#nowMs;
    await settled();
    while (!isDone()) {
      if (await this.#stepUntil(startMs + withinMs)) continue;
      const left = this.#timers.peek() === undefined ? 'nothing is left to happen' : 'time is up';
      throw new Error(`What was waited for did not happen within ${withinMs} simulated ms: ${left}.`);
    }
  }

  /** Moves on until the promise is settled, and passes on its outcome. Else as `runUntil`. */
  async settle<T>(promise: Promise<T>, options: { readonly withinMs?: number } = {}): Promise<T> {
    let isSettled = false;
    const settle = (): void => {
      isSettled = true;
    };
    promise.then(settle, settle);
    await this.runUntil(() => isSettled, options);
    return promise;
  }

  async #stepUntil(endMs: number): Promise<boolean> {
    const timer = this.#timers.peek();
    if (timer === undefined || timer.dueMs > endMs) return false;
    this.#timers.pop();
    this.#nowMs = timer.dueMs;
    timer.callback?.();
    await settled();
    return true;
  }
}

/** Immediates run after all microtasks and ticks, however many they start in turn. */
const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
