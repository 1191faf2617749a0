import { ButterflyError } from '@butterfly/common';
import type { ControllerConfig, Target } from './controller-types.js';
import type { Member, Members } from './members.js';
import { repairedBySpares } from './spare-shards.js';
import { missingStages, targetOf } from './target.js';
import { isUrgent, weigh } from './weighing.js';

/** A plan to change to. */
interface Better {
  readonly target: Target;
  /** Whether somebody waits for it. */
  readonly isUrgent: boolean;
  /** Whether it can be loaded while the other one is live. */
  readonly fitsBeside: boolean;
}

/** Sets of workers that are remembered as too small for the model. */
const unplannableMax = 16;

/** Finds plans for who is here, and knows when it is worth looking again. */
export class PlanFinder {
  /** Why the last plan could not be made or carried out; null when there is a newer one. */
  trouble: ButterflyError | null = null;
  /** Members that no plan was found for: it takes others to find one. */
  readonly #unplannable = new Set<string>();
  #isStale = false;
  /** When somebody who is left out may take part again. */
  #returnMs = Infinity;

  constructor(
    private readonly members: Members,
    private readonly config: Pick<ControllerConfig, 'plan' | 'repair' | 'shardIdOf' | 'stagesMin'>,
  ) {}

  /** Something that a plan depends on is otherwise than at the last look. */
  changed(): void {
    this.#isStale = true;
  }

  /** The same members may have a plan now. */
  linksChanged(): void {
    this.#isStale = true;
    this.#unplannable.clear();
  }

  isStale(nowMs: number): boolean {
    return this.#isStale || nowMs >= this.#returnMs;
  }

  /**
   * The best for who is here now; null, with the trouble told, when they cannot hold the model. Better a worker that may
   * be lost again than none.
   */
  find(nowMs: number): Target | null {
    this.#isStale = false;
    this.#returnMs = this.members.nextReturnMs(nowMs);
    const { trouble } = this;
    const found = this.#planFor(this.members.available(nowMs)) ?? this.#planFor(this.members.atNeed(nowMs));
    // That the first would not do is no trouble where the second will.
    if (found) this.trouble = trouble;
    return found;
  }

  #planFor(members: readonly Member[]): Target | null {
    const ids = members.map(({ workerId }) => workerId).join();
    if (members.length === 0 || this.#unplannable.has(ids)) return null;
    try {
      const target = targetOf(this.config.plan(members), this.config.shardIdOf);
      this.#unplannable.clear();
      return target;
    } catch (error) {
      if (!(error instanceof ButterflyError)) throw error;
      this.trouble = error;
      // Of those before only the last few can come again.
      if (this.#unplannable.size >= unplannableMax) this.#unplannable.clear();
      this.#unplannable.add(ids);
      return null;
    }
  }

  /** What can be live at once after a target that ended: the one that was to follow it, or that with spares in the places of the dead. */
  atHand(ended: Target | null, next: Target | null, nowMs: number): Target | null {
    const available = this.members.available(nowMs);
    const isHere = ({ plan }: Target): boolean =>
      plan.stages.every(({ workerId }) => available.some((member) => member.workerId === workerId));
    if (next && isHere(next) && missingStages(next, this.members).length === 0) return next;
    const { shardIdOf } = this.config;
    return ended && repairedBySpares(ended, available, this.members, { shardIdOf, repair: this.#repair });
  }

  /** A plan that is worth a change from the live one; null where there is none. */
  better(current: Target, nowMs: number): Better | null {
    const target = this.find(nowMs);
    if (target === null) return null;
    const urgent = isUrgent(target, current, this.members, this.config.stagesMin);
    const verdict = weigh(target, this.#predictedAnew(current, nowMs), this.members, urgent);
    return verdict === 'stay' ? null : { target, isUrgent: urgent, fitsBeside: verdict === 'prepare' };
  }

  /** A plan with what is known of workers and links now. */
  #predictedAnew(current: Target, nowMs: number): Target {
    const plan = this.#repair(current.plan, new Map(), this.members.available(nowMs));
    return {
      ...current,
      plan: plan ? { ...current.plan, predicted: plan.predicted, objective: plan.objective } : current.plan,
    };
  }

  /** A defect of the planner costs the plan that was asked for, and not what is live. */
  readonly #repair: ControllerConfig['repair'] = (...asked) => {
    try {
      return this.config.repair(...asked);
    } catch (error) {
      if (!(error instanceof ButterflyError)) throw error;
      this.trouble = error;
      return null;
    }
  };
}
