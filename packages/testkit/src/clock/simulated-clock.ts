import type { Clock } from '@butterfly/common';
import { TimerHeap } from './timer-heap.js';
import type { Timer } from './timer-heap.js';

const eventsPerTurn = 256;

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

  /** Whether nothing is left to happen. */
  get isIdle(): boolean {
    return this.#timers.peek() === undefined;
  }

  /** Lets so many milliseconds pass, with all that happens in them. */
  async advance(byMs: number): Promise<void> {
    const endMs = this.#nowMs + byMs;
    await this.#run(() => false, endMs);
    this.#nowMs = Math.max(this.#nowMs, endMs);
  }

  /**
   * Moves on from event to event until the condition holds, which is asked before each one. False when it does not hold
   * within that time, or nothing is left to happen. Rejects with what a timer's callback or the condition throws.
   */
  until(isDone: () => boolean, withinMs: number): Promise<boolean> {
    return this.#run(isDone, this.#nowMs + withinMs);
  }

  /**
   * As `until`, for what must happen.
   * @param options.withinMs simulated time that it may take at most, by default an hour
   * @throws Error when it does not hold by then, or nothing is left to happen
   */
  async runUntil(isDone: () => boolean, { withinMs = 3_600_000 } = {}): Promise<void> {
    if (await this.until(isDone, withinMs)) return;
    const left = this.isIdle ? 'nothing is left to happen' : 'time is up';
    throw new Error(`What was waited for did not happen within ${withinMs} simulated ms: ${left}.`);
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

  /**
   * One event in each immediate: between two of them all microtasks and ticks run, however many they start in turn. Those
   * that are set together run in one turn of the event loop, which spares a look at the sockets of the real world.
   */
  #run(isDone: () => boolean, endMs: number): Promise<boolean> {
    return new Promise((resolve, reject) => {
      let isOver = false;
      const next = (): void => {
        if (isOver) return;
        try {
          const isHere = isDone();
          isOver = isHere || !this.#fire(endMs);
          if (isOver) resolve(isHere);
        } catch (error) {
          isOver = true;
          reject(error instanceof Error ? error : new Error(String(error)));
        }
      };
      const turn = (): void => {
        for (let event = 1; event < eventsPerTurn; event++) setImmediate(next);
        setImmediate(() => {
          next();
          if (!isOver) turn();
        });
      };
      turn();
    });
  }

  /** Moves on to the next timer and runs it; false where there is none until then. */
  #fire(endMs: number): boolean {
    const timer = this.#timers.peek();
    if (timer === undefined || timer.dueMs > endMs) return false;
    this.#timers.pop();
    this.#nowMs = timer.dueMs;
    timer.callback?.();
    return true;
  }
}
