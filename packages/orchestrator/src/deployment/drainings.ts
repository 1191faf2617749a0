import { ButterflyError, type Clock, type Observer } from '@butterfly/common';
import type { Fleet } from '../fleet/fleet.js';
import type { FleetWorker } from '../fleet/fleet-worker.js';

/** What emptying a worker takes of a deployment. */
interface Emptying {
  /** Gives why it stays, if it must. @throws ButterflyError CLUSTER_NOT_READY for a worker that measures itself */
  drain(worker: FleetWorker): ButterflyError | null;
  /** It is to be emptied no more. */
  keep(workerId: string): void;
  /** Null for a worker that takes no part. */
  replicaOf(workerId: string): object | null;
}

/** Workers that are to be emptied of all models, and then sent away. */
export class Drainings {
  /** By worker, those that have no part for it any more. */
  readonly #emptiedBy = new Map<string, Set<Emptying>>();

  constructor(
    private readonly fleet: Pick<Fleet, 'workers' | 'drains' | 'dismiss'>,
    private readonly around: { readonly clock: Clock; readonly observe: Observer },
    private readonly deployments: () => readonly Emptying[],
  ) {}

  /** @throws ButterflyError NOT_FOUND, CLUSTER_NOT_READY, MODEL_TOO_LARGE; nothing has changed then */
  begin(workerId: string): void {
    const worker = this.fleet.workers.get(workerId);
    if (!worker)
      throw new ButterflyError('NOT_FOUND', `There is no worker ${workerId}; see butterfly status.`);
    const begun: Emptying[] = [];
    try {
      for (const deployment of this.deployments()) {
        const refusal = deployment.drain(worker);
        if (refusal) throw refusal;
        begun.push(deployment);
      }
    } catch (refusal) {
      for (const deployment of begun) deployment.keep(workerId);
      this.#emptiedBy.delete(workerId);
      throw refusal;
    }
    this.fleet.drains.begin(worker, this.around.clock.nowMs());
    this.look();
  }

  /** A model has no part for the worker any more. */
  emptied(workerId: string, deployment: Emptying): void {
    const by = this.#emptiedBy.get(workerId) ?? new Set();
    this.#emptiedBy.set(workerId, by.add(deployment));
    this.#dismissIfEmpty(workerId);
  }

  /** Some model cannot go without it, so that it stays with all. */
  kept(workerId: string): void {
    this.fleet.drains.kept(workerId, this.around.clock.nowMs());
    this.#emptiedBy.delete(workerId);
    for (const deployment of this.deployments()) deployment.keep(workerId);
  }

  /** A worker takes part in a model: it is emptied on where it was lost before it was empty, or is to be emptied of others. */
  joined(worker: FleetWorker, deployment: Emptying): void {
    const { drains } = this.fleet;
    const nowMs = this.around.clock.nowMs();
    const { workerId, identity } = worker;
    const isBack = drains.isWanted(worker, nowMs);
    if (!isBack && !drains.isDraining(workerId)) return;
    if (isBack) this.around.observe({ kind: 'drainResumed', workerId, name: identity.name });
    const refusal = deployment.drain(worker);
    if (isBack) drains.returned(worker, refusal ? 'kept' : 'draining', nowMs);
    else if (refusal) this.kept(workerId);
  }

  left(workerId: string, isOrderly: boolean): void {
    this.#emptiedBy.delete(workerId);
    this.fleet.drains.left(workerId, isOrderly, this.around.clock.nowMs());
  }

  /** A model is served no more: some may have waited for it alone. */
  look(): void {
    for (const { workerId } of this.fleet.workers.values())
      if (this.fleet.drains.isDraining(workerId)) this.#dismissIfEmpty(workerId);
  }

  #dismissIfEmpty(workerId: string): void {
    const by = this.#emptiedBy.get(workerId);
    const isEmpty = this.deployments().every(
      (deployment) => (by?.has(deployment) ?? false) || deployment.replicaOf(workerId) === null,
    );
    if (isEmpty) this.fleet.dismiss(workerId);
  }
}
