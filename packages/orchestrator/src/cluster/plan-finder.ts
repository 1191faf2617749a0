import { ButterflyError } from '@butterfly/common';
import type { ControllerConfig, Target } from './controller-types.js';
import type { Members } from './members.js';
import { targetOf } from './targets.js';

/** Finds plans for who is here, and knows when it is worth looking again. */
export class PlanFinder {
  /** Why the last plan could not be made or carried out; null when there is a newer one. */
  trouble: ButterflyError | null = null;
  /** Members that no plan was found for: it takes others to find one. */
  #unplannable: string | null = null;
  #isStale = false;
  /** When somebody who is left out may take part again. */
  #returnMs = Infinity;

  constructor(
    private readonly members: Members,
    private readonly config: Pick<ControllerConfig, 'plan' | 'repair' | 'shardIdOf'>,
  ) {}

  /** Something that a plan depends on is otherwise than at the last look. */
  changed(): void {
    this.#isStale = true;
  }

  /** The same members may have a plan now. */
  linksChanged(): void {
    this.#isStale = true;
    this.#unplannable = null;
  }

  isStale(nowMs: number): boolean {
    return this.#isStale || nowMs >= this.#returnMs;
  }

  /** The best for who is here now; null, with the trouble told, when they cannot hold the model. */
  find(nowMs: number): Target | null {
    const available = this.members.available(nowMs);
    this.#isStale = false;
    this.#returnMs = this.members.nextReturnMs(nowMs);
    const ids = available.map(({ workerId }) => workerId).join();
    if (available.length === 0 || ids === this.#unplannable) return null;
    try {
      const target = targetOf(this.config.plan(available), this.config.shardIdOf);
      this.#unplannable = null;
      return target;
    } catch (error) {
      if (!(error instanceof ButterflyError)) throw error;
      this.trouble = error;
      this.#unplannable = ids;
      return null;
    }
  }

  /** A plan with what is known of workers and links now. */
  predictedAnew(current: Target, nowMs: number): Target {
    const plan = this.config.repair(current.plan, new Map(), this.members.available(nowMs));
    return { ...current, plan: plan ? { ...current.plan, predicted: plan.predicted } : current.plan };
  }
}
