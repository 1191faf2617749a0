import { ButterflyError } from '@butterfly/common';
import type { ControllerConfig, Target } from './controller-types.js';
import type { Members } from './members.js';
import type { Orders } from './orders.js';
import { uses } from './target.js';

/** Workers that are to be emptied and sent away. */
export class Drains {
  /** Those that were said goodbye to. */
  readonly #dismissed = new Set<string>();

  constructor(
    private readonly members: Members,
    private readonly orders: Orders,
    private readonly config: Pick<ControllerConfig, 'plan'>,
  ) {}

  /** Keeps a worker out of every plan from now on; false, and nothing changed, when the others could not hold the model. */
  begin(workerId: string, target: Target | null, nowMs: number): boolean {
    this.members.drain(workerId, true);
    if (target === null || !uses(target, workerId)) return true;
    try {
      this.config.plan(this.members.available(nowMs));
      return true;
    } catch (error) {
      if (!(error instanceof ButterflyError)) throw error;
      this.#refuse(workerId, error);
      return false;
    }
  }

  /** Whoever was to leave stays, as the others cannot hold the model any more; false where nobody was. */
  takeBack(error: ButterflyError | null): boolean {
    const draining = this.members.draining();
    const reason =
      error ?? new ButterflyError('CLUSTER_NOT_READY', 'No other worker is left to hold the model.');
    for (const { workerId } of draining) this.#refuse(workerId, reason);
    return draining.length > 0;
  }

  /** Says goodbye, once, to those that have no part in the target. */
  dismiss(target: Target | null): void {
    for (const { workerId } of this.members.draining()) {
      if (this.#dismissed.has(workerId) || (target && uses(target, workerId))) continue;
      this.#dismissed.add(workerId);
      this.orders.add({ kind: 'dismiss', workerId });
    }
  }

  /** It stays, whoever wanted it emptied. */
  withdraw(workerId: string): void {
    this.members.drain(workerId, false);
    this.#dismissed.delete(workerId);
  }

  left(workerId: string): void {
    this.#dismissed.delete(workerId);
  }

  #refuse(workerId: string, error: ButterflyError): void {
    this.members.drain(workerId, false);
    this.orders.add({ kind: 'drainRefused', workerId, error });
  }
}
