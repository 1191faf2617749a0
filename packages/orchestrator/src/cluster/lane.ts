import { randomBytes } from 'node:crypto';
import {
  encodeControl,
  encodeStep,
  type ButterflyError,
  type Clock,
  type Connection,
  type ControlMessageOf,
  type Frame,
  type Logger,
  type StepResult,
} from '@butterfly/common';
import type { Pipeline } from '../engine/engine.js';
import type { Replica } from '../engine/replicated-engine.js';
import type { PlannedStep } from '../engine/scheduler-types.js';
import type { Plan } from '../planning/types.js';
import { assignments, canaryStep, canaryStepId, preparation, type ShardSettings } from './assignments.js';
import type { PipelineHandlers } from './cluster-types.js';
import { Controller } from './controller.js';
import type { ControllerAction, ControllerConfig, ControllerEvent, EpochPlan } from './controller-types.js';
import type { LaneState } from './lane-assigner.js';
import type { LinkProber } from './link-prober.js';
import type { LinkTable } from './link-table.js';
import { relay } from './relay.js';
import type { StageReport, WorkerLink } from './worker-link.js';

export interface LaneOptions {
  /** As people count replicas: from 1. */
  readonly replica: number;
  readonly controller: ControllerConfig;
  readonly shards: ShardSettings;
  /** All of the cluster, those of other lanes too: weights may come from them. */
  readonly workers: ReadonlyMap<string, WorkerLink>;
  readonly links: LinkTable;
  readonly prober: LinkProber;
  readonly clock: Clock;
  readonly log: Logger;
  /** A worker that was to be emptied is empty. */
  readonly onEmptied: (workerId: string) => void;
  /** It stays, because the others could not go without it. */
  readonly onKept: (workerId: string) => void;
}

/** One replica of the pipeline: its workers, its plan in force and the way of steps through it. It carries out what its controller decides. */
export class Lane implements Pipeline {
  readonly #controller: Controller;
  #handlers: PipelineHandlers | null = null;
  #live: { readonly current: EpochPlan; readonly first: WorkerLink } | null = null;
  #closed = false;

  constructor(private readonly options: LaneOptions) {
    this.#controller = new Controller(options.controller);
  }

  get replica(): number {
    return this.options.replica;
  }

  get isLive(): boolean {
    return this.#live !== null;
  }

  /** For whoever shares out requests. */
  get state(): Replica['state'] {
    if (this.isLive) return 'live';
    return this.#controller.current === null ? 'down' : 'starting';
  }

  /** How many belong to it. */
  get workers(): number {
    return this.#controller.size;
  }

  describe(): string {
    return this.#controller.describe();
  }

  /** The plan in force or on its way to be. */
  get plan(): Plan | null {
    return this.#controller.target?.plan ?? null;
  }

  get epoch(): number | null {
    return this.#controller.current?.epoch ?? null;
  }

  /** Why the last plan could not be made or carried out; null when there is a newer one. */
  get trouble(): ButterflyError | null {
    return this.#controller.trouble;
  }

  /** For whoever assigns workers to lanes. */
  look(): LaneState {
    const members = this.#controller.available(this.options.clock.nowMs());
    return { members, isPlanned: this.plan !== null };
  }

  stateOf(workerId: string): ReturnType<Controller['stateOf']> {
    return this.#controller.stateOf(workerId, this.options.clock.nowMs());
  }

  /** Whether a plan in force, or on its way to be, has a part for the worker. */
  isUsing(workerId: string): boolean {
    return this.#controller.isUsing(workerId);
  }

  /** What a worker holds, or was told to load. */
  shardsOf(workerId: string): readonly string[] {
    return this.#controller.shardsOf(workerId);
  }

  /** What a worker told of the shard that it serves with; null when it serves nothing. */
  reportOf(workerId: string): StageReport | null {
    const target = this.#controller.target;
    const index = target?.plan.stages.findIndex((stage) => stage.workerId === workerId) ?? -1;
    return this.options.workers.get(workerId)?.reports.get(target?.shardIds[index] ?? '') ?? null;
  }

  attach(handlers: PipelineHandlers): void {
    this.#handlers = handlers;
  }

  /** Sends a step to the first stage. Does nothing without a live plan: the engine has been told. */
  send(step: PlannedStep): void {
    if (!this.#live) return;
    const { tokens } = step;
    this.#live.first.connection.send(
      encodeStep({
        epoch: this.#live.current.epoch,
        stepId: step.stepId,
        copies: step.copies,
        sequences: step.sequences,
        stageTimes: [],
        payload: new Uint8Array(tokens.buffer, tokens.byteOffset, tokens.byteLength),
      }),
    );
  }

  /** A step missed its deadline: the epoch is given up. */
  stalled(): void {
    if (this.#live) this.handle({ kind: 'stalled', epoch: this.#live.current.epoch });
  }

  close(): void {
    this.#closed = true;
  }

  handle(event: ControllerEvent): void {
    if (this.#closed) return;
    for (const action of this.#controller.handle(event, this.options.clock.nowMs())) this.#carryOut(action);
  }

  /** Begins to empty a worker while requests go on. Gives why it stays, if it must; nothing has changed then. */
  drain(workerId: string): ButterflyError | null {
    const actions = this.#controller.handle({ kind: 'drain', workerId }, this.options.clock.nowMs());
    for (const action of actions) this.#carryOut(action);
    for (const action of actions) if (action.kind === 'drainRefused') return action.error;
    return null;
  }

  tick(): void {
    this.handle({ kind: 'tick', isIdle: this.#handlers?.isIdle() ?? true });
  }

  /** A stage gave up; `isLink` when it lost a neighbour and nothing is wrong with itself. */
  failed(
    workerId: string,
    { epoch, lostWorkerId }: ControlMessageOf<'failed'>,
    error: ButterflyError,
    isLink: boolean,
  ): void {
    if (isLink && epoch === this.epoch) {
      const stages = this.#controller.current?.plan.stages ?? [];
      const index = stages.findIndex((stage) => stage.workerId === workerId);
      const nowMs = this.options.clock.nowMs();
      if (lostWorkerId !== null) this.options.links.broke(workerId, lostWorkerId, nowMs);
      else this.options.links.broke(stages[index - 1]?.workerId ?? '', workerId, nowMs);
    }
    this.handle({ kind: 'failed', workerId, epoch, error, isLink });
  }

  /** @throws ButterflyError PROTOCOL_INVALID from a stage that has a straight way */
  relay(frame: Frame, workerId: string): void {
    relay(frame, workerId, this.#controller.current, this.options.workers);
  }

  /** One of another epoch, or of another worker than the last, is dropped. */
  result(workerId: string, result: StepResult): void {
    const { current } = this.#controller;
    if (result.epoch !== current?.epoch || workerId !== current.plan.stages.at(-1)?.workerId) return;
    if (result.stepId === canaryStepId) {
      this.handle({ kind: 'canaryPassed', epoch: result.epoch });
      return;
    }
    this.#controller.moved();
    this.#handlers?.onResult(result);
  }

  #carryOut(action: ControllerAction): void {
    const connectionOf = (workerId: string): Connection | undefined =>
      this.options.workers.get(workerId)?.connection;
    switch (action.kind) {
      case 'prepare':
        this.#prepare(action);
        return;
      case 'release': {
        const { workerId, shardId } = action;
        this.options.workers.get(workerId)?.reports.delete(shardId);
        connectionOf(workerId)?.send(encodeControl({ kind: 'release', shardId }));
        return;
      }
      case 'assign':
        this.options.log.info({ epoch: action.current.epoch }, 'The stages are to be linked.');
        for (const { worker, message } of assignments(
          action.current,
          this.options.workers,
          randomBytes(16).toString('hex'),
        ))
          worker.connection.send(encodeControl(message));
        return;
      case 'retire':
        this.#retire(action.current);
        return;
      case 'canary':
        connectionOf(action.current.plan.stages[0]?.workerId ?? '')?.send(
          encodeStep(canaryStep(action.current.epoch, this.options.shards.arenaSlots)),
        );
        return;
      case 'live':
        this.#goLive(action.current);
        return;
      case 'measureLinks':
        void this.#remeasure(action.plan);
        return;
      case 'drop':
        connectionOf(action.workerId)?.fail(action.error);
        return;
      case 'dismiss':
        this.options.onEmptied(action.workerId);
        return;
      case 'drainRefused':
        this.options.log.warn({ workerId: action.workerId }, `It stays: ${action.error.message}`);
        this.options.onKept(action.workerId);
        return;
      default:
        action satisfies never;
    }
  }

  #prepare(action: Extract<ControllerAction, { kind: 'prepare' }>): void {
    const worker = this.options.workers.get(action.workerId);
    if (!worker) return;
    const message = preparation(worker, action, this.#peersOf(worker), this.options.shards);
    const { workerId, shardId, stage } = action;
    const layers = [stage.layerStart, stage.layerEnd - 1];
    this.options.log.info({ workerId, shardId, layers }, 'A shard is to be loaded.');
    worker.loadedBytes = 0;
    worker.totalBytes = 0;
    worker.connection.send(encodeControl(message));
  }

  /** The others, those first from whom bytes come fastest. */
  #peersOf({ workerId }: WorkerLink): WorkerLink[] {
    const { workers, links, clock } = this.options;
    const nowMs = clock.nowMs();
    const speed = (each: WorkerLink): number => links.link(each.workerId, workerId, nowMs).bytesPerSecond;
    return [...workers.values()]
      .filter((each) => each.workerId !== workerId)
      .sort((a, b) => speed(b) - speed(a));
  }

  #retire({ epoch, plan }: EpochPlan): void {
    this.#live = null;
    this.#handlers?.onDown();
    for (const { workerId } of plan.stages)
      this.options.workers.get(workerId)?.connection.send(encodeControl({ kind: 'unassign', epoch }));
  }

  #goLive(current: EpochPlan): void {
    const first = this.options.workers.get(current.plan.stages[0]?.workerId ?? '');
    if (!first) return;
    this.#live = { current, first };
    const { epoch, plan, shardIds: ids } = current;
    this.options.log.info({ replica: this.replica, epoch, stages: plan.stages }, 'The plan is live.');
    const reports = plan.stages.flatMap(
      ({ workerId }, index) => this.options.workers.get(workerId)?.reports.get(ids[index] ?? '') ?? [],
    );
    this.#handlers?.onLive(current, reports);
  }

  /** After a stall: a link that crawls is found so, and the next plan goes round it. */
  async #remeasure({ stages }: Plan): Promise<void> {
    const ways = stages.slice(1).flatMap(({ workerId }, index) => {
      const [from, to] = [
        this.options.workers.get(stages[index]?.workerId ?? ''),
        this.options.workers.get(workerId),
      ];
      return from && to ? [[from, to] as const] : [];
    });
    await this.options.prober.remeasure(ways);
    this.handle({ kind: 'linksChanged' });
  }
}
