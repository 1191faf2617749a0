import { type ButterflyEvent, limits } from '@butterfly/common';
import type { SeriesBucket } from '../view/live-view.js';
import { BusyTime } from './busy-time.js';
import type { KnownPlans } from './plans-in-force.js';
import { Samples } from './samples.js';
import type { Tally } from './tally.js';

/** How much is going on, as it is asked for at the end of an interval. */
export interface LoadNow {
  readonly running: number;
  readonly queued: number;
  readonly arenaShare: number;
}

/** Counts of one interval, at its beginning. */
const nothing = {
  promptTokens: 0,
  cachedTokens: 0,
  outputTokens: 0,
  requestsStarted: 0,
  requestsEnded: 0,
  requestsFailed: 0,
  replays: 0,
  steps: 0,
  rows: 0,
};

/** Figures of the last hour in intervals of one length. */
export class Series implements Tally {
  readonly #buckets: SeriesBucket[] = [];
  readonly #busy = new BusyTime();
  #counts = { ...nothing };
  #firstTokens: Samples;
  #betweens: Samples;
  #requests: Samples;
  #beganMs: number;

  constructor(
    private readonly plans: KnownPlans,
    nowMs: number,
    private readonly random: () => number = Math.random,
  ) {
    this.#beganMs = nowMs;
    this.#firstTokens = new Samples(random);
    this.#betweens = new Samples(random);
    this.#requests = new Samples(random);
  }

  take(event: ButterflyEvent): void {
    if (event.kind !== 'stepDone') return;
    this.#counts.steps += 1;
    this.#counts.rows += event.rows;
    this.#busy.add(event, this.plans.of(event.modelId, event.replica));
  }

  /** Ends the interval. */
  close(load: LoadNow, nowMs: number): SeriesBucket {
    const lengthMs = Math.max(1, nowMs - this.#beganMs);
    const bucket: SeriesBucket = {
      ...{ atMs: this.#beganMs, lengthMs },
      ...this.#counts,
      firstTokenMs: this.#firstTokens.percentiles,
      tokenMs: this.#betweens.percentiles,
      requestMs: this.#requests.percentiles,
      ...load,
      busyShares: this.#busy.takeShares(lengthMs),
    };
    this.#buckets.push(bucket);
    if (this.#buckets.length > limits.seriesBucketsMax) this.#buckets.shift();
    this.#beganMs = nowMs;
    this.#counts = { ...nothing };
    this.#firstTokens = new Samples(this.random);
    this.#betweens = new Samples(this.random);
    this.#requests = new Samples(this.random);
    return bucket;
  }

  /** Complete ones, the newest last. */
  get buckets(): readonly SeriesBucket[] {
    return this.#buckets;
  }

  started(): void {
    this.#counts.requestsStarted += 1;
  }

  prefilled(tokens: number): void {
    this.#counts.promptTokens += tokens;
  }

  cached(tokens: number): void {
    this.#counts.cachedTokens += tokens;
  }

  generated(tokens: number): void {
    this.#counts.outputTokens += tokens;
  }

  firstToken(sinceArrivalMs: number): void {
    this.#firstTokens.add(sinceArrivalMs);
  }

  between(tokenMs: number): void {
    this.#betweens.add(tokenMs);
  }

  replayed(): void {
    this.#counts.replays += 1;
  }

  ended(totalMs: number, isFailed: boolean): void {
    this.#requests.add(totalMs);
    this.#counts.requestsEnded += 1;
    if (isFailed) this.#counts.requestsFailed += 1;
  }
}
