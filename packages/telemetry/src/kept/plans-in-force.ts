import { type ButterflyEvent, limits } from '@butterfly/common';

/** A stage of a plan, with the name of its worker. */
export interface StageInForce {
  readonly workerId: string;
  readonly name: string;
  readonly layers: readonly [first: number, last: number];
}

export interface PlanInForce {
  readonly epoch: number;
  readonly stages: readonly StageInForce[];
}

/** What is asked of it by those who hear the same events, each before it does. */
export type KnownPlans = Pick<PlansInForce, 'of' | 'reason'>;

/** Which plan each replica of each model has, and why the last one ended, from events alone. */
export class PlansInForce {
  readonly #plans = new Map<string, PlanInForce>();
  readonly #names = new Map<string, string>();
  #loss: { readonly words: string; readonly atMs: number } | null = null;

  take(event: ButterflyEvent, nowMs: number): void {
    switch (event.kind) {
      case 'workerJoined':
        this.#names.set(event.workerId, event.name);
        if (this.#names.size > limits.workersRememberedMax) this.#forgetOldest();
        break;
      case 'workerLeft':
        this.#loss = { words: `${event.name} left: ${event.reason}`, atMs: nowMs };
        break;
      case 'workerFailed':
        this.#loss = { words: `${event.name} failed: ${event.message}`, atMs: nowMs };
        break;
      case 'stepStalled':
        this.#loss = { words: 'A step missed its deadline.', atMs: nowMs };
        break;
      case 'planLive':
        this.#plans.set(keyOf(event.modelId, event.replica), {
          epoch: event.epoch,
          stages: event.stages.map(({ workerId, layerStart, layerEnd }) => ({
            workerId,
            name: this.#names.get(workerId) ?? workerId,
            layers: [layerStart, layerEnd - 1],
          })),
        });
        break;
      case 'planRetired':
        this.#plans.delete(keyOf(event.modelId, event.replica));
        break;
      default:
      // Nothing else changes a plan.
    }
  }

  /** Null where none is in force. */
  of(modelId: string | undefined, replica: number): PlanInForce | null {
    return this.#plans.get(keyOf(modelId, replica)) ?? null;
  }

  /** Why a plan ends now, in words for a person. */
  reason(nowMs: number): string {
    const isRecent = this.#loss !== null && nowMs - this.#loss.atMs < lossCountsMs;
    return isRecent && this.#loss ? this.#loss.words : 'Another plan took the place of the one before.';
  }

  #forgetOldest(): void {
    const [oldest] = this.#names.keys();
    if (oldest !== undefined) this.#names.delete(oldest);
  }
}

/** What was lost so long before a plan ended is not why it did. */
const lossCountsMs = 2_000;

const keyOf = (modelId: string | undefined, replica: number): string => `${replica} ${modelId ?? ''}`;
