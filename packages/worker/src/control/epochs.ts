import {
  ButterflyError,
  type Clock,
  type WorkerObserver,
  deadlines,
  isLinkError,
  toButterflyError,
} from '@butterfly/common';
import type { ConstraintHost } from '@butterfly/constraint';
import {
  type Activations,
  type Connection,
  type ControlMessageOf,
  type Outlet,
  type Step,
  type Transport,
  encodeControl,
} from '@butterfly/wire';
import type { ComputeTurns } from './compute-turns.js';
import { EpochStage } from './epoch-stage.js';
import { dialNext, type IncomingLinks } from '../peers/stage-links.js';
import type { ShardHolder, ShardLease } from './shards.js';

type Assign = ControlMessageOf<'assign'>;

export interface EpochsOptions {
  readonly orchestrator: Pick<Outlet, 'send'>;
  /** What workers show each other. */
  readonly peerToken: string;
  readonly shards: ShardHolder;
  readonly links: IncomingLinks;
  readonly constraints: ConstraintHost;
  /** Of all stages of this worker. */
  readonly turns: ComputeTurns;
  readonly transport: Transport;
  readonly clock: Clock;
  readonly observe: WorkerObserver;
  /** Told of each step that comes to a stage, and of each that is done. */
  readonly onStep: () => void;
}

/** By then the orchestrator has found a dead worker too: silence takes at most 8 beats to be found on a calm network. */
const linkGraceMs = 10 * deadlines.heartbeatEveryMs;

/** The stages that this worker is in the plans of one model: mostly one, and two while plans change. */
export class Epochs {
  readonly #stages = new Map<number, AssignedStage>();
  /** Of epochs that are over, but for a step that is still computed. */
  readonly #ending = new Set<Promise<void>>();

  constructor(private readonly options: EpochsOptions) {}

  /** Begins an epoch. `ready` or `failed` tells how that went. An older epoch of the same shard is over by that. */
  assign(assign: Assign): void {
    for (const [epoch, stage] of this.#stages)
      if (epoch === assign.epoch || stage.shardId === assign.shardId) this.unassign(epoch);
    this.#stages.set(assign.epoch, new AssignedStage(assign, this.options));
  }

  /** Ends an epoch; its shard stays. */
  unassign(epoch: number): void {
    const stage = this.#stages.get(epoch);
    if (!stage) return;
    this.#stages.delete(epoch);
    const ended = stage.end().then(() => void this.#ending.delete(ended));
    this.#ending.add(ended);
  }

  /** Takes a step from the orchestrator; one of an epoch that is over is dropped. */
  enqueue(step: Step): void {
    this.#stages.get(step.epoch)?.enqueue(step);
  }

  /** Takes activations that the orchestrator relays; those of an epoch that is over are dropped. */
  receive(activations: Activations): void {
    this.#stages.get(activations.epoch)?.receive(activations);
  }

  /** Tells the orchestrator what crosses of some sequences; nothing of an epoch that is over. */
  witness(message: ControlMessageOf<'witness'>): void {
    this.#stages.get(message.epoch)?.witness(message);
  }

  /** Ends all epochs; resolves when none computes any more. */
  async close(): Promise<void> {
    for (const epoch of this.#stages.keys()) this.unassign(epoch);
    await Promise.all(this.#ending);
  }
}

/** This worker's part in one epoch: the shard in use, the links to the neighbours, and the stage between them. */
class AssignedStage {
  #isOver = false;
  #lease: ShardLease | null = null;
  #next: Connection | null = null;
  #stage: EpochStage | null = null;
  #expectNoLink: () => void = () => undefined;
  /** Null until a link is lost. */
  #cancelReport: (() => void) | null = null;
  #isReported = false;

  constructor(
    private readonly assign: Assign,
    private readonly options: EpochsOptions,
  ) {
    // Steps come only when all stages are ready; the stage before may link long before.
    if (this.#takesLink)
      this.#expectNoLink = options.links.expect({
        epoch: assign.epoch,
        linkToken: assign.linkToken,
        onStep: (step) => this.#takeFromBefore((stage) => stage.enqueue(step)),
        onActivations: (activations) => this.#takeFromBefore((stage) => stage.receive(activations)),
        onResult: (result) => this.#stage?.learn(result),
        onLost: (error) => this.#fail(error, null),
      });
    void this.#begin().catch((thrown: unknown) => this.#fail(toButterflyError(thrown), this.#nextWorkerId));
  }

  get shardId(): string {
    return this.assign.shardId;
  }

  get #takesLink(): boolean {
    return this.assign.stageCount > 1 && !this.assign.isRelayed;
  }

  get #nextWorkerId(): string | null {
    return this.assign.next?.workerId ?? null;
  }

  /** Takes a step from the orchestrator. */
  enqueue(step: Step): void {
    this.#takeFromOrchestrator((stage) => stage.enqueue(step));
  }

  /** Takes activations from the orchestrator. */
  receive(activations: Activations): void {
    this.#takeFromOrchestrator((stage) => stage.receive(activations));
  }

  /** The orchestrator asks for it of live epochs alone. */
  witness(message: ControlMessageOf<'witness'>): void {
    this.#stage?.witness(message);
  }

  /** Lets the step under way end, and gives the shard back. */
  async end(): Promise<void> {
    this.#isOver = true;
    this.#cancelReport?.();
    this.#expectNoLink();
    void this.#next?.close('the epoch is over');
    await this.#stage?.stop();
    this.#lease?.[Symbol.dispose]();
    this.#lease = null;
  }

  /** A call, because the compiler takes a flag that was false for one that stays so. */
  #hasEnded(): boolean {
    return this.#isOver;
  }

  async #begin(): Promise<void> {
    const { epoch, shardId } = this.assign;
    const { shards, orchestrator, constraints, turns, clock, observe, onStep } = this.options;
    const lease = await shards.lease(shardId);
    const { layers } = lease;
    if (this.#hasEnded()) {
      lease[Symbol.dispose]();
      return;
    }
    this.#lease = lease;
    const next = await this.#reachNext();
    if (this.#hasEnded()) return;
    this.#stage = new EpochStage({
      epoch,
      stage: lease.stage,
      stageCount: this.assign.stageCount,
      next,
      orchestrator,
      constraints,
      turns,
      clock,
      onFailure: (error) => this.#fail(error, null),
      onFault: (sequenceId) => observe({ kind: 'stageNumbersFailed', epoch, sequenceId, layers }),
      onStep,
    });
    orchestrator.send(encodeControl({ kind: 'ready', epoch }));
    observe({ kind: 'stageReady', epoch, layers, shardId });
  }

  /** Who takes what this stage sends: the next stage, or the orchestrator for it; null for a last stage without a link. */
  async #reachNext(): Promise<Pick<Outlet, 'send'> | null> {
    const { next, epoch, linkToken, stageIndex } = this.assign;
    const { orchestrator, peerToken, transport, clock } = this.options;
    if (next?.kind !== 'direct') return next && orchestrator;
    const onLost = (error: ButterflyError): void => this.#fail(error, next.workerId);
    const proof = { epoch, peerToken, linkToken, fromStage: stageIndex };
    this.#next = await dialNext({ next, ...proof, transport, clock, onLost });
    if (this.#isOver) void this.#next.close('the epoch is over');
    return this.#next;
  }

  /** The last stage has nothing for the first but results. */
  #takeFromBefore(take: (stage: EpochStage) => void): void {
    if (this.assign.stageIndex === 0)
      throw new ButterflyError('PROTOCOL_INVALID', 'The first stage takes its steps from the orchestrator.');
    if (this.#stage) take(this.#stage);
  }

  /** What does not fit ends the epoch, and not the connection to the orchestrator. */
  #takeFromOrchestrator(take: (stage: EpochStage) => void): void {
    if (this.assign.stageIndex > 0 && this.#takesLink)
      throw new ButterflyError('PROTOCOL_INVALID', 'This stage takes its steps from the stage before it.');
    try {
      if (this.#stage) take(this.#stage);
    } catch (thrown) {
      this.#fail(toButterflyError(thrown), null);
    }
  }

  /**
   * A lost link mostly means a lost neighbour, for which the orchestrator ends the epoch by itself. Only when it does
   * not is it told, because the link itself is then what keeps the two apart.
   */
  #fail(error: ButterflyError, neighbourId: string | null): void {
    if (this.#isOver || this.#isReported) return;
    if (!isLinkError(error.code)) this.#report(error, null);
    else this.#cancelReport ??= this.options.clock.after(linkGraceMs, () => this.#report(error, neighbourId));
  }

  #report({ code, message }: ButterflyError, lostWorkerId: string | null): void {
    const { epoch } = this.assign;
    this.#isReported = true;
    this.#cancelReport?.();
    this.options.observe({ kind: 'stageFailed', epoch, code, message, lostWorkerId });
    this.options.orchestrator.send(encodeControl({ kind: 'failed', epoch, code, message, lostWorkerId }));
  }
}
