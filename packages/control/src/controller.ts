import { type ButterflyError, deadlines } from '@butterfly/common';
import { Blame } from './blame.js';
import type {
  ControllerAction,
  ControllerConfig,
  ControllerEvent,
  EpochPlan,
  Phase,
  Target,
} from './controller-types.js';
import { Drains } from './drains.js';
import { Members, type Member } from './members.js';
import { Orders } from './orders.js';
import { PlanFinder } from './plan-finder.js';
import { Spares, type SpareLack } from './spares.js';
import { describeMember, describeWait } from './status-descriptions.js';
import { Succession } from './succession.js';
import { missingStages, shardOf, uses } from './target.js';

type EventOf<K extends ControllerEvent['kind']> = Extract<ControllerEvent, { readonly kind: K }>;

/**
 * Decides which plan is in force: a function of its events and the time, without sockets or timers. Shards are prepared
 * first, in the background where a plan is live; an epoch then begins with `assign`, becomes live when every stage is
 * ready and a canary token came through, and ends with `retire`.
 */
export class Controller {
  /** What workers hold, or were told to load. */
  readonly holdings: Pick<Members, 'shardsOf' | 'claims'>;
  #phase: Phase = { kind: 'waiting' };
  /** Whether nobody is waited for any more. */
  #isGathered = false;
  #lastJoinMs = 0;
  readonly #members: Members;
  readonly #orders: Orders;
  readonly #plans: PlanFinder;
  readonly #blame: Blame;
  readonly #succession: Succession;
  readonly #drains: Drains;
  readonly #spares: Spares;

  constructor(private readonly config: ControllerConfig) {
    this.#members = new Members(config.shared.losses, config.shared.room);
    this.holdings = this.#members;
    this.#orders = new Orders(this.#members);
    this.#plans = new PlanFinder(this.#members, config);
    this.#blame = new Blame(this.#members);
    this.#succession = new Succession(this.#members, this.#orders, this.#blame);
    this.#drains = new Drains(this.#members, this.#orders, config);
    this.#spares = new Spares(this.#members, this.#orders, config);
  }

  get phase(): Phase['kind'] {
    return this.#phase.kind;
  }

  get current(): EpochPlan | null {
    return 'current' in this.#phase ? this.#phase.current : null;
  }

  /** What is in force or on its way to be. */
  get target(): Target | null {
    return this.#phase.kind === 'preparing' ? this.#phase.target : this.current;
  }

  /** Why the last plan could not be made or carried out; null when there is a newer one. */
  get trouble(): ButterflyError | null {
    return this.#plans.trouble;
  }

  stateOf(workerId: string, nowMs: number): ReturnType<typeof describeMember> {
    const { phase, target } = this;
    const next = this.#succession.target;
    return describeMember(workerId, { phase, target, next, members: this.#members, nowMs });
  }

  /** How many workers there are. */
  get size(): number {
    return this.#members.size;
  }

  /** Those that a plan may use now. */
  available(nowMs: number): readonly Member[] {
    return this.#members.available(nowMs);
  }

  /** Whether the plan in force or on its way, or the next one, has a part for the worker. */
  isUsing(workerId: string): boolean {
    return this.#succession.uses(workerId) || (this.target !== null && uses(this.target, workerId));
  }

  /** Why a live plan has fewer spares than asked for; null where it has them, or is not live. */
  get spareLack(): SpareLack | null {
    return this.#phase.kind === 'live' ? this.#spares.lack(this.#phase.current) : null;
  }

  /** What the cluster waits for, in words for a person. */
  describe(): string {
    const { target, trouble } = this;
    const { workersExpected } = this.config;
    return describeWait(this.phase, { target, members: this.#members, workersExpected, trouble });
  }

  handle(event: ControllerEvent, nowMs: number): ControllerAction[] {
    switch (event.kind) {
      case 'joined':
        this.#members.add(event.member, event.heldShards);
        this.#lastJoinMs = nowMs;
        this.#plans.changed();
        this.#seek(nowMs);
        break;
      case 'gathered':
        for (const { member, heldShards } of event.joining) this.#members.add(member, heldShards);
        this.#isGathered = true;
        this.#plans.changed();
        this.#seek(nowMs);
        break;
      case 'left':
        this.#left(event, nowMs);
        break;
      case 'progress':
        this.#progress(event.workerId, nowMs);
        break;
      case 'prepared':
        this.#prepared(event.workerId, event.shardId, nowMs);
        break;
      case 'unprepared':
        this.#unprepared(event, nowMs);
        break;
      case 'ready':
        this.#ready(event, nowMs);
        break;
      case 'failed':
        this.#failed(event, nowMs);
        break;
      case 'canaryPassed':
        if (this.#phase.kind === 'canary' && this.#phase.current.epoch === event.epoch)
          this.#live(this.#phase.current, nowMs);
        break;
      case 'stalled':
        this.#stalled(event.epoch, nowMs);
        break;
      case 'distrusted':
        this.#distrusted(event, nowMs);
        break;
      case 'linksChanged':
        this.#plans.linksChanged();
        break;
      case 'drain':
        this.#drain(event.workerId, nowMs);
        break;
      case 'keep':
        this.#drains.withdraw(event.workerId);
        this.#plans.changed();
        break;
      case 'tick':
        this.#tick(event.isIdle, nowMs);
        break;
      default:
        event satisfies never;
    }
    return this.#orders.take();
  }

  #left({ workerId, isOrderly }: EventOf<'left'>, nowMs: number): void {
    const member = this.#members.get(workerId);
    if (!member) return;
    const isNeeded = this.target !== null && uses(this.target, workerId);
    // Also one that only loads: each of its returns has the next plan loaded anew.
    if (this.isUsing(workerId) && !isOrderly) this.#members.lost(member, nowMs);
    this.#members.remove(workerId);
    this.#drains.left(workerId);
    this.#plans.changed();
    if (this.#succession.uses(workerId)) {
      // Where the live plan ends too, the one that follows may want some of what was loaded.
      if (isNeeded) this.#succession.take();
      else this.#abandonNext();
    }
    if (isNeeded) this.#recover(nowMs);
  }

  #progress(workerId: string, nowMs: number): void {
    if (this.#phase.kind === 'preparing' && uses(this.#phase.target, workerId))
      this.#phase = { ...this.#phase, movedMs: nowMs };
    this.#succession.progress(workerId, nowMs);
  }

  #prepared(workerId: string, shardId: string, nowMs: number): void {
    if (!this.#members.get(workerId)) return;
    if (this.#members.holds(workerId, shardId) === null) {
      // Asked for over a connection that was lost meanwhile: nobody would count its memory.
      this.#orders.add({ kind: 'release', workerId, shardId });
      return;
    }
    this.#members.hold(workerId, shardId, 'held');
    this.#progress(workerId, nowMs);
    this.#advance(nowMs);
  }

  #unprepared({ workerId, shardId, error }: EventOf<'unprepared'>, nowMs: number): void {
    const member = this.#members.get(workerId);
    if (!member || this.#members.holds(workerId, shardId) === null) return;
    this.#members.unhold(workerId, shardId);
    this.#blame.hindered(member, nowMs);
    this.#plans.changed();
    if (this.#succession.wants(workerId, shardId)) this.#abandonNext(error);
    if (this.#phase.kind !== 'preparing' || shardOf(this.#phase.target, workerId) !== shardId) return;
    this.#plans.trouble = error;
    this.#recover(nowMs);
  }

  #ready(event: EventOf<'ready'>, nowMs: number): void {
    if (this.#phase.kind !== 'starting' || this.#phase.current.epoch !== event.epoch) return;
    const { current } = this.#phase;
    if (!uses(current, event.workerId)) return;
    const ready = new Set(this.#phase.ready).add(event.workerId);
    this.#phase = { ...this.#phase, ready };
    if (ready.size < current.plan.stages.length) return;
    this.#phase = { kind: 'canary', current, sinceMs: nowMs };
    this.#orders.add({ kind: 'canary', current });
  }

  #failed(event: EventOf<'failed'>, nowMs: number): void {
    const { current } = this;
    const member = this.#members.get(event.workerId);
    if (current?.epoch !== event.epoch || !member || !uses(current, event.workerId)) return;
    this.#plans.trouble = event.error;
    // A lost link does not say which side is at fault: the plan changes its links, not its workers.
    if (!event.isLink) this.#blame.failed(member, nowMs);
    this.#recover(nowMs);
  }

  /** What it computed is believed no more, and what it would compute is not asked for. */
  #distrusted({ workerId, verifierId, error }: EventOf<'distrusted'>, nowMs: number): void {
    const member = this.#members.get(workerId);
    if (!member) return;
    this.#blame.distrusted(member, this.#members.get(verifierId), nowMs);
    this.#plans.changed();
    if (this.#succession.uses(workerId)) this.#abandonNext(error);
    if (!this.target || !uses(this.target, workerId)) return;
    this.#plans.trouble = error;
    this.#recover(nowMs);
  }

  /** The links may be to blame, or somebody. */
  #stalled(epoch: number, nowMs: number): void {
    const { current } = this;
    if (current?.epoch !== epoch) return;
    this.#orders.add({ kind: 'measureLinks', plan: current.plan });
    this.#blame.stalled(current.plan, nowMs);
    this.#recover(nowMs);
  }

  #drain(workerId: string, nowMs: number): void {
    if (!this.#members.get(workerId) || this.#members.isDraining(workerId)) return;
    if (!this.#drains.begin(workerId, this.target, nowMs)) return;
    this.#plans.changed();
    if (this.#succession.uses(workerId)) this.#abandonNext();
    this.#seek(nowMs);
  }

  #tick(isIdle: boolean, nowMs: number): void {
    const phase = this.#phase;
    switch (phase.kind) {
      case 'waiting':
        break;
      case 'preparing':
        if (nowMs - phase.movedMs > deadlines.loadStallMs) this.#orders.dropHanging(phase.target);
        break;
      case 'starting':
        if (nowMs - phase.sinceMs > 2 * deadlines.handshakeMs) this.#stalled(phase.current.epoch, nowMs);
        break;
      case 'canary':
        if (nowMs - phase.sinceMs > deadlines.canaryMs) this.#stalled(phase.current.epoch, nowMs);
        break;
      case 'live':
        if (this.#succession.hangs(deadlines.loadStallMs, nowMs))
          this.#abandonNext(this.#succession.blameHanging(nowMs));
        this.#cutIn(isIdle, nowMs);
        break;
      default:
        phase satisfies never;
    }
    this.#seek(nowMs);
  }

  /** Looks for a plan where there is none, and for a better one where something changed. */
  #seek(nowMs: number): void {
    if (this.#phase.kind === 'waiting') this.#begin(nowMs);
    else if (
      this.#phase.kind === 'live' &&
      this.#succession.target === null &&
      this.#plans.isStale(nowMs) &&
      this.#hasSettled(nowMs)
    )
      this.#improve(nowMs);
    // Until the next plan is live, nobody is sent away.
    if (this.#phase.kind === 'waiting' || this.#phase.kind === 'live') this.#drains.dismiss(this.target);
  }

  /** Several that join at once take one plan, not one each. */
  #hasSettled(nowMs: number): boolean {
    return nowMs - this.#lastJoinMs >= this.config.gatherMs;
  }

  #begin(nowMs: number): void {
    const isEnough = this.#members.size >= this.config.workersExpected && this.#hasSettled(nowMs);
    if (!this.#isGathered && !isEnough) return;
    let target = this.#plans.find(nowMs);
    if (!target && this.#drains.takeBack(this.trouble)) target = this.#plans.find(nowMs);
    if (target) this.#pursue(target, nowMs);
  }

  /** Ends the epoch, if there is one, and goes for the next: that of spares, the one at hand, or a new one. */
  #recover(nowMs: number): void {
    const ended = this.target;
    this.#retire();
    const atHand = this.#plans.atHand(ended, this.#succession.take(), nowMs);
    // What is at hand is not what is best: that is looked for once it is live.
    this.#plans.changed();
    if (atHand) this.#pursue(atHand, nowMs);
    else this.#begin(nowMs);
  }

  #retire(): void {
    const { current } = this;
    this.#phase = { kind: 'waiting' };
    if (current) this.#orders.add({ kind: 'retire', current });
  }

  /** Loads what is missing of the target, with nothing live meanwhile, and starts it. */
  #pursue(target: Target, nowMs: number): void {
    this.#isGathered = true;
    this.#orders.keepOnly([target], target.plan);
    this.#orders.prepare(target);
    this.#phase = { kind: 'preparing', target, movedMs: nowMs };
    this.#advance(nowMs);
  }

  /** Goes on where all shards that were waited for are there. */
  #advance(nowMs: number): void {
    if (this.#phase.kind === 'preparing' && missingStages(this.#phase.target, this.#members).length === 0)
      this.#start(this.#phase.target, nowMs);
    this.#succession.advance(nowMs);
  }

  #start(target: Target, nowMs: number): void {
    const current = { ...target, epoch: this.config.shared.nextEpoch() };
    this.#phase = { kind: 'starting', current, ready: new Set(), sinceMs: nowMs };
    this.#orders.add({ kind: 'assign', current });
  }

  #live(current: EpochPlan, nowMs: number): void {
    this.#phase = { kind: 'live', current };
    this.#plans.trouble = null;
    this.#orders.add({ kind: 'live', current });
    this.#orders.keepOnly([current], current.plan);
    this.#drains.dismiss(this.target);
    if (this.#plans.isStale(nowMs)) this.#improve(nowMs);
    this.#arrangeSpares(nowMs);
  }

  /** A step of the live epoch came through. */
  moved(): void {
    this.#blame.moved();
  }

  /** Begins to load a plan that is better than the live one by enough, or that empties a worker. */
  #improve(nowMs: number): void {
    const { current } = this;
    if (!current) return;
    const better = this.#plans.better(current, nowMs);
    if (better === null) this.#arrangeSpares(nowMs);
    else if (better.fitsBeside) this.#succession.begin(better.target, current, better.isUrgent, nowMs);
    else {
      this.#retire();
      this.#pursue(better.target, nowMs);
    }
  }

  /** @param trouble what is wrong with it; nothing, where somebody in it is not there any more */
  #abandonNext(trouble = this.trouble): void {
    this.#plans.trouble = trouble;
    this.#succession.abandon(this.current);
    this.#plans.changed();
  }

  #cutIn(isIdle: boolean, nowMs: number): void {
    const target = this.#succession.takeDue(isIdle, nowMs);
    if (!target) return;
    this.#retire();
    this.#start(target, nowMs);
  }

  #arrangeSpares(nowMs: number): void {
    if (this.#phase.kind === 'live' && this.#succession.target === null)
      this.#spares.arrange(this.#phase.current, nowMs);
  }
}
