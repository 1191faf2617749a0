import { ButterflyError, type Clock, limits, type Observer, observerOfModel } from '@butterfly/common';
import { EpochNumbers, type Member } from '@butterfly/control';
import type { Admission } from '@butterfly/identity';
import type { Link } from '@butterfly/planning';
import {
  type ControlMessage,
  decodeFileChunk,
  decodeStepResult,
  type Frame,
  type ReceivedFrame,
  type Transport,
} from '@butterfly/wire';
import { Deployment } from './deployment/deployment.js';
import type { DeploymentSettings } from './deployment/deployment-types.js';
import { roomFor } from './deployment/memory-room.js';
import { Drainings } from './deployment/drainings.js';
import { FileServer } from './fleet/file-server.js';
import { Fleet } from './fleet/fleet.js';
import type { FleetWorker } from './fleet/fleet-worker.js';
import { KernelKinds } from './fleet/kernel-kinds.js';
import type { ModelWorker } from './fleet/model-worker.js';
import { ModelWorkers } from './fleet/model-workers.js';
import { LinkProber } from './links/link-prober.js';
import { LinkTable } from './links/link-table.js';
import type { DrainDescription } from './view/cluster-view.js';

const tickMs = 100;
/** How long a newcomer waits for its links to others to be measured. */
const introductionMs = 5_000;

export interface ClusterOptions {
  readonly host: string;
  /** 0 lets the system choose. */
  readonly port: number;
  /** Decides who may join. */
  readonly admission: Admission;
  readonly clock: Clock;
  readonly observe: Observer;
  readonly transport?: Transport | undefined;
}

/** A model to be served. */
export interface DeployOptions extends DeploymentSettings {
  /** The model's files, which are closed with the deployment; by default they are opened when they are first asked for. */
  readonly files?: FileServer | undefined;
}

/** Where the workers that are here, the links between them and the models that they are here for meet. */
export class Cluster {
  readonly #fleet: Fleet;
  readonly #links = new LinkTable();
  readonly #prober: LinkProber;
  readonly #kinds = new KernelKinds(() => this.deployments.some(({ isDeterministic }) => isDeterministic));
  readonly #epochs = new EpochNumbers();
  /** By channel. */
  readonly #deployments = new Map<number, Deployment>();
  readonly #drainings: Drainings;
  /** By worker that has measured itself, whether its links were measured in time, and when they are. */
  readonly #introductions = new Map<
    string,
    { readonly inTime: Promise<boolean>; readonly measured: Promise<void> }
  >();
  #lastChannel = 0;
  #cancelTick: () => void = () => undefined;
  #closed = false;

  private constructor(private readonly options: ClusterOptions) {
    this.#prober = new LinkProber(this.#links, options.clock);
    this.#fleet = new Fleet({ ...options, channels: () => [...this.#deployments.keys()] });
    this.#drainings = new Drainings(this.#fleet, options, () => this.deployments);
  }

  /** Listens for workers. @throws ButterflyError PORT_IN_USE, ADDRESS_INVALID */
  static async start(options: ClusterOptions): Promise<Cluster> {
    const cluster = new Cluster(options);
    await cluster.#fleet.open({
      onWelcome: (worker) => cluster.#welcome(worker),
      onMessage: (worker, message) => cluster.#obey(worker, message),
      onFrame: (worker, frame) => cluster.#receive(worker, frame),
      onLeft: (worker, error, reason) => cluster.#left(worker, error, reason),
    });
    cluster.#scheduleTick();
    return cluster;
  }

  get port(): number {
    return this.#fleet.port;
  }

  get deployments(): Deployment[] {
    return [...this.#deployments.values()];
  }

  workers(): FleetWorker[] {
    return [...this.#fleet.workers.values()];
  }

  /** What is known of the link between two workers, or a worker and the orchestrator, which null stands for. */
  link(from: string | null, to: string | null): Link {
    return this.#links.link(from, to);
  }

  /** What whoever runs it should know of the workers, although they serve. */
  get notes(): string[] {
    const kinds = this.#kinds.describe(this.#introduced());
    return kinds === null ? [] : [kinds];
  }

  /**
   * Serves a model from now on, beside those that are served already.
   * @throws ButterflyError QUEUE_FULL where there are too many; CONFIG_INVALID for a name that another one has
   */
  deploy({ files, ...settings }: DeployOptions): Deployment {
    const { clock } = this.options;
    const { name, shards } = settings;
    const observe = observerOfModel(this.options.observe, name);
    if (this.deployments.some((each) => each.name === name))
      throw new ButterflyError(
        'CONFIG_INVALID',
        `There is a model "${name}" already; give one another name.`,
      );
    const channel = this.#freeChannel();
    const fleet = new ModelWorkers(
      {
        ...{ channel, name, clock, observe },
        model: shards.spec,
        isDeterministic: shards.isDeterministic,
        files: files ?? new FileServer(shards.spec),
      },
      {
        // Nothing in it throws: it waits for answers with deadlines.
        onMeasured: (worker) => void this.#introduce(worker, deployment),
        onMessage: (worker, message) => deployment.handle(worker, message),
        onFrame: (worker, frame) => receive(deployment, worker, frame),
      },
    );
    const deployment: Deployment = new Deployment({
      ...settings,
      ...{ fleet, clock, observe, epochs: this.#epochs, links: this.#links, prober: this.#prober },
      room: (member) => this.#roomFor(deployment, member),
      onEmptied: (workerId) => this.#drainings.emptied(workerId, deployment),
      onKept: (workerId) => this.#drainings.kept(workerId),
    });
    this.#deployments.set(channel, deployment);
    for (const worker of this.#fleet.workers.values()) fleet.add(worker, this.#deployments.size);
    return deployment;
  }

  /** Serves a model no more: workers let go of it. */
  async withdraw(deployment: Deployment): Promise<void> {
    if (!this.#deployments.delete(deployment.fleet.channel)) return;
    deployment.close();
    await deployment.fleet.close();
    this.#drainings.look();
    // Some may have waited for its memory.
    for (const other of this.deployments) if (!other.isLive) other.linksChanged();
  }

  /**
   * Begins to empty a worker while requests go on; it is told goodbye when it is empty.
   * @throws ButterflyError NOT_FOUND, CLUSTER_NOT_READY while it measures itself, or MODEL_TOO_LARGE when the others
   * cannot hold a model; nothing has changed then
   */
  drain(workerId: string): void {
    this.#drainings.begin(workerId);
  }

  /** Cuts a worker off for good. @throws ButterflyError NOT_FOUND; JOIN_REFUSED where there are no certificates */
  revoke(workerId: string): Promise<void> {
    return this.#fleet.revoke(workerId);
  }

  /** What has become of the workers that were to be emptied. */
  get drains(): DrainDescription[] {
    return this.#fleet.drains.all();
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#cancelTick();
    for (const deployment of this.deployments) deployment.close();
    await this.#fleet.close();
    await Promise.all(this.deployments.map(({ fleet }) => fleet.close()));
  }

  /** Of so many numbers one is free, and none is taken again before all others were. */
  #freeChannel(): number {
    if (this.#deployments.size >= limits.modelsOpenMax)
      throw new ButterflyError(
        'QUEUE_FULL',
        `${limits.modelsOpenMax} models are loaded, which is as many as there may be; unload one first.`,
      );
    do this.#lastChannel = (this.#lastChannel % limits.channelsMax) + 1;
    while (this.#deployments.has(this.#lastChannel));
    return this.#lastChannel;
  }

  #roomFor(deployment: Deployment, member: Member): Member {
    const others = this.deployments.filter((each) => each !== deployment);
    return others.length === 0
      ? member
      : roomFor(
          member,
          others.map(({ taken }) => taken),
        );
  }

  #welcome(worker: FleetWorker): void {
    this.#links.join(worker.workerId, worker.identity.machineId);
    for (const { fleet } of this.deployments) fleet.add(worker, this.#deployments.size);
  }

  /** Those that have measured themselves for some model. */
  #introduced(): FleetWorker[] {
    return this.workers().filter(({ workerId }) => this.#introductions.has(workerId));
  }

  /** A worker has measured itself for a model: once the links to and from it are measured too, it takes part. */
  async #introduce(worker: ModelWorker, deployment: Deployment): Promise<void> {
    const { workerId, connection } = worker;
    const { inTime, measured } = this.#introductions.get(workerId) ?? this.#meet(worker);
    const isMeasured = await inTime;
    if (!connection.isOpen || this.#closed || !deployment.join(worker)) return;
    this.#drainings.joined(worker, deployment);
    // With many peers, or some that do not answer, the rest comes when it comes.
    if (isMeasured) return;
    await measured;
    deployment.linksChanged(workerId);
  }

  #meet(worker: FleetWorker): { readonly inTime: Promise<boolean>; readonly measured: Promise<void> } {
    const { workerId, identity, connection } = worker;
    const measured = this.#prober.introduce(worker, this.#introduced());
    const inTime = this.#within(
      introductionMs,
      measured.then(() => true),
    ).then((isMeasured) => {
      if (!connection.isOpen || this.#closed) return isMeasured;
      const { name, memoryBytes, threads } = identity;
      const { observe } = this.options;
      observe({ kind: 'workerJoined', workerId, name, memoryBytes, threads });
      for (const words of this.#kinds.meet(worker, this.workers()))
        observe({ kind: 'kernelsDiffer', workerId, words });
      return isMeasured;
    });
    const introduction = { inTime, measured };
    this.#introductions.set(workerId, introduction);
    return introduction;
  }

  /** False where it takes longer. */
  async #within(delayMs: number, work: Promise<boolean>): Promise<boolean> {
    let cancel: () => void = () => undefined;
    const tooLong = new Promise<false>((resolve) => {
      cancel = this.options.clock.after(delayMs, () => resolve(false));
    });
    try {
      return await Promise.race([work, tooLong]);
    } finally {
      // A timer that nobody waits for would keep the process up.
      cancel();
    }
  }

  #left(worker: FleetWorker, error: ButterflyError | null, reason: string): void {
    const { workerId, identity } = worker;
    this.#links.leave(workerId);
    this.#prober.leave(workerId);
    this.#introductions.delete(workerId);
    for (const { fleet } of this.deployments) fleet.remove(workerId);
    if (this.#closed) return;
    const isOrderly = error === null;
    this.options.observe({ kind: 'workerLeft', workerId, name: identity.name, isOrderly, reason });
    this.#drainings.left(workerId, isOrderly);
    for (const deployment of this.deployments) deployment.leave(workerId, isOrderly);
  }

  #receive({ workerId }: FleetWorker, frame: ReceivedFrame): void {
    if (frame.channel !== 0) {
      // Of a model that is served no more something may be under way.
      this.#deployments.get(frame.channel)?.fleet.receive(workerId, frame);
      return;
    }
    if (frame.type !== 'fileChunk')
      throw new ButterflyError('PROTOCOL_INVALID', `A worker does not send frames of type ${frame.type}.`);
    this.#prober.receiveBlock(workerId, decodeFileChunk(frame));
  }

  #obey({ workerId }: FleetWorker, message: ControlMessage): void {
    if (message.kind !== 'probed')
      throw new ButterflyError('PROTOCOL_INVALID', `A worker does not send "${message.kind}".`);
    this.#prober.receive(workerId, message);
  }

  #scheduleTick(): void {
    this.#cancelTick = this.options.clock.after(tickMs, () => {
      for (const { workerId, connection } of this.#fleet.workers.values())
        if (connection.roundTripMs !== null) this.#links.heard(workerId, connection.roundTripMs * 500);
      void this.#prober.retry(this.#fleet.workers).then((isBetter) => {
        if (isBetter) for (const deployment of this.deployments) deployment.linksChanged();
      });
      for (const deployment of this.deployments) deployment.tick();
      if (!this.#closed) this.#scheduleTick();
    });
  }
}

/** @throws ButterflyError PROTOCOL_INVALID for a frame that workers do not send */
function receive(deployment: Deployment, { workerId }: ModelWorker, frame: Frame): void {
  switch (frame.type) {
    case 'result':
      deployment.result(workerId, decodeStepResult(frame));
      return;
    case 'step':
    case 'activations':
    case 'witnessed':
      deployment.relay(workerId, frame);
      return;
    default:
      throw new ButterflyError('PROTOCOL_INVALID', `A worker does not send frames of type ${frame.type}.`);
  }
}
