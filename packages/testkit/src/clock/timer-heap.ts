export interface Timer {
  readonly dueMs: number;
  /** Among those that are due together, the lower one comes first. */
  readonly order: number;
  /** Null once it is cancelled. */
  callback: (() => void) | null;
}

const isBefore = (a: Timer, b: Timer): boolean =>
  a.dueMs === b.dueMs ? a.order < b.order : a.dueMs < b.dueMs;

/** Timers by the time at which they are due: a binary heap, which drops cancelled ones as they come up. */
export class TimerHeap {
  readonly #timers: Timer[] = [];

  push(timer: Timer): void {
    const timers = this.#timers;
    let at = timers.push(timer) - 1;
    while (at > 0) {
      const parentAt = (at - 1) >> 1;
      const parent = timers[parentAt];
      if (parent === undefined || isBefore(parent, timer)) break;
      timers[at] = parent;
      at = parentAt;
    }
    timers[at] = timer;
  }

  /** The next timer that is not cancelled. */
  peek(): Timer | undefined {
    while (this.#timers[0]?.callback === null) this.pop();
    return this.#timers[0];
  }

  /** Removes the first timer, cancelled or not. */
  pop(): void {
    const timers = this.#timers;
    const last = timers.pop();
    if (last === undefined || timers.length === 0) return;
    let at = 0;
    for (;;) {
      const [left, right] = [timers[2 * at + 1], timers[2 * at + 2]];
      const isRight = left !== undefined && right !== undefined && isBefore(right, left);
      const child = isRight ? right : left;
      if (child === undefined || isBefore(last, child)) break;
      timers[at] = child;
      at = 2 * at + (isRight ? 2 : 1);
    }
    timers[at] = last;
  }
}
