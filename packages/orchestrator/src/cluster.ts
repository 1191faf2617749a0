import { randomBytes } from 'node:crypto';
import { ButterflyError, isErrorCode, limits } from '@butterfly/common';
import { type Member, SharedByControllers, describeLanes, lanesInUse } from '@butterfly/control';
import type { Link, Plan } from '@butterfly/planning';
import {
  type ControlMessage,
  type ControlMessageOf,
  type Frame,
  type Listener,
  decodeControl,
  decodeFileChunk,
  decodeStepResult,
  tcpTransport,
} from '@butterfly/wire';
import type { DrainDescription } from './view/cluster-view.js';
import { shardIds } from './deployment/assignments.js';
import { watchedPlanner } from './deployment/cluster-planner.js';
import type { ClusterOptions, LinkOf } from './deployment/cluster-types.js';
import { DrainRequests } from './fleet/drain-requests.js';
import { FileServer } from './fleet/file-server.js';
import { KernelKinds } from './fleet/kernel-kinds.js';
import { LaneAssigner } from './deployment/lane-assigner.js';
import { LaneTransfers } from './deployment/lane-transfers.js';
import { Lane } from './deployment/lane.js';
import { LinkProber } from './links/link-prober.js';
import { LinkTable } from './links/link-table.js';
import { Reception } from './fleet/reception.js';
import { pacedPlanner, Slowness } from './deployment/slowness.js';
import { joiningOf, type WorkerLink } from './fleet/worker-link.js';

const tickMs = 100;
/** How long a newcomer waits for its ways to others to be measured. */
const introductionMs = 5_000;

/**
 * The workers and the lanes that they belong to, one for each replica of the pipeline. Sockets feed the lanes, and what is
 * known of links and weights is known to all of them.
 */
export class Cluster {
  /** As many as there may be replicas; those that there are no workers for are empty. */
  readonly lanes: readonly Lane[];
  readonly #workers = new Map<string, WorkerLink>();
  /** By worker; those that have not measured themselves are in none. */
  readonly #laneOf = new Map<string, Lane>();
  readonly #links = new LinkTable();
  readonly #slowness = new Slowness();
  readonly #prober: LinkProber;
  readonly #files: FileServer;
  readonly #assigner: LaneAssigner;
  readonly #drains = new DrainRequests();
  readonly #kinds: KernelKinds;
  readonly #transfers = new LaneTransfers((workerId) => joiningOf(this.#workers.get(workerId)));
  #listener: Listener | null = null;
  #cancelTick: () => void = () => undefined;
  #closed = false;

  private constructor(private readonly options: ClusterOptions) {
    const { clock, log, shards, controller, replicasMax } = options;
    const planner = pacedPlanner(watchedPlanner(options.planner, log), this.#slowness);
    const link: LinkOf = (from, to) => this.#links.link(from, to);
    this.#kinds = new KernelKinds(shards.isDeterministic);
    this.#prober = new LinkProber(this.#links, clock);
    this.#files = options.files ?? new FileServer(shards.spec);
    this.#assigner = new LaneAssigner({
      ...controller,
      split: (members) => planner.split(members, link),
      speedsOf: (groups) => planner.speedsOf(groups, link),
    });
    const config = {
      ...controller,
      shared: new SharedByControllers(),
      plan: (members: readonly Member[]) => planner.plan(members, link),
      repair: (plan: Plan, substitutes: ReadonlyMap<string, string>, members: readonly Member[]) =>
        planner.repair(plan, substitutes, members, link),
      shardIdOf: shardIds(shards),
    };
    const known = { workers: this.#workers, links: this.#links, slowness: this.#slowness };
    const around = { ...known, prober: this.#prober, shards, clock, log };
    this.lanes = Array.from(
      { length: replicasMax },
      (_, index) =>
        new Lane({
          ...around,
          replica: index + 1,
          controller: config,
          onEmptied: (workerId) => this.#emptied(workerId),
          onKept: (workerId) => this.#kept(workerId),
        }),
    );
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
    return this.lanes.some(({ isLive }) => isLive);
  }

  /** What is waited for, in words for a person. */
  describe(): string {
    return describeLanes(this.lanes);
  }

  workers(): readonly WorkerLink[] {
    return [...this.#workers.values()];
  }

  /** Null for one that has not measured itself. */
  laneOf(workerId: string): Lane | null {
    return this.#laneOf.get(workerId) ?? null;
  }

  /** What is known of the way between two workers, or a worker and the orchestrator, which null stands for. */
  link(from: string | null, to: string | null): Link {
    return this.#links.link(from, to);
  }

  /** Why the last plan could not be made or carried out; null when there is a newer one. */
  get trouble(): ButterflyError | null {
    return lanesInUse(this.lanes).find(({ trouble }) => trouble)?.trouble ?? this.#assigner.trouble;
  }

  /** What whoever runs it should know, although it serves. */
  get notes(): string[] {
    const ofLanes = this.lanes.map(({ note, replica }) =>
      note && this.lanes.length > 1 ? `Replica ${replica}: ${note}` : note,
    );
    return [...this.#files.notes, this.#kinds.describe(this.workers()), ...ofLanes].filter(
      (note) => note !== null,
    );
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
    const lane = this.#laneOf.get(workerId);
    if (!lane)
      throw new ButterflyError(
        'CLUSTER_NOT_READY',
        `${worker.identity.name} measures itself; try again soon.`,
      );
    const refusal = this.#drain(workerId, lane);
    if (refusal) throw refusal;
    this.#drains.begin(worker, this.options.clock.nowMs());
  }

  /** What has become of the workers that were to be emptied. */
  get drains(): DrainDescription[] {
    return this.#drains.all();
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#cancelTick();
    for (const lane of this.lanes) lane.close();
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
    if (!connection.isOpen || this.#closed) return;
    const { name, memoryBytes, threads } = identity;
    this.options.log.info({ workerId, name, memoryBytes, threads }, 'A worker joined.');
    for (const words of this.#kinds.meet(worker, this.workers())) this.options.log.warn({ workerId }, words);
    const joining = joiningOf(worker);
    if (!joining) return;
    const nowMs = this.options.clock.nowMs();
    const states = this.lanes.map((each) => each.look());
    const lane = this.lanes[this.#assigner.laneOf(joining.member, states, nowMs)];
    if (!lane) return;
    this.#laneOf.set(workerId, lane);
    // And what it has loaded since it said hello, as it was told before.
    const heldShards = [...new Set([...identity.heldShards, ...joining.heldShards])];
    lane.handle({ kind: 'joined', member: joining.member, heldShards });
    this.#drainOn(worker, lane);
    // With many peers, or some that do not answer, the rest comes when it comes.
    if (!isMeasured && (await measured)) lane.handle({ kind: 'linksChanged' });
  }

  /** Gives why it stays, if it must; nothing has changed then. */
  #drain(workerId: string, lane: Lane): ButterflyError | null {
    const isEmpty = this.#transfers.cancel(workerId);
    const refusal = isEmpty ? null : lane.drain(workerId);
    if (refusal && !this.lanes.some((other) => other !== lane && other.isLive)) return refusal;
    // The lane ends without it, and its requests go on at the others.
    if (refusal) lane.handle({ kind: 'left', workerId, isOrderly: true });
    if (isEmpty || refusal) this.#emptied(workerId);
    return null;
  }

  /** A worker that was lost before it was empty is emptied on. */
  #drainOn(worker: WorkerLink, lane: Lane): void {
    const { workerId, identity } = worker;
    const nowMs = this.options.clock.nowMs();
    if (!this.#drains.isWanted(worker, nowMs)) return;
    this.options.log.info({ workerId, name: identity.name }, 'It was lost before it was empty.');
    const refusal = this.#drain(workerId, lane);
    this.#drains.returned(worker, refusal ? 'kept' : 'draining', nowMs);
  }

  #after(delayMs: number): Promise<false> {
    return new Promise((resolve) => this.options.clock.after(delayMs, () => resolve(false)));
  }

  /** A worker has no part in any plan of its lane, as was wished. */
  #emptied(workerId: string): void {
    if (!this.#transfers.emptied(workerId)) void this.#workers.get(workerId)?.connection.close('drained');
  }

  /** Its lane cannot go without it. */
  #kept(workerId: string): void {
    this.#transfers.cancel(workerId);
    this.#drains.kept(workerId, this.options.clock.nowMs());
  }

  #left(worker: WorkerLink, error: ButterflyError | null, reason: string): void {
    const { workerId, identity } = worker;
    this.#workers.delete(workerId);
    this.#links.leave(workerId);
    this.#prober.leave(workerId);
    this.#slowness.leave(workerId);
    if (this.#closed) return;
    this.options.log.warn({ workerId, name: identity.name }, `A worker left: ${reason}`);
    this.#transfers.cancel(workerId);
    this.#drains.left(workerId, error === null, this.options.clock.nowMs());
    this.#laneOf.get(workerId)?.handle({ kind: 'left', workerId, isOrderly: error === null });
    this.#laneOf.delete(workerId);
  }

  #receive(worker: WorkerLink, frame: Frame): void {
    const { workerId } = worker;
    switch (frame.type) {
      case 'result':
        this.#laneOf.get(workerId)?.result(workerId, decodeStepResult(frame));
        return;
      case 'fileChunk':
        this.#prober.receiveBlock(workerId, decodeFileChunk(frame));
        return;
      case 'step':
      case 'activations':
        this.#laneOf.get(workerId)?.relay(frame, workerId);
        return;
      default:
        this.#control(worker, decodeControl(frame));
    }
  }

  #control(worker: WorkerLink, message: ControlMessage): void {
    const { workerId } = worker;
    const lane = this.#laneOf.get(workerId);
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
        lane?.handle({ kind: 'progress', workerId, shardId: message.shardId });
        return;
      case 'prepared':
        this.#prepared(worker, message);
        return;
      case 'unprepared': {
        const error = this.#errorOf(worker, message);
        lane?.handle({ kind: 'unprepared', workerId, shardId: message.shardId, error });
        return;
      }
      case 'ready':
        lane?.handle({ kind: 'ready', workerId, epoch: message.epoch });
        return;
      case 'failed':
        lane?.failed(workerId, message, this.#errorOf(worker, message));
        return;
      case 'fetch':
      case 'digests':
        void this.#files.answer(worker, message, this.options.log);
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
    this.#laneOf.get(workerId)?.handle({ kind: 'prepared', workerId, shardId });
  }

  #errorOf(worker: WorkerLink, { code, message }: { code: string; message: string }): ButterflyError {
    const { workerId, identity } = worker;
    this.options.log.error({ workerId, name: identity.name, code }, message);
    return new ButterflyError(isErrorCode(code) ? code : 'INTERNAL', `${identity.name}: ${message}`);
  }

  #scheduleTick(): void {
    this.#cancelTick = this.options.clock.after(tickMs, () => {
      for (const { workerId, connection } of this.#workers.values())
        if (connection.roundTripMs !== null) this.#links.heard(workerId, connection.roundTripMs * 500);
      void this.#prober.retry(this.#workers).then((isBetter) => {
        if (isBetter) for (const lane of this.lanes) lane.handle({ kind: 'linksChanged' });
      });
      this.#arrange();
      for (const lane of this.lanes) lane.tick();
      if (!this.#closed) this.#scheduleTick();
    });
  }

  /** Has workers go to other lanes where that is better. */
  #arrange(): void {
    if (this.lanes.length === 1) return;
    const before: boolean = this.#assigner.isGathered;
    if (!this.#transfers.isBusy) {
      const moves = this.#assigner.arrange(
        this.lanes.map((lane) => lane.look()),
        this.options.clock.nowMs(),
      );
      this.#transfers.begin(moves.flatMap(({ workerId, lane }) => this.#moveOf(workerId, this.lanes[lane])));
    }
    this.#transfers.settle((workerId, lane) => this.#laneOf.set(workerId, lane));
    // Whoever was not moved is where it is to be.
    if (before !== this.#assigner.isGathered) this.lanes[0]?.handle({ kind: 'gathered', joining: [] });
  }

  #moveOf(workerId: string, to: Lane | undefined): Parameters<LaneTransfers['begin']>[0] {
    const from = this.#laneOf.get(workerId);
    if (!from || !to) return [];
    this.options.log.info(
      { workerId, from: from.replica, to: to.replica },
      'A worker goes to another replica.',
    );
    return [{ workerId, from, to }];
  }
}

/** Rows of one step when nothing else is asked for, as llama.cpp's default batch. */
export const defaultRowsMax = Math.min(512, limits.stepRowsMax);
