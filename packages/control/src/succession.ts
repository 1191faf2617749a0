import { ButterflyError } from '@butterfly/common';
import type { Blame } from './blame.js';
import type { Target } from './controller-types.js';
import type { Members } from './members.js';
import type { Orders } from './orders.js';
import { missingStages, shardOf, uses } from './target.js';

/** A plan that is loaded while another one is live. */
interface Successor {
  readonly target: Target;
  /** Of the last progress. */
  movedMs: number;
  /** Since when all of it is loaded; null before. */
  preparedMs: number | null;
  /** Whether somebody waits for it. */
  readonly isUrgent: boolean;
}

/** How long a better plan waits for a moment without requests before it is cut in between two steps. */
const idleWaitMs = 5_000;

/** The plan that is to follow the live one, loaded behind it; at most one. */
export class Succession {
  #successor: Successor | null = null;

  constructor(
    private readonly members: Members,
    private readonly orders: Orders,
    private readonly blame: Blame,
  ) {}

  get target(): Target | null {
    return this.#successor?.target ?? null;
  }

  uses(workerId: string): boolean {
    return this.target !== null && uses(this.target, workerId);
  }

  /** Whether it is this shard that it has the worker load. */
  wants(workerId: string, shardId: string): boolean {
    return this.target !== null && shardOf(this.target, workerId) === shardId;
  }

  begin(target: Target, current: Target, isUrgent: boolean, nowMs: number): void {
    // What idle workers hold as spares makes room for what they are to load now.
    this.orders.keepOnly([target, current], target.plan);
    this.orders.prepare(target);
    this.#successor = { target, movedMs: nowMs, preparedMs: null, isUrgent };
    this.advance(nowMs);
  }

  progress(workerId: string, nowMs: number): void {
    if (this.#successor && this.uses(workerId)) this.#successor.movedMs = nowMs;
  }

  /** Notes when all that was waited for is there. */
  advance(nowMs: number): void {
    if (
      this.#successor?.preparedMs === null &&
      missingStages(this.#successor.target, this.members).length === 0
    )
      this.#successor.preparedMs = nowMs;
  }

  /** Lets go of it and of what was loaded for it alone. */
  abandon(current: Target | null): void {
    const target = this.take();
    if (target && current) this.orders.keepOnly([current], target.plan);
  }

  /** Gives it out of hand, as far as it is loaded. */
  take(): Target | null {
    const { target } = this;
    this.#successor = null;
    return target;
  }

  /** Between two steps when nobody would notice, or soon, when somebody always would: what is due now is given out of hand. */
  takeDue(isIdle: boolean, nowMs: number): Target | null {
    if (this.#successor === null) return null;
    const { preparedMs, isUrgent } = this.#successor;
    const isDue = preparedMs !== null && (isIdle || isUrgent || nowMs - preparedMs >= idleWaitMs);
    return isDue ? this.take() : null;
  }

  hangs(stallMs: number, nowMs: number): boolean {
    return this.#successor?.preparedMs === null && nowMs - this.#successor.movedMs > stallMs;
  }

  /** Whoever keeps it waiting is left out for a while, and not dropped, because it may serve at the same time. Gives what to tell. */
  blameHanging(nowMs: number): ButterflyError {
    for (const index of this.target ? missingStages(this.target, this.members) : []) {
      const member = this.members.get(this.target?.plan.stages[index]?.workerId ?? '');
      if (member) this.blame.hindered(member, nowMs);
    }
    return new ButterflyError('TIMEOUT', 'Loading the next plan made no progress.');
  }
}
