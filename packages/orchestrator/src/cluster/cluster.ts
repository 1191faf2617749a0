import { randomBytes } from 'node:crypto';
import {
  ButterflyError,
  Connection,
  decodeControl,
  decodeStepResult,
  encodeControl,
  encodeStep,
  isErrorCode,
  limits,
  tcpTransport,
  toButterflyError,
  type ControlMessage,
  type ControlMessageOf,
  type ErrorCode,
  type Frame,
  type Listener,
  type StepResult,
} from '@butterfly/common';
import type { PlannedStep } from '../engine/scheduler-types.js';
import type { Link, Plan } from '../planning/types.js';
import { assignments, canaryStep, canaryStepId, preparation, shardIds } from './assignments.js';
import { Controller } from './controller.js';
import type { ControllerAction, ControllerEvent, EpochPlan } from './controller-types.js';
import type { ClusterOptions, LinkOf, PipelineHandlers } from './cluster-types.js';
import { FileServer } from './file-server.js';
import { LinkProber } from './link-prober.js';
import { LinkTable } from './link-table.js';
import { Reception } from './reception.js';
import { relay } from './relay.js';
import { type StageReport, type WorkerLink } from './worker-link.js';

const tickMs = 100;
/** How long a newcomer waits for its ways to others to be measured. */
const introductionMs = 5_000;

/** What a stage sees when a neighbour or the way to it is lost. */
const linkErrors: ReadonlySet<ErrorCode> = new Set(['CONNECTION_CLOSED', 'PEER_UNREACHABLE', 'TIMEOUT']);

/** The workers, the plan in force and the way of steps through it. Sockets feed the controller; its actions are carried out here. */
export class Cluster {
  readonly #workers = new Map<string, WorkerLink>();
  readonly #links = new LinkTable();
  readonly #prober: LinkProber;
  readonly #controller: Controller;
  readonly #files: FileServer;
  #listener: Listener | null = null;
  #handlers: PipelineHandlers | null = null;
  #live: { readonly current: EpochPlan; readonly first: WorkerLink } | null = null;
  #cancelTick: () => void = () => undefined;
  #closed = false;

  private constructor(private readonly options: ClusterOptions) {
    const { planner, clock } = options;
    const link: LinkOf = (from, to) => this.#links.link(from, to, clock.nowMs());
    this.#prober = new LinkProber(this.#links, clock);
    this.#controller = new Controller({
      ...options.controller,
      plan: (members) => planner.plan(members, link),
      repair: (plan, substitutes, members) => planner.repair(plan, substitutes, members, link),
      shardIdOf: shardIds(options.shards),
    });
    this.#files = new FileServer(options.shards.spec.files);
  }

  /** Listens for workers. @throws ButterflyError PORT_IN_USE, ADDRESS_INVALID */
  static async start(options: ClusterOptions): Promise<Cluster> {
    const cluster = new Cluster(options);
    const reception = new Reception({
      ...options,
      peerToken: randomBytes(16).toString('hex'),
      count: () => cluster.#workers.size,
      onWelcome: (worker) => cluster.#welcome(worker),
      onFrame: (worker, frame) => cluster.#receive(worker, frame),
      onClose: (worker, error, reason) => cluster.#left(worker, error, reason),
    });
    cluster.#listener = await (options.transport ?? tcpTransport).listen({
      host: options.host,
      port: options.port,
      onConnection: (stream) => reception.accept(stream),
    });
    cluster.#scheduleTick();
    return cluster;
  }

  get port(): number {
    return this.#listener?.port ?? 0;
  }

  get isLive(): boolean {
    return this.#live !== null;
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

  workers(): readonly WorkerLink[] {
    return [...this.#workers.values()];
  }

  stateOf(workerId: string): ReturnType<Controller['stateOf']> {
    return this.#controller.stateOf(workerId, this.options.clock.nowMs());
  }

  /** What is known of the way between two workers, or a worker and the orchestrator, which null stands for. */
  link(from: string | null, to: string | null): Link {
    return this.#links.link(from, to, this.options.clock.nowMs());
  }

  /** What a worker told of the shard that it serves with; null when it serves nothing. */
  reportOf(workerId: string): StageReport | null {
    const target = this.#controller.target;
    const index = target?.plan.stages.findIndex((stage) => stage.workerId === workerId) ?? -1;
    return this.#workers.get(workerId)?.reports.get(target?.shardIds[index] ?? '') ?? null;
  }

  /** Why the last plan could not be made or carried out; null when there is a newer one. */
  get trouble(): ButterflyError | null {
    return this.#controller.trouble;
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
    if (this.#live) this.#handle({ kind: 'stalled', epoch: this.#live.current.epoch });
  }

  /**
   * Begins to empty a worker while requests go on; it is told goodbye when it is empty.
   * @throws ButterflyError NOT_FOUND, CLUSTER_NOT_READY while it measures itself, or MODEL_TOO_LARGE when the others
   * cannot hold the model; nothing has changed then
   */
  drain(workerId: string): void {
    const worker = this.#workers.get(workerId);
    if (!worker)
      throw new ButterflyError('NOT_FOUND', `There is no worker ${workerId}; see butterfly status.`);
    if (!worker.profile)
      throw new ButterflyError(
        'CLUSTER_NOT_READY',
        `${worker.identity.name} measures itself; try again soon.`,
      );
    const actions = this.#controller.handle({ kind: 'drain', workerId }, this.options.clock.nowMs());
    for (const action of actions) this.#carryOut(action);
    for (const action of actions) if (action.kind === 'drainRefused') throw action.error;
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#cancelTick();
    for (const { cancelDeadline } of this.#workers.values()) cancelDeadline();
    await Promise.all(this.workers().map(({ connection }) => connection.close('the orchestrator stops')));
    await this.#listener?.close();
    await this.#files.close();
  }

  #welcome(worker: WorkerLink): void {
    this.#workers.set(worker.workerId, worker);
    this.#links.join(worker.workerId, worker.identity.machineId);
  }

  /** A worker has measured itself: once the ways to and from it are measured too, it takes part. */
  async #introduce(worker: WorkerLink, profile: ControlMessageOf<'profile'>): Promise<void> {
    const { workerId, identity, connection } = worker;
    worker.cancelDeadline();
    worker.profile = profile;
    const measured = this.#prober
      .introduce(
        worker,
        this.workers().filter((each) => each !== worker && each.profile !== null),
      )
      .then(() => true);
    const isMeasured = await Promise.race([measured, this.#after(introductionMs)]);
    if (!connection.isOpen) return;
    const { name, machineId, memoryBytes, threads } = identity;
    // And what it has loaded since it said hello, as it was told before.
    const heldShards = [...new Set([...identity.heldShards, ...worker.reports.keys()])];
    this.options.log.info({ workerId, name, memoryBytes, threads }, 'A worker joined.');
    const member = { workerId, name, identity: `${machineId} ${name}`, memoryBytes, profile };
    this.#handle({ kind: 'joined', member, heldShards });
    // With many peers, or some that do not answer, the rest comes when it comes.
    if (!isMeasured && (await measured)) this.#handle({ kind: 'linksChanged' });
  }

  #after(delayMs: number): Promise<false> {
    return new Promise((resolve) => this.options.clock.after(delayMs, () => resolve(false)));
  }

  #left(worker: WorkerLink, error: ButterflyError | null, reason: string): void {
    const { workerId, identity } = worker;
    this.#workers.delete(workerId);
    this.#links.leave(workerId);
    this.#prober.leave(workerId);
    if (this.#closed) return;
    this.options.log.warn({ workerId, name: identity.name }, `A worker left: ${reason}`);
    this.#handle({ kind: 'left', workerId, isOrderly: error === null });
  }

  #receive(worker: WorkerLink, frame: Frame): void {
    const { workerId } = worker;
    switch (frame.type) {
      case 'result':
        this.#result(workerId, decodeStepResult(frame));
        return;
      case 'step':
      case 'activations':
        relay(frame, workerId, this.#controller.current, this.#workers);
        return;
      default:
        this.#control(worker, decodeControl(frame));
    }
  }

  #control(worker: WorkerLink, message: ControlMessage): void {
    const { workerId } = worker;
    switch (message.kind) {
      case 'profile':
        if (worker.profile) throw new ButterflyError('PROTOCOL_INVALID', 'A worker measured itself twice.');
        // Nothing in it throws: it waits for answers with deadlines.
        void this.#introduce(worker, message);
        return;
      case 'probed':
        this.#prober.receive(workerId, message);
        return;
      case 'progress':
        worker.loadedBytes = message.loadedBytes;
        worker.totalBytes = message.totalBytes;
        this.#handle({ kind: 'progress', workerId, shardId: message.shardId });
        return;
      case 'prepared':
        this.#prepared(worker, message);
        return;
      case 'unprepared': {
        const error = this.#errorOf(worker, message);
        this.#handle({ kind: 'unprepared', workerId, shardId: message.shardId, error });
        return;
      }
      case 'ready':
        this.#handle({ kind: 'ready', workerId, epoch: message.epoch });
        return;
      case 'failed':
        this.#failed(worker, message);
        return;
      case 'fetch':
        this.#serveFile(worker, message);
        return;
      default:
        throw new ButterflyError('PROTOCOL_INVALID', `A worker does not send "${message.kind}".`);
    }
  }

  #prepared(worker: WorkerLink, message: ControlMessageOf<'prepared'>): void {
    const { workerId } = worker;
    const { shardId, loaded } = message;
    worker.reports.set(shardId, message);
    worker.loadedBytes = worker.totalBytes;
    // What came over the network it can pass on to others from now on.
    if (worker.profile) {
      const cachedBytes = worker.profile.cachedBytes + loaded.peerBytes + loaded.orchestratorBytes;
      worker.profile = { ...worker.profile, cachedBytes };
    }
    this.options.log.info({ workerId, shardId, ...loaded }, 'A shard is loaded.');
    this.#handle({ kind: 'prepared', workerId, shardId });
  }

  #failed(worker: WorkerLink, message: ControlMessageOf<'failed'>): void {
    const { workerId } = worker;
    const { epoch, lostWorkerId } = message;
    const error = this.#errorOf(worker, message);
    const isLink = linkErrors.has(error.code);
    if (isLink && epoch === this.epoch) {
      const stages = this.#controller.current?.plan.stages ?? [];
      const index = stages.findIndex((stage) => stage.workerId === workerId);
      const nowMs = this.options.clock.nowMs();
      if (lostWorkerId !== null) this.#links.broke(workerId, lostWorkerId, nowMs);
      else this.#links.broke(stages[index - 1]?.workerId ?? '', workerId, nowMs);
    }
    this.#handle({ kind: 'failed', workerId, epoch, error, isLink });
  }

  #errorOf(worker: WorkerLink, { code, message }: { code: string; message: string }): ButterflyError {
    const { workerId, identity } = worker;
    this.options.log.error({ workerId, name: identity.name, code }, message);
    return new ButterflyError(isErrorCode(code) ? code : 'INTERNAL', `${identity.name}: ${message}`);
  }

  /** A file that cannot be read costs the load that needs it, and not the worker, which may serve meanwhile. */
  #serveFile({ connection, workerId }: WorkerLink, message: ControlMessageOf<'fetch'>): void {
    const { requestId } = message;
    this.#files.serve(connection, message).catch((thrown: unknown) => {
      const error = toButterflyError(thrown);
      this.options.log.error({ workerId, code: error.code }, error.message);
      if (error.code === 'PROTOCOL_INVALID') connection.fail(error);
      else connection.send(encodeControl({ kind: 'fetchMissing', requestId }));
    });
  }

  #result(workerId: string, result: StepResult): void {
    const { current } = this.#controller;
    if (result.epoch !== current?.epoch || workerId !== current.plan.stages.at(-1)?.workerId) return;
    if (result.stepId === canaryStepId) {
      this.#handle({ kind: 'canaryPassed', epoch: result.epoch });
      return;
    }
    this.#controller.moved();
    this.#handlers?.onResult(result);
  }

  #handle(event: ControllerEvent): void {
    if (this.#closed) return;
    for (const action of this.#controller.handle(event, this.options.clock.nowMs())) this.#carryOut(action);
  }

  #carryOut(action: ControllerAction): void {
    const connectionOf = (workerId: string): Connection | undefined =>
      this.#workers.get(workerId)?.connection;
    switch (action.kind) {
      case 'prepare':
        this.#prepare(action);
        return;
      case 'release': {
        const { workerId, shardId } = action;
        this.#workers.get(workerId)?.reports.delete(shardId);
        connectionOf(workerId)?.send(encodeControl({ kind: 'release', shardId }));
        return;
      }
      case 'assign':
        this.options.log.info({ epoch: action.current.epoch }, 'The stages are to be linked.');
        for (const { worker, message } of assignments(
          action.current,
          this.#workers,
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
        void connectionOf(action.workerId)?.close('drained');
        return;
      case 'drainRefused':
        this.options.log.warn({ workerId: action.workerId }, `It stays: ${action.error.message}`);
        return;
      default:
        action satisfies never;
    }
  }

  #prepare(action: Extract<ControllerAction, { kind: 'prepare' }>): void {
    const worker = this.#workers.get(action.workerId);
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
    const speed = (each: WorkerLink): number => this.link(each.workerId, workerId).bytesPerSecond;
    return this.workers()
      .filter((each) => each.workerId !== workerId)
      .sort((a, b) => speed(b) - speed(a));
  }

  #retire({ epoch, plan }: EpochPlan): void {
    this.#live = null;
    this.#handlers?.onDown();
    for (const { workerId } of plan.stages)
      this.#workers.get(workerId)?.connection.send(encodeControl({ kind: 'unassign', epoch }));
  }

  #goLive(current: EpochPlan): void {
    const first = this.#workers.get(current.plan.stages[0]?.workerId ?? '');
    if (!first) return;
    this.#live = { current, first };
    const { epoch, plan, shardIds: ids } = current;
    this.options.log.info({ epoch, stages: plan.stages }, 'The plan is live.');
    const reports = plan.stages.flatMap(
      ({ workerId }, index) => this.#workers.get(workerId)?.reports.get(ids[index] ?? '') ?? [],
    );
    this.#handlers?.onLive(current, reports);
  }

  /** After a stall: a link that crawls is found so, and the next plan goes round it. */
  async #remeasure({ stages }: Plan): Promise<void> {
    const ways = stages.slice(1).flatMap(({ workerId }, index) => {
      const [from, to] = [this.#workers.get(stages[index]?.workerId ?? ''), this.#workers.get(workerId)];
      return from && to ? [[from, to] as const] : [];
    });
    await this.#prober.remeasure(ways);
    this.#handle({ kind: 'linksChanged' });
  }

  #scheduleTick(): void {
    this.#cancelTick = this.options.clock.after(tickMs, () => {
      for (const { workerId, connection } of this.#workers.values())
        if (connection.roundTripMs !== null) this.#links.heard(workerId, connection.roundTripMs * 500);
      if (this.#links.forgive(this.options.clock.nowMs())) this.#handle({ kind: 'linksChanged' });
      this.#handle({ kind: 'tick', isIdle: this.#handlers?.isIdle() ?? true });
      if (!this.#closed) this.#scheduleTick();
    });
  }
}

/** Rows of one step when nothing else is asked for, as llama.cpp's default batch. */
export const defaultRowsMax = Math.min(512, limits.stepRowsMax);
