import { randomBytes } from 'node:crypto';
import { type ButterflyError, type Clock, type Observer, isLinkError } from '@butterfly/common';
import {
  Controller,
  type ControllerAction,
  type ControllerConfig,
  type ControllerEvent,
  type EpochPlan,
} from '@butterfly/control';
import type { EngineReplica, Pipeline, PlannedStep } from '@butterfly/engine';
import { layerKinds } from '@butterfly/model';
import type { Plan } from '@butterfly/planning';
import {
  type Channel,
  type ControlMessageOf,
  type Frame,
  type StageReport,
  type StepResult,
  type TokenTable,
  encodeControl,
  encodeStep,
} from '@butterfly/wire';
import { assignments, canaryStep, canaryStepId, preparation } from './assignments.js';
import type { PipelineHandlers, ShardSettings, VerificationWishes } from './deployment-types.js';
import { ReplicaConstraints } from './replica-constraints.js';
import type { ReplicaState } from './replica-assigner.js';
import type { LinkProber } from '../links/link-prober.js';
import type { LinkTable } from '../links/link-table.js';
import { PlanLinks } from './plan-links.js';
import { relay } from './relay.js';
import { type Disagreement, Verification } from '../verification/verification.js';
import type { Slowness } from './slowness.js';
import { StagePaces } from './stage-paces.js';
import type { ModelWorkers } from '../fleet/model-workers.js';
import type { ModelWorker } from '../fleet/model-worker.js';

/** A peer that gives weights so many times as slowly as the orchestrator spares it work; a slower one would hold a load up. */
const slowerThanOrchestratorMax = 4;

export interface ReplicaOptions {
  /** As people count replicas: from 1. */
  readonly number: number;
  readonly controller: ControllerConfig;
  readonly shards: ShardSettings;
  /** All of the cluster, those of other replicas too: weights may come from them. */
  readonly fleet: ModelWorkers;
  readonly links: LinkTable;
  readonly prober: LinkProber;
  readonly slowness: Slowness;
  readonly vocabulary?: (() => TokenTable) | undefined;
  readonly verification: VerificationWishes;
  /** Two of them came to different numbers. */
  readonly onDisagreement: (found: Disagreement) => void;
  readonly clock: Clock;
  readonly observe: Observer;
  /** A worker that was to be emptied is empty. */
  readonly onEmptied: (workerId: string) => void;
  /** It stays, because the others could not go without it. */
  readonly onKept: (workerId: string) => void;
}

/** One replica of the pipeline: its workers, its plan in force and the way of steps through it. It carries out what its controller decides. */
export class Replica implements Pipeline {
  readonly #controller: Controller;
  /** Null where nothing is computed twice. */
  readonly verification: Verification | null;
  #handlers: PipelineHandlers | null = null;
  readonly #paces = new StagePaces();
  readonly #planLinks: PlanLinks;
  /** What its last stage holds answers to. */
  readonly constraints: ReplicaConstraints;
  #live: { readonly current: EpochPlan; readonly first: ModelWorker } | null = null;
  /** What was last told of spares. */
  #lackTold: string | undefined;
  #closed = false;

  constructor(private readonly options: ReplicaOptions) {
    this.#controller = new Controller(options.controller);
    this.#planLinks = new PlanLinks(options, options.shards.spec);
    this.constraints = new ReplicaConstraints(options.clock, options.vocabulary);
    this.verification = options.verification.rate === 0 ? null : this.#verification();
  }

  get number(): number {
    return this.options.number;
  }

  get isLive(): boolean {
    return this.#live !== null;
  }

  /** For whoever shares out requests. */
  get state(): EngineReplica['state'] {
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

  /** What whoever runs it should know, although it serves; null where there is nothing. */
  get note(): string | null {
    return this.#controller.spareLack?.words ?? null;
  }

  /** For whoever assigns workers to replicas. */
  look(): ReplicaState {
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

  /** What workers hold, or were told to load. */
  get holdings(): Controller['holdings'] {
    return this.#controller.holdings;
  }

  /** What a worker told of the shard that it serves with; null when it serves nothing. */
  reportOf(workerId: string): StageReport | null {
    const target = this.#controller.target;
    const index = target?.plan.stages.findIndex((stage) => stage.workerId === workerId) ?? -1;
    return this.options.fleet.workers.get(workerId)?.reports.get(target?.shardIds[index] ?? '') ?? null;
  }

  /** Time of a step of one row in the stage of a worker, as it is of late; null where none was. */
  rowMicrosOf(workerId: string): number | null {
    return this.#paces.rowMicros(workerId);
  }

  attach(handlers: PipelineHandlers): void {
    this.#handlers = handlers;
  }

  /** Sends a step to the first stage. Does nothing without a live plan: the engine has been told. */
  send(step: PlannedStep): void {
    if (!this.#live) return;
    const { tokens } = step;
    this.#paces.sent(step);
    this.verification?.sent(step);
    this.#live.first.channel.send(
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

  linksMicros(rows: number): number {
    return this.#planLinks.micros(rows, this.#live?.current.plan.stages ?? []);
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
    this.#notice();
    this.verification?.tick();
    this.handle({ kind: 'tick', isIdle: this.#handlers?.isIdle() ?? true });
    const lack = this.#controller.spareLack;
    if (lack?.words === this.#lackTold) return;
    this.#lackTold = lack?.words;
    if (!lack) return;
    this.options.observe({ kind: 'sparesLacking', replica: this.number, ...lack });
  }

  /** A stage is linked to its neighbours. */
  ready(workerId: string, epoch: number): void {
    if (this.verification?.ready(workerId, epoch) === true) return;
    this.handle({ kind: 'ready', workerId, epoch });
  }

  /** A stage gave up. One that lost a neighbour, or the link to it, is not to blame. */
  failed(workerId: string, { epoch, lostWorkerId }: ControlMessageOf<'failed'>, error: ButterflyError): void {
    if (this.verification?.failed(workerId, epoch) === true) return;
    const isLink = isLinkError(error.code);
    if (isLink && epoch === this.epoch) {
      const stages = this.#controller.current?.plan.stages ?? [];
      this.#planLinks.broke(stages, workerId, lostWorkerId, this.options.clock.nowMs());
    }
    this.handle({ kind: 'failed', workerId, epoch, error, isLink });
  }

  /** @throws ButterflyError PROTOCOL_INVALID from a stage that has a straight way */
  relay(frame: Frame, workerId: string): void {
    if (this.verification?.receive(workerId, frame) === true || frame.type === 'witnessed') return;
    relay(frame, workerId, this.#controller.current, this.options.fleet.workers);
  }

  /** One of another epoch, or of another worker than the last, is dropped. */
  result(workerId: string, result: StepResult): void {
    const { current } = this.#controller;
    if (this.verification?.computed(workerId, result) === true) return;
    if (result.epoch !== current?.epoch || workerId !== current.plan.stages.at(-1)?.workerId) return;
    if (result.stepId === canaryStepId) {
      this.handle({ kind: 'canaryPassed', epoch: result.epoch });
      return;
    }
    this.#controller.moved();
    this.#paces.came(result, this.options.clock.nowMs());
    this.verification?.result(result);
    this.#handlers?.onResult(result);
  }

  #verification(): Verification {
    const { verification, shards, fleet, controller, clock, onDisagreement } = this.options;
    return new Verification({
      ...verification,
      spec: shards.spec,
      workers: fleet.workers,
      isFree: (workerId) =>
        !this.isUsing(workerId) && this.look().members.some((each) => each.workerId === workerId),
      nextEpoch: () => controller.shared.nextEpoch(),
      clock,
      onDisagreement,
    });
  }

  #carryOut(action: ControllerAction): void {
    const { workers } = this.options.fleet;
    const channelOf = (workerId: string): Channel | undefined => workers.get(workerId)?.channel;
    switch (action.kind) {
      case 'prepare':
        this.#prepare(action);
        return;
      case 'release': {
        const { workerId, shardId } = action;
        this.verification?.released(workerId, shardId);
        this.options.fleet.released(workerId, shardId);
        channelOf(workerId)?.send(encodeControl({ kind: 'release', shardId }));
        return;
      }
      case 'assign':
        this.options.observe({ kind: 'stagesLinking', epoch: action.current.epoch });
        for (const { worker, message } of assignments(
          action.current,
          workers,
          randomBytes(16).toString('hex'),
        ))
          worker.channel.send(encodeControl(message));
        // The last stage compiles while the others link.
        this.constraints.begin(
          workers.get(action.current.plan.stages.at(-1)?.workerId ?? ''),
          this.#handlers,
        );
        return;
      case 'retire':
        this.#retire(action.current);
        return;
      case 'canary':
        channelOf(action.current.plan.stages[0]?.workerId ?? '')?.send(
          encodeStep(canaryStep(action.current.epoch, this.options.shards)),
        );
        return;
      case 'live':
        this.constraints.whenSettled(() => {
          if (this.epoch === action.current.epoch && !this.#closed) this.#goLive(action.current);
        });
        return;
      case 'measureLinks':
        // After a stall: a link that crawls is found so, and the next plan goes round it.
        void this.#planLinks.remeasure(action.plan).then(() => this.handle({ kind: 'linksChanged' }));
        return;
      case 'drop':
        channelOf(action.workerId)?.fail(action.error);
        return;
      case 'dismiss':
        this.options.onEmptied(action.workerId);
        return;
      case 'drainRefused':
        this.options.observe({
          kind: 'drainRefused',
          workerId: action.workerId,
          reason: action.error.message,
        });
        this.options.onKept(action.workerId);
        return;
      default:
        action satisfies never;
    }
  }

  #prepare(action: Extract<ControllerAction, { kind: 'prepare' }>): void {
    const { workerId, shardId, stage } = action;
    const worker = this.options.fleet.workers.get(workerId);
    if (!worker) return;
    const layers = [stage.layerStart, stage.layerEnd - 1] as const;
    this.options.observe({ kind: 'shardOrdered', workerId, shardId, layers });
    this.options.fleet.loading(workerId);
    worker.channel.send(
      encodeControl(preparation(worker, action, this.#peersOf(worker), this.options.shards)),
    );
  }

  /** The others that it can dial and that are worth asking, as far as is known: those first from whom bytes come fastest. */
  #peersOf({ workerId }: ModelWorker): ModelWorker[] {
    const { fleet, links } = this.options;
    const speed = (each: ModelWorker): number => links.link(each.workerId, workerId).bytesPerSecond;
    const speedMin = links.link(null, workerId).bytesPerSecond / slowerThanOrchestratorMax;
    return [...fleet.workers.values()]
      .filter((each) => each.workerId !== workerId && !links.link(workerId, each.workerId).isRelayed)
      .filter((each) => speed(each) >= speedMin)
      .sort((a, b) => speed(b) - speed(a));
  }

  #retire({ epoch, plan }: EpochPlan): void {
    this.#live = null;
    this.constraints.end();
    this.verification?.end();
    this.options.observe({ kind: 'planRetired', replica: this.number, epoch });
    this.#handlers?.onDown();
    for (const { workerId } of plan.stages)
      this.options.fleet.workers.get(workerId)?.channel.send(encodeControl({ kind: 'unassign', epoch }));
  }

  #goLive(current: EpochPlan): void {
    const first = this.options.fleet.workers.get(current.plan.stages[0]?.workerId ?? '');
    if (!first) return;
    this.#live = { current, first };
    this.verification?.begin(current);
    const kinds = layerKinds(this.options.shards.spec);
    this.#paces.begin(
      current.plan,
      kinds,
      (workerId) => this.options.fleet.workers.get(workerId)?.profile ?? null,
    );
    const { epoch, plan, shardIds: ids } = current;
    this.options.observe({ kind: 'planLive', replica: this.number, epoch, stages: plan.stages });
    const reports = plan.stages.flatMap(
      ({ workerId }, index) => this.options.fleet.workers.get(workerId)?.reports.get(ids[index] ?? '') ?? [],
    );
    this.#handlers?.onLive(current, reports);
    // Links that were taken for good ones are found to be what they are.
    void this.#planLinks.complete(plan).then((isBetter) => {
      if (isBetter) this.handle({ kind: 'linksChanged' });
    });
  }

  /** Whoever became slower or faster than it was is planned for as that. */
  #notice(): void {
    const { slowness, clock, observe, fleet } = this.options;
    const changed = slowness.observe(this.#paces.all(), this.#paces.takeBusyMs(), clock.nowMs());
    for (const workerId of changed) {
      const name = fleet.workers.get(workerId)?.identity.name;
      const factor = slowness.factorOf(workerId);
      observe({ kind: 'workerPaced', workerId, name, factor });
    }
    if (changed.length > 0) this.handle({ kind: 'linksChanged' });
  }
}
