import { ButterflyError, type Clock, type Observer } from '@butterfly/common';
import type { Admission } from '@butterfly/identity';
import type { Link } from '@butterfly/planning';
import {
  type ControlMessage,
  decodeFileChunk,
  decodeStepResult,
  type Frame,
  type Transport,
} from '@butterfly/wire';
import { Deployment } from './deployment/deployment.js';
import type { DeploymentSettings } from './deployment/deployment-types.js';
import type { FileServer } from './fleet/file-server.js';
import { Fleet } from './fleet/fleet.js';
import type { FleetWorker } from './fleet/fleet-worker.js';
import { KernelKinds } from './fleet/kernel-kinds.js';
import { LinkProber } from './links/link-prober.js';
import { LinkTable } from './links/link-table.js';
import type { DrainDescription } from './view/cluster-view.js';

const tickMs = 100;
/** How long a newcomer waits for its links to others to be measured. */
const introductionMs = 5_000;

export interface ClusterOptions extends DeploymentSettings {
  readonly host: string;
  /** 0 lets the system choose. */
  readonly port: number;
  /** Decides who may join. */
  readonly admission: Admission;
  /** The model's files, which the cluster closes in the end; by default they are opened when they are first asked for. */
  readonly files?: FileServer | undefined;
  readonly clock: Clock;
  readonly observe: Observer;
  readonly transport?: Transport | undefined;
}

/** Where the workers that are here, the links between them and the model that they are here for meet. */
export class Cluster {
  readonly deployment: Deployment;
  readonly #fleet: Fleet;
  readonly #links = new LinkTable();
  readonly #prober: LinkProber;
  readonly #kinds: KernelKinds;
  #cancelTick: () => void = () => undefined;
  #closed = false;

  private constructor(private readonly options: ClusterOptions) {
    const { shards, clock } = options;
    this.#kinds = new KernelKinds(shards.isDeterministic);
    this.#prober = new LinkProber(this.#links, clock);
    this.#fleet = new Fleet({ ...options, model: shards.spec, isDeterministic: shards.isDeterministic });
    this.deployment = new Deployment({
      ...options,
      fleet: this.#fleet,
      links: this.#links,
      prober: this.#prober,
    });
  }

  /** Listens for workers. @throws ButterflyError PORT_IN_USE, ADDRESS_INVALID */
  static async start(options: ClusterOptions): Promise<Cluster> {
    const cluster = new Cluster(options);
    await cluster.#fleet.open({
      onWelcome: ({ workerId, identity }) => cluster.#links.join(workerId, identity.machineId),
      // Nothing in it throws: it waits for answers with deadlines.
      onMeasured: (worker) => void cluster.#introduce(worker),
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

  workers(): readonly FleetWorker[] {
    return [...this.#fleet.workers.values()];
  }

  /** What is known of the link between two workers, or a worker and the orchestrator, which null stands for. */
  link(from: string | null, to: string | null): Link {
    return this.#links.link(from, to);
  }

  /** What whoever runs it should know, although it serves. */
  get notes(): string[] {
    const kinds = this.#kinds.describe(this.workers());
    return [...this.#fleet.notes, ...(kinds === null ? [] : [kinds]), ...this.deployment.notes];
  }

  /**
   * Begins to empty a worker while requests go on; it is told goodbye when it is empty.
   * @throws ButterflyError NOT_FOUND, CLUSTER_NOT_READY while it measures itself, or MODEL_TOO_LARGE when the others
   * cannot hold the model; nothing has changed then
   */
  drain(workerId: string): void {
    const worker = this.#fleet.workers.get(workerId);
    if (!worker)
      throw new ButterflyError('NOT_FOUND', `There is no worker ${workerId}; see butterfly status.`);
    const refusal = this.deployment.drain(worker);
    if (refusal) throw refusal;
    this.#fleet.drains.begin(worker, this.options.clock.nowMs());
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
    this.deployment.close();
    await this.#fleet.close();
  }

  /** A worker has measured itself: once the links to and from it are measured too, it takes part. */
  async #introduce(worker: FleetWorker): Promise<void> {
    const { workerId, identity, connection } = worker;
    const others = this.workers().filter((each) => each !== worker && each.profile !== null);
    const measured = this.#prober.introduce(worker, others).then(() => true);
    const isMeasured = await this.#within(introductionMs, measured);
    if (!connection.isOpen || this.#closed) return;
    const { name, memoryBytes, threads } = identity;
    const { observe } = this.options;
    observe({ kind: 'workerJoined', workerId, name, memoryBytes, threads });
    for (const words of this.#kinds.meet(worker, this.workers()))
      observe({ kind: 'kernelsDiffer', workerId, words });
    if (!this.deployment.join(worker)) return;
    this.#drainOn(worker);
    // With many peers, or some that do not answer, the rest comes when it comes.
    if (!isMeasured && (await measured)) this.deployment.linksChanged(workerId);
  }

  /** A worker that was lost before it was empty is emptied on. */
  #drainOn(worker: FleetWorker): void {
    const { drains } = this.#fleet;
    const nowMs = this.options.clock.nowMs();
    if (!drains.isWanted(worker, nowMs)) return;
    const { workerId, identity } = worker;
    this.options.observe({ kind: 'drainResumed', workerId, name: identity.name });
    const refusal = this.deployment.drain(worker);
    drains.returned(worker, refusal ? 'kept' : 'draining', nowMs);
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
    if (this.#closed) return;
    const isOrderly = error === null;
    this.options.observe({ kind: 'workerLeft', workerId, name: identity.name, isOrderly, reason });
    this.#fleet.drains.left(workerId, isOrderly, this.options.clock.nowMs());
    this.deployment.leave(workerId, isOrderly);
  }

  #receive({ workerId }: FleetWorker, frame: Frame): void {
    switch (frame.type) {
      case 'result':
        this.deployment.result(workerId, decodeStepResult(frame));
        return;
      case 'fileChunk':
        this.#prober.receiveBlock(workerId, decodeFileChunk(frame));
        return;
      case 'step':
      case 'activations':
      case 'witnessed':
        this.deployment.relay(workerId, frame);
        return;
      default:
        throw new ButterflyError('PROTOCOL_INVALID', `A worker does not send frames of type ${frame.type}.`);
    }
  }

  #obey(worker: FleetWorker, message: ControlMessage): void {
    if (message.kind === 'probed') this.#prober.receive(worker.workerId, message);
    else this.deployment.handle(worker, message);
  }

  #scheduleTick(): void {
    this.#cancelTick = this.options.clock.after(tickMs, () => {
      for (const { workerId, connection } of this.#fleet.workers.values())
        if (connection.roundTripMs !== null) this.#links.heard(workerId, connection.roundTripMs * 500);
      void this.#prober.retry(this.#fleet.workers).then((isBetter) => {
        if (isBetter) this.deployment.linksChanged();
      });
      this.deployment.tick();
      if (!this.#closed) this.#scheduleTick();
    });
  }
}
