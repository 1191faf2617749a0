import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort, TcpProxy } from '@butterfly/testkit';
import { Process } from './process.js';

export interface ChaosClusterOptions {
  readonly model: string;
  readonly workers: number;
  readonly streams: number;
  readonly contextTokens: number;
  readonly isDeterministic: boolean;
  /** Where workers keep weights; null for a folder of its own. */
  readonly cacheDirectory?: string | null;
  /** Further arguments of `butterfly serve`. */
  readonly serve?: readonly string[];
  /** Further arguments of each `butterfly worker`. */
  readonly worker?: readonly string[];
}

const token = 'the token of the chaos';

/** A worker process whose every connection runs through proxies that make a bad network of a good one. */
export class ChaosWorker {
  process: Process | null = null;

  private constructor(
    readonly name: string,
    /** Its way to the orchestrator. */
    readonly control: TcpProxy,
    /** The way of others to it. */
    readonly data: TcpProxy,
    private readonly args: readonly string[],
  ) {}

  static async create(index: number, clusterPort: number, more: readonly string[]): Promise<ChaosWorker> {
    const name = `chaos-${index}`;
    const dataPort = await freePort();
    const control = await TcpProxy.start({ to: { host: '127.0.0.1', port: clusterPort } });
    const data = await TcpProxy.start({ to: { host: '127.0.0.1', port: dataPort } });
    const args = [
      ['worker', '--join', `127.0.0.1:${control.port}`, '--name', name, '--threads', '1', '--remote-only'],
      ['--data-port', String(dataPort), '--advertise', `127.0.0.1:${data.port}`, '--memory', '1G'],
      more,
    ];
    return new ChaosWorker(name, control, data, args.flat());
  }

  start(): void {
    this.process = new Process(this.args, { env: { BUTTERFLY_TOKEN: token } });
  }

  async close(): Promise<void> {
    await this.process?.kill();
    await Promise.all([this.control.close(), this.data.close()]);
  }
}

/** An orchestrator and its workers, all of them real processes on this machine. */
export class ChaosCluster implements AsyncDisposable {
  private constructor(
    readonly orchestrator: Process,
    readonly workers: readonly ChaosWorker[],
    /** Of the HTTP API. */
    readonly url: string,
    private readonly ownDirectory: string | null,
  ) {}

  static async start(options: ChaosClusterOptions): Promise<ChaosCluster> {
    const { model, workers, streams, contextTokens, isDeterministic } = options;
    const args = [
      ['serve', model, '--workers', '0', '--wait-for', String(workers), '--stages', String(workers)],
      ['--cluster-host', '127.0.0.1', '--port', '0', '--cluster-port', '0', '--kv-cache-type', 'f16'],
      ['--parallel', String(streams), '--ctx', String(contextTokens)],
      isDeterministic ? ['--deterministic'] : [],
      options.serve ?? [],
    ];
    const orchestrator = new Process(args.flat(), {
      env: { BUTTERFLY_TOKEN: token, BUTTERFLY_LOG: 'info' },
    });
    const [, url = ''] = await orchestrator.line(/^API on (\S+)\/v1/);
    const [, clusterPort] = await orchestrator.line(/--join HOST:(\d+)/);
    const ownDirectory = options.cacheDirectory ? null : await mkdtemp(join(tmpdir(), 'butterfly-chaos-'));
    const directory = options.cacheDirectory ?? ownDirectory ?? '';
    const all: ChaosWorker[] = [];
    for (let index = 1; index <= workers; index++)
      all.push(
        await ChaosWorker.create(index, Number(clusterPort), [
          ...['--cache-dir', join(directory, `worker-${index}`)],
          ...(options.worker ?? []),
        ]),
      );
    const cluster = new ChaosCluster(orchestrator, all, url, ownDirectory);
    for (const worker of all) worker.start();
    await orchestrator.line(/^Ready\.$/, 120_000);
    return cluster;
  }

  /** Plans that have been live so far. */
  get plans(): number {
    return this.orchestrator.lines.filter((line) => line.includes('The plan is live.')).length;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.orchestrator.stop();
    await Promise.all(this.workers.map((worker) => worker.close()));
    if (this.ownDirectory !== null) await rm(this.ownDirectory, { recursive: true, force: true });
  }
}
