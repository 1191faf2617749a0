import type { SchedulerEvent } from './scheduler/scheduler-types.js';

/** How far back is looked. */
const windowMs = 60_000;
/** Without any token for so long, nothing ran. */
const pauseMs = 5_000;
/** Tokens are counted in intervals of this length, so that the memory is bounded. */
const intervalMs = 500;

/** What came out of late, to be held against the prediction of a plan. */
export interface SpeedFigures {
  /** How far it looks back, at most a minute. */
  readonly windowMs: number;
  /** Of all streams together, while any ran. */
  readonly tokensPerSecond: number;
  /** From one token of a stream to its next. */
  readonly microsPerToken: number;
  /** Streams that ran at once, on average while any ran. */
  readonly concurrency: number;
}

interface Interval {
  readonly startMs: number;
  tokens: number;
  /** Time in which something ran. */
  busyMs: number;
  /** Sum over tokens that were not the first of their stream. */
  gapsMs: number;
  gaps: number;
}

/** What comes out of the pipeline, over the last minute; a function of the tokens and the times at which they came. */
export class MeasuredSpeed {
  #intervals: Interval[] = [];
  #lastMs = -Infinity;
  /** When the latest token of each stream came; streams that end are forgotten. */
  readonly #tokensMs = new Map<number, number>();

  observe(events: readonly SchedulerEvent[], nowMs: number): void {
    if (events.length === 0) return;
    const interval = this.#intervalAt(nowMs);
    // After a pause the first step shows nothing: it began unseen.
    const sinceMs = nowMs - this.#lastMs;
    this.#lastMs = nowMs;
    if (sinceMs > pauseMs) this.#tokensMs.clear();
    else interval.busyMs += sinceMs;
    for (const event of events) {
      if (event.kind === 'promptToken') continue;
      if (event.kind !== 'token') {
        this.#tokensMs.delete(event.id);
        continue;
      }
      const beforeMs = this.#tokensMs.get(event.id);
      this.#tokensMs.set(event.id, nowMs);
      if (sinceMs > pauseMs) continue;
      interval.tokens += 1;
      if (beforeMs === undefined) continue;
      interval.gapsMs += nowMs - beforeMs;
      interval.gaps += 1;
    }
  }

  /** Null when nothing came. */
  figures(nowMs: number): SpeedFigures | null {
    this.#forget(nowMs);
    const sum = (of: (interval: Interval) => number): number =>
      this.#intervals.reduce((total, interval) => total + of(interval), 0);
    const [busyMs, tokens, gapsMs] = [
      sum((each) => each.busyMs),
      sum((each) => each.tokens),
      sum((each) => each.gapsMs),
    ];
    const gaps = sum((each) => each.gaps);
    if (tokens === 0 || busyMs === 0 || gaps === 0) return null;
    return {
      windowMs,
      tokensPerSecond: (tokens * 1000) / busyMs,
      microsPerToken: (gapsMs * 1000) / gaps,
      concurrency: gapsMs / busyMs,
    };
  }

  #intervalAt(nowMs: number): Interval {
    this.#forget(nowMs);
    const last = this.#intervals.at(-1);
    if (last && nowMs - last.startMs < intervalMs) return last;
    const interval = { startMs: nowMs, tokens: 0, busyMs: 0, gapsMs: 0, gaps: 0 };
    this.#intervals.push(interval);
    // Streams that were cancelled end without an event.
    for (const [id, atMs] of this.#tokensMs) if (atMs < nowMs - pauseMs) this.#tokensMs.delete(id);
    return interval;
  }

  #forget(nowMs: number): void {
    this.#intervals = this.#intervals.filter(({ startMs }) => startMs > nowMs - windowMs);
  }
}
