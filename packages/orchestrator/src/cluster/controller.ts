import { ButterflyError, deadlines, type WorkerIdentity } from '@butterfly/common';
import type { Plan } from './planner.js';

/** What the controller knows of a worker. */
export interface Member extends Pick<
  WorkerIdentity,
  'name' | 'memoryBytes' | 'weightBytesPerSecond' | 'attentionMicros'
> {
  readonly workerId: string;
}

/** A plan in force, told apart from all before it by its epoch. */
export interface EpochPlan {
  readonly epoch: number;
  readonly plan: Plan;
}

type Phase =
  | { readonly kind: 'waiting' }
  | {
      readonly kind: 'loading';
      readonly current: EpochPlan;
      readonly ready: ReadonlySet<string>;
      readonly movedMs: number;
    }
  | { readonly kind: 'canary'; readonly current: EpochPlan; readonly sinceMs: number }
  | { readonly kind: 'live'; readonly current: EpochPlan };

export type ControllerEvent =
  | { readonly kind: 'joined'; readonly member: Member }
  | { readonly kind: 'left'; readonly workerId: string }
  | { readonly kind: 'progress'; readonly workerId: string; readonly epoch: number }
  | { readonly kind: 'ready'; readonly workerId: string; readonly epoch: number }
  | {
      readonly kind: 'failed';
      readonly workerId: string;
      readonly epoch: number;
      readonly error: ButterflyError;
    }
  | { readonly kind: 'canaryPassed'; readonly epoch: number }
  /** A step of this epoch missed its deadline. */
  | { readonly kind: 'stalled'; readonly epoch: number }
  | { readonly kind: 'tick' };

export type ControllerAction =
  /** Tell every worker of the plan its layers. */
  | { readonly kind: 'assign'; readonly current: EpochPlan }
  /** Tell the workers that the epoch is over; drop its frames. */
  | { readonly kind: 'retire'; readonly current: EpochPlan }
  /** Send one token through all stages. */
  | { readonly kind: 'canary'; readonly current: EpochPlan }
  | { readonly kind: 'live'; readonly current: EpochPlan }
  | { readonly kind: 'drop'; readonly workerId: string; readonly error: ButterflyError };

export interface ControllerConfig {
  /** Workers to wait for before the first plan. */
  readonly workersExpected: number;
  /** How long to wait for more workers after one joined. */
  readonly gatherMs: number;
  /** How long a worker that failed is left out. */
  readonly cooldownMs: number;
  /** @throws ButterflyError MODEL_TOO_LARGE when these members cannot hold the model. */
  readonly plan: (members: readonly Member[]) => Plan;
}

/**
 * Decides which plan is in force: a function of its events and the time, without sockets or timers. An epoch begins
 * with `assign`, becomes live when every stage is ready and a canary token came through, and ends with `retire`.
 */
export class Controller {
  #phase: Phase = { kind: 'waiting' };
  #epoch = 0;
  #hasPlanned = false;
  #lastJoinMs = 0;
  #trouble: ButterflyError | null = null;
  /** Workers that no plan was found for: it takes others to find one. */
  #unplannable: string | null = null;
  readonly #members = new Map<string, Member>();
  readonly #leftOutUntilMs = new Map<string, number>();

  constructor(private readonly config: ControllerConfig) {}

  get phase(): Phase['kind'] {
    return this.#phase.kind;
  }

  get current(): EpochPlan | null {
    return this.#phase.kind === 'waiting' ? null : this.#phase.current;
  }

  /** Why the last plan could not be made or carried out; null when there is a newer one. */
  get trouble(): ButterflyError | null {
    return this.#trouble;
  }

  /** What the cluster waits for, in words for a person. */
  describe(): string {
    switch (this.#phase.kind) {
      case 'live':
        return 'ready';
      case 'canary':
        return 'sending a first token through all stages';
      case 'loading':
        return `loading: ${this.#phase.ready.size} of ${this.#phase.current.plan.stages.length} stages are ready`;
      case 'waiting': {
        const joined = `${this.#members.size} of ${this.config.workersExpected} expected workers have joined`;
        return this.#trouble ? `${joined}; ${this.#trouble.message}` : joined;
      }
    }
  }

  handle(event: ControllerEvent, nowMs: number): ControllerAction[] {
    switch (event.kind) {
      case 'joined':
        this.#members.set(event.member.workerId, event.member);
        this.#lastJoinMs = nowMs;
        return this.#replan(nowMs);
      case 'left':
        this.#members.delete(event.workerId);
        this.#leftOutUntilMs.delete(event.workerId);
        return this.#isPlanned(event.workerId) ? this.#restart(nowMs) : [];
      case 'progress':
        if (this.#phase.kind === 'loading' && this.#isCurrent(event))
          this.#phase = { ...this.#phase, movedMs: nowMs };
        return [];
      case 'ready':
        return this.#ready(event, nowMs);
      case 'failed':
        if (!this.#isCurrent(event)) return [];
        this.#trouble = event.error;
        this.#leftOutUntilMs.set(event.workerId, nowMs + this.config.cooldownMs);
        return this.#restart(nowMs);
      case 'canaryPassed':
        if (this.#phase.kind !== 'canary' || this.#phase.current.epoch !== event.epoch) return [];
        this.#phase = { kind: 'live', current: this.#phase.current };
        this.#trouble = null;
        return [{ kind: 'live', current: this.#phase.current }];
      case 'stalled':
        return this.current?.epoch === event.epoch ? this.#restart(nowMs) : [];
      case 'tick':
        return this.#tick(nowMs);
    }
  }

  #isPlanned(workerId: string): boolean {
    return this.current?.plan.stages.some((stage) => stage.workerId === workerId) ?? false;
  }

  #isCurrent(event: { readonly workerId: string; readonly epoch: number }): boolean {
    return this.current?.epoch === event.epoch && this.#isPlanned(event.workerId);
  }

  #ready(event: { readonly workerId: string; readonly epoch: number }, nowMs: number): ControllerAction[] {
    if (this.#phase.kind !== 'loading' || !this.#isCurrent(event)) return [];
    const { current } = this.#phase;
    const ready = new Set(this.#phase.ready).add(event.workerId);
    if (ready.size < current.plan.stages.length) {
      this.#phase = { ...this.#phase, ready, movedMs: nowMs };
      return [];
    }
    this.#phase = { kind: 'canary', current, sinceMs: nowMs };
    return [{ kind: 'canary', current }];
  }

  #tick(nowMs: number): ControllerAction[] {
    const { kind } = this.#phase;
    if (kind === 'waiting') return this.#replan(nowMs);
    if (kind === 'canary' && nowMs - this.#phase.sinceMs > deadlines.stepMs) return this.#restart(nowMs);
    if (kind !== 'loading' || nowMs - this.#phase.movedMs <= deadlines.loadStallMs) return [];
    // Whoever is not ready after a time without any progress hangs.
    const { current, ready } = this.#phase;
    const hanging = current.plan.stages.filter(({ workerId }) => !ready.has(workerId));
    const error = new ButterflyError('TIMEOUT', `Loading made no progress for ${deadlines.loadStallMs} ms.`);
    return hanging.map(({ workerId }): ControllerAction => ({ kind: 'drop', workerId, error }));
  }

  /** Ends the epoch, if there is one, and begins the next if enough workers are left. */
  #restart(nowMs: number): ControllerAction[] {
    const over = this.current;
    this.#phase = { kind: 'waiting' };
    return [...(over ? [{ kind: 'retire', current: over } as const] : []), ...this.#replan(nowMs)];
  }

  #replan(nowMs: number): ControllerAction[] {
    if (this.#phase.kind !== 'waiting') return [];
    const isGathered = nowMs - this.#lastJoinMs >= this.config.gatherMs;
    if (!this.#hasPlanned && (this.#members.size < this.config.workersExpected || !isGathered)) return [];
    const members = [...this.#members.values()].filter(
      ({ workerId }) => (this.#leftOutUntilMs.get(workerId) ?? 0) <= nowMs,
    );
    const ids = members.map(({ workerId }) => workerId).join();
    if (members.length === 0 || ids === this.#unplannable) return [];
    let plan: Plan;
    try {
      plan = this.config.plan(members);
    } catch (error) {
      if (!(error instanceof ButterflyError)) throw error;
      this.#trouble = error;
      this.#unplannable = ids;
      return [];
    }
    this.#unplannable = null;
    this.#trouble = null;
    this.#hasPlanned = true;
    const current = { epoch: ++this.#epoch, plan };
    this.#phase = { kind: 'loading', current, ready: new Set(), movedMs: nowMs };
    return [{ kind: 'assign', current }];
  }
}
