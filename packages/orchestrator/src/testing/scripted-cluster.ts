import { plainWishes, type PlanWishes } from '@butterfly/planning';
import { ButterflyError, type Logger, logObserver } from '@butterfly/common';
import { SharedTokenAdmission } from '@butterfly/identity';
import { profile } from '@butterfly/control/testing';
import { SimulatedClock, SimulatedNetwork } from '@butterfly/testkit';
import {
  Channel,
  type Connection,
  type ControlMessage,
  type ControlMessageOf,
  type ReceivedFrame,
  type WorkerIdentity,
  decodeControl,
  decodeStep,
  encodeControl,
  encodeStepResult,
} from '@butterfly/wire';
import { clusterPlanner } from '../deployment/cluster-planner.js';
import { tinyModelSettings } from './tiny-model.js';
import { identityOf } from './cluster.js';
import type { ClusterPlanner, DeploymentSettings } from '../deployment/deployment-types.js';
import { Cluster } from '../cluster.js';
import type { Deployment } from '../deployment/deployment.js';

const orchestratorHost = 'orchestrator';
const port = 7600;

interface ScriptedOptions {
  readonly workersExpected?: number;
  readonly wishes?: Partial<PlanWishes>;
  readonly isDeterministic?: boolean;
  /** What is otherwise than with the real planner. */
  readonly planner?: (real: ClusterPlanner) => Partial<ClusterPlanner>;
}

/** For tests only: a real cluster in simulated time, with workers that do at once what they are asked. */
export class ScriptedCluster {
  readonly clock = new SimulatedClock();
  /** Warnings and errors of the log. */
  readonly warnings: string[] = [];
  readonly #network = new SimulatedNetwork({ clock: this.clock, seed: 'scripted' });
  readonly #workers: ScriptedWorker[] = [];
  #cluster: Cluster | null = null;
  #deployment: Deployment | null = null;
  #settings: Omit<DeploymentSettings, 'name'> | null = null;

  static async start(options: ScriptedOptions = {}): Promise<ScriptedCluster> {
    const scripted = new ScriptedCluster();
    const { workersExpected = 2, isDeterministic = false } = options;
    const wishes = { ...plainWishes, stagesMin: 2, ...options.wishes };
    const shards = { ...(await tinyModelSettings()), isDeterministic };
    const planner = clusterPlanner({
      ...shards,
      // Who is a spare is left to the controllers.
      wishes: { ...wishes, spares: 0 },
      ...{ kvCacheType: 'f16', concurrency: 1, observe: () => undefined },
    });
    const host = scripted.#network.host(orchestratorHost);
    const starting = Cluster.start({
      ...{ host: '0.0.0.0', port, admission: new SharedTokenAdmission(null) },
      clock: host.clock,
      transport: host.transport,
      observe: logObserver(collecting(scripted.warnings)),
    });
    scripted.#cluster = await scripted.clock.settle(starting);
    scripted.#settings = {
      ...{ shards, wishes },
      verification: { rate: 0, draw: () => 0 },
      gathering: { workersExpected, gatherMs: 0 },
      planner: { ...planner, ...options.planner?.(planner) },
    };
    scripted.#deployment = await scripted.deploy('scripted');
    return scripted;
  }

  get cluster(): Cluster {
    if (!this.#cluster) throw new Error('The cluster has not started.');
    return this.#cluster;
  }

  /** The same model once more, under another name. */
  deploy(name: string): Promise<Deployment> {
    if (!this.#settings) throw new Error('The cluster has not started.');
    const settings = this.#settings;
    // What it throws is a rejection, as of whatever else may be awaited.
    return Promise.resolve().then(() => this.cluster.deploy({ ...settings, name }));
  }

  async withdraw(deployment: Deployment): Promise<void> {
    await this.clock.settle(this.cluster.withdraw(deployment));
  }

  /** Of the first model. */
  get deployment(): Deployment {
    if (!this.#deployment) throw new Error('The cluster has not started.');
    return this.#deployment;
  }

  /**
   * A worker that has measured itself.
   * @param unreachable names of those that it cannot dial
   */
  async join(
    name: string,
    {
      unreachable = [],
      ...changes
    }: Partial<WorkerIdentity> & { readonly unreachable?: readonly string[] } = {},
  ): Promise<ScriptedWorker> {
    const lastOf = (epoch: number): ScriptedWorker | undefined =>
      this.#workers.find(({ lastStageOf }) => lastStageOf === epoch);
    const worker = new ScriptedWorker(unreachable, lastOf);
    this.#workers.push(worker);
    const dialling = this.#network
      .host(name)
      .transport.dial({ host: orchestratorHost, port, handlers: worker });
    worker.enter(await this.clock.settle(dialling), identityOf(name, changes));
    await this.clock.runUntil(
      () => this.deployment.replicaOf(worker.workerId) !== null || worker.ending !== null,
    );
    return worker;
  }

  /** Those that join one after the other, once their plan is live. */
  static async live(names: readonly string[], options: ScriptedOptions = {}): Promise<ScriptedCluster> {
    const workersExpected = names.length;
    const wishes = { stagesMin: workersExpected, ...options.wishes };
    const scripted = await ScriptedCluster.start({ workersExpected, ...options, wishes });
    for (const name of names) await scripted.join(name);
    await scripted.until(() => scripted.deployment.isLive);
    return scripted;
  }

  worker(name: string): ScriptedWorker {
    const worker = this.#workers.findLast((each) => each.name === name);
    if (!worker) throw new Error(`No worker is called ${name}.`);
    return worker;
  }

  /** Ids of the workers of the plan in force, or on its way, in words. */
  get stages(): string {
    const ids = this.deployment.replicas.flatMap(
      ({ plan }) => plan?.stages.map(({ workerId }) => workerId) ?? [],
    );
    return ids.map((id) => this.#workers.find(({ workerId }) => workerId === id)?.name).join();
  }

  until(isDone: () => boolean): Promise<void> {
    return this.clock.runUntil(isDone, { withinMs: 120_000 });
  }

  pass(ms: number): Promise<void> {
    return this.clock.advance(ms);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.clock.settle(this.cluster.close());
  }
}

/** For tests only: a worker as the orchestrator sees it. */
export class ScriptedWorker {
  workerId = '';
  name = '';
  /** The epoch in which it is the last stage. */
  lastStageOf: number | null = null;
  /** Whether it keeps those waiting who want something loaded, until it catches up. */
  isSlow = false;
  /** Whether it keeps results back, as the last stage. */
  isMute = false;
  ending: { readonly error: ButterflyError | null; readonly reason: string } | null = null;
  readonly prepares: ControlMessageOf<'prepare'>[] = [];
  /** Channels of models that it was told to let go. */
  readonly closed: number[] = [];
  readonly #channelOf = new Map<string, number>();
  #connection: Connection | null = null;
  #kept: { readonly epoch: number; readonly stepId: number; readonly channel: number } | null = null;

  constructor(
    private readonly unreachable: readonly string[],
    private readonly lastOf: (epoch: number) => ScriptedWorker | undefined,
  ) {}

  enter(connection: Connection, identity: WorkerIdentity): void {
    this.#connection = connection;
    this.name = identity.name;
    connection.send(encodeControl({ kind: 'hello', token: null, worker: identity }));
  }

  /** The connection breaks, without a goodbye. */
  breakOff(): void {
    this.#connection?.destroy(new ButterflyError('CONNECTION_CLOSED', 'The test cut it.'));
  }

  /** Has loaded all that it was asked for. */
  catchUp(): void {
    this.isSlow = false;
    for (const { shardId } of this.prepares)
      this.#send(preparedOf(shardId), this.#channelOf.get(shardId) ?? 0);
  }

  onFrame(frame: ReceivedFrame): void {
    if (frame.type === 'control') this.#answer(decodeControl(frame), frame.channel);
    if (frame.type !== 'step') return;
    const { epoch, stepId } = decodeStep(frame);
    this.lastOf(epoch)?.finish(epoch, stepId, frame.channel);
  }

  onClose(error: ButterflyError | null, reason: string): void {
    this.ending = { error, reason };
  }

  /** As the last stage. */
  finish(epoch: number, stepId: number, channel: number): void {
    this.#kept = { epoch, stepId, channel };
    if (!this.isMute) this.speakUp();
  }

  /** Tells its last result. */
  speakUp(): void {
    if (!this.#kept) return;
    const { epoch, stepId, channel } = this.#kept;
    this.#send(encodeStepResult({ epoch, stepId, outputs: [], stageTimes: [] }), channel);
  }

  /** @param channel 0 for what is of the connection itself */
  #send(frame: Uint8Array[], channel: number): void {
    const connection = this.#connection;
    if (connection) (channel === 0 ? connection : new Channel(connection, channel)).send(frame);
  }

  #answer(message: ControlMessage, channel: number): void {
    switch (message.kind) {
      case 'welcome':
        this.workerId = message.workerId;
        return;
      case 'openModel':
        this.#send(
          encodeControl({ kind: 'profile', ...profile, hasFiles: true, heldShards: [] }),
          message.channel,
        );
        return;
      case 'closeModel':
        this.closed.push(message.channel);
        return;
      case 'probe': {
        const { requestId } = message;
        const isReached = !this.unreachable.includes(message.host);
        const [latencyMicros, bytesPerSecond] = isReached ? [100, 1e8] : [null, null];
        this.#send(encodeControl({ kind: 'probed', requestId, latencyMicros, bytesPerSecond }), 0);
        return;
      }
      case 'prepare':
        this.prepares.push(message);
        this.#channelOf.set(message.shardId, channel);
        if (!this.isSlow) this.#send(preparedOf(message.shardId), channel);
        return;
      case 'assign':
        this.lastStageOf = message.stageIndex === message.stageCount - 1 ? message.epoch : null;
        this.#send(encodeControl({ kind: 'ready', epoch: message.epoch }), channel);
        return;
      default:
    }
  }
}

function preparedOf(shardId: string): Uint8Array[] {
  return encodeControl({
    ...{ kind: 'prepared', shardId, shardBytes: 1, arenaBytes: 1, residentBytes: 2 },
    stepCurve: [{ rows: 1, micros: 100 }],
    isBatchInvariant: true,
    loaded: { fileBytes: 0, cacheBytes: 1, peerBytes: 0, orchestratorBytes: 0, elapsedMs: 1 },
  });
}

function collecting(warnings: string[]): Logger {
  const ignore = (): void => undefined;
  const keep = (_: object, message: string): void => void warnings.push(message);
  const logger: Logger = {
    debug: ignore,
    info: ignore,
    warn: keep,
    error: keep,
  };
  return logger;
}
