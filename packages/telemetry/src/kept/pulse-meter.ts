import type { ButterflyEvent } from '@butterfly/common';
import type { Pulse } from '../view/live-view.js';
import { BusyTime } from './busy-time.js';
import type { KnownPlans } from './plans-in-force.js';

/** What runs and waits of a loaded model. */
export interface ModelLoad {
  readonly id: string;
  readonly running: number;
  readonly queued: number;
}

class ModelBeat {
  steps = 0;
  rows = 0;
  outputTokens = 0;
  readonly busy = new BusyTime();
}

/** What happened between two pulses, by model. */
export class PulseMeter {
  #beats = new Map<string, ModelBeat>();
  #atMs: number;

  constructor(
    private readonly plans: KnownPlans,
    nowMs: number,
  ) {
    this.#atMs = nowMs;
  }

  take(event: ButterflyEvent): void {
    if (event.kind === 'stepDone') {
      const beat = this.#beat(event.modelId);
      beat.steps += 1;
      beat.rows += event.rows;
      beat.busy.add(event, this.plans.of(event.modelId, event.replica));
    }
    if (event.kind === 'tokensCame') this.#beat(event.modelId).outputTokens += event.tokens;
  }

  /** Ends the interval, of which only loaded models are told. */
  beat(loads: readonly ModelLoad[], nowMs: number): Pulse {
    const lengthMs = Math.max(1, nowMs - this.#atMs);
    const models = loads.map((load) => {
      const { steps, rows, outputTokens, busy } = this.#beat(load.id);
      return { ...load, steps, rows, outputTokens, busyShares: busy.takeShares(lengthMs) };
    });
    this.#beats = new Map();
    this.#atMs = nowMs;
    return { atMs: nowMs, lengthMs, models };
  }

  #beat(modelId = ''): ModelBeat {
    const beat = this.#beats.get(modelId) ?? new ModelBeat();
    this.#beats.set(modelId, beat);
    return beat;
  }
}
