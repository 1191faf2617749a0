import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ClusterDescription, WorkerDescription } from '@butterfly/orchestrator';
import { TcpProxy, freePort } from '@butterfly/testkit';
import { Process } from './process.js';

export interface ChaosClusterOptions {
  readonly model: string;
  readonly workers: number;
  readonly streams: number;
  readonly contextTokens: number;
  readonly isDeterministic: boolean;
  /** A disk that workers keep weights on, and that faults may fill; null for a folder of its own. */
  readonly cacheDisk?: string | null;
  /** Pipelines with all layers, by default one. */
  readonly replicas?: number;
  /** Stages of each pipeline at least, by default as many as there are workers for it. */
  readonly stages?: number;
  /** Workers outside of the plan that hold a shard of it, by default none. */
  readonly spares?: number;
  /** Options of Node for every process. */
  readonly node?: readonly string[];
  /** Further arguments of each `butterfly worker`. */
  readonly worker?: readonly string[];
}

/** A worker process whose every connection runs through proxies that make a bad network of a good one. */
export class ChaosWorker {
  process: Process | null = null;

  private constructor(
    readonly name: string,
    /** Its link to the orchestrator. */
    readonly control: TcpProxy,
    /** The way of others to it. */
    readonly data: TcpProxy,
    /** Where it keeps weights. */
    readonly cacheDirectory: string,
    private readonly args: readonly string[],
    private readonly token: string,
    private readonly node: readonly string[],
  ) {}

  static async create(
    index: number,
    clusterPort: number,
    options: {
      readonly directory: string;
      /** Where certificates are, and the token that gets them. */
      readonly dataDirectory: string;
      readonly token: string;
      readonly more: readonly string[];
      readonly node: readonly string[];
    },
  ): Promise<ChaosWorker> {
    const cacheDirectory = join(options.directory, `worker-${index}`);
    const name = `chaos-${index}`;
    const dataPort = await freePort();
    const control = await TcpProxy.start({ to: { host: '127.0.0.1', port: clusterPort } });
    const data = await TcpProxy.start({ to: { host: '127.0.0.1', port: dataPort } });
    const args = [
      ['worker', '--join', `127.0.0.1:${control.port}`, '--name', name, '--threads', '1', '--remote-only'],
      ['--data-port', String(dataPort), '--advertise', `127.0.0.1:${data.port}`, '--memory', '1G'],
      ['--cache-dir', cacheDirectory, '--data-dir', options.dataDirectory],
      options.more,
    ];
    const { token, node } = options;
    return new ChaosWorker(name, control, data, cacheDirectory, args.flat(), token, node);
  }

  start(): void {
    const { node, token } = this;
    this.process = new Process(this.args, { env: { BUTTERFLY_TOKEN: token, BUTTERFLY_LOG: 'info' }, node });
  }

  /** As a new disk has it; not for a worker that runs. */
  async emptyCache(): Promise<void> {
    await rm(this.cacheDirectory, { recursive: true, force: true });
  }

  async close(): Promise<void> {
    await this.process?.kill();
    await Promise.all([this.control.close(), this.data.close()]);
  }
}

/** An orchestrator and its workers, all of them real processes on this machine. */
export class ChaosCluster implements AsyncDisposable {
  /** Plans that have been live so far. */
  plans = 0;

  private constructor(
    readonly orchestrator: Process,
    readonly workers: readonly ChaosWorker[],
    /** Of the HTTP API. */
    readonly url: string,
    /** Where workers join, and with what. */
    readonly door: { readonly port: number; readonly token: string },
    /** The disk that faults may fill. */
    readonly cacheDisk: string | null,
    private readonly directories: readonly string[],
    private readonly createWorker: (index: number) => Promise<ChaosWorker>,
  ) {
    orchestrator.onLine((line) => {
      if (line.includes('The plan is live.')) this.plans += 1;
    });
  }

  static async start(options: ChaosClusterOptions): Promise<ChaosCluster> {
    const { model, workers, streams, contextTokens, isDeterministic, replicas = 1, node = [] } = options;
    const { stages = Math.floor(workers / replicas), spares = 0 } = options;
    // Never on the disk that may be full.
    const dataDirectory = await mkdtemp(join(tmpdir(), 'butterfly-chaos-data-'));
    const args = [
      ['serve', model, '--workers', '0', '--wait-for', String(workers), '--stages', String(stages)],
      ['--cluster-host', '127.0.0.1', '--port', '0', '--cluster-port', '0', '--kv-cache-type', 'f16'],
      ['--parallel', String(streams), '--ctx', String(contextTokens)],
      ['--replicas', String(replicas), '--spares', String(spares), '--data-dir', dataDirectory],
      isDeterministic ? ['--deterministic'] : [],
    ];
    const orchestrator = new Process(args.flat(), { env: { BUTTERFLY_LOG: 'info' }, node });
    const [, url = ''] = await orchestrator.line(/^API on (\S+)\/v1/);
    const [, token = '', clusterPort] = await orchestrator.line(/TOKEN=(\S+) .*--join HOST:(\d+)/);
    const cacheDisk = options.cacheDisk ?? null;
    const directory = cacheDisk ?? (await mkdtemp(join(tmpdir(), 'butterfly-chaos-')));
    const ownDirectories = cacheDisk === null ? [directory, dataDirectory] : [dataDirectory];
    const worker = { directory, dataDirectory, token, more: options.worker ?? [], node };
    const door = { port: Number(clusterPort), token };
    const create = (index: number): Promise<ChaosWorker> => ChaosWorker.create(index, door.port, worker);
    const all: ChaosWorker[] = [];
    for (let index = 1; index <= workers; index++) all.push(await create(index));
    const cluster = new ChaosCluster(orchestrator, all, url, door, cacheDisk, ownDirectories, create);
    for (const each of all) each.start();
    await orchestrator.line(/^Ready\.$/, 120_000);
    return cluster;
  }

  /** One more worker, not started yet, which whoever asked for it closes. */
  visitor(): Promise<ChaosWorker> {
    return this.createWorker(this.workers.length + 1);
  }

  /** All that the cluster tells of itself. */
  async describe(): Promise<ClusterDescription> {
    const response = await fetch(`${this.url}/cluster`, { headers: { connection: 'close' } });
    return (await response.json()) as ClusterDescription;
  }

  /** Whether a worker that is about to start takes part in time. */
  async joins({ name }: ChaosWorker, timeoutMs: number): Promise<boolean> {
    const pattern = new RegExp(`"name":"${name}".*A worker joined\\.`, 'u');
    return (await this.orchestrator.nextLine(pattern, timeoutMs)) !== null;
  }

  /** What a worker does, as the cluster tells it; null when it does not know the worker. */
  async stateOf({ name }: ChaosWorker): Promise<WorkerDescription['state'] | null> {
    const { workers } = await this.describe();
    return workers.find((worker) => worker.name === name)?.state ?? null;
  }

  /** Asks for a worker to be emptied; false when that is refused. */
  async drain({ name }: ChaosWorker): Promise<boolean> {
    const response = await fetch(`${this.url}/cluster/workers/${name}/drain`, { method: 'POST' });
    await response.arrayBuffer();
    return response.ok;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.orchestrator.stop();
    await Promise.all(this.workers.map((worker) => worker.close()));
    for (const each of this.directories) await rm(each, { recursive: true, force: true });
  }
}
