import { limits } from '@butterfly/common';
import type { DrainDescription } from '../view/cluster-view.js';
import { identityOf, type FleetWorker } from './fleet-worker.js';

type Identified = Pick<FleetWorker, 'workerId' | 'identity' | 'member'>;

interface DrainRequest extends DrainDescription {
  readonly identity: string;
  /** Under which the worker is here, or was last. */
  readonly presentId: string;
  readonly changedMs: number;
}

/** A worker that was lost so long ago, and comes then, was set up anew; and nobody asks any more what became of the rest. */
const memoryMs = 10 * 60_000;

/**
 * Which workers people want to have emptied, and what has become of it. By identity, because a worker that is lost before
 * it is empty comes back under another id, and must not be put to work again.
 */
export class DrainRequests {
  #requests: readonly DrainRequest[] = [];

  all(): DrainDescription[] {
    return this.#requests.map(({ workerId, name, state }) => ({ workerId, name, state }));
  }

  /** Somebody wants it emptied, and that has begun. */
  begin(worker: Identified, nowMs: number): void {
    const { workerId, identity } = worker;
    const isRecent = ({ state, changedMs }: DrainRequest): boolean =>
      state === 'draining' || changedMs > nowMs - memoryMs;
    const others = this.#requests.filter((each) => each.workerId !== workerId && isRecent(each));
    const request: DrainRequest = {
      workerId,
      presentId: workerId,
      name: identity.name,
      identity: identityOf(worker),
      state: 'draining',
      changedMs: nowMs,
    };
    this.#requests = [...others, request].slice(-limits.workersMax);
  }

  /** It left: in order, or it was lost. */
  left(workerId: string, isOrderly: boolean, nowMs: number): void {
    this.#change(workerId, isOrderly ? 'gone' : 'lost', nowMs);
  }

  /** It stays after all. */
  kept(workerId: string, nowMs: number): void {
    this.#change(workerId, 'kept', nowMs);
  }

  /** Whether a worker that is here is being emptied. */
  isDraining(workerId: string): boolean {
    return this.#requests.some(({ presentId, state }) => presentId === workerId && state === 'draining');
  }

  /** Whether this worker was lost before it was empty. */
  isWanted(worker: Identified, nowMs: number): boolean {
    return this.#requests.some((each) => isLost(each, worker, nowMs));
  }

  /** It came back, and is emptied on, or stays after all. */
  returned(worker: Identified, state: 'draining' | 'kept', nowMs: number): void {
    this.#requests = this.#requests.map((each) =>
      isLost(each, worker, nowMs) ? { ...each, presentId: worker.workerId, state, changedMs: nowMs } : each,
    );
  }

  #change(presentId: string, state: DrainDescription['state'], nowMs: number): void {
    this.#requests = this.#requests.map((each) =>
      each.presentId === presentId && each.state === 'draining' ? { ...each, state, changedMs: nowMs } : each,
    );
  }
}

function isLost({ state, identity, changedMs }: DrainRequest, worker: Identified, nowMs: number): boolean {
  return state === 'lost' && identity === identityOf(worker) && changedMs > nowMs - memoryMs;
}
