import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { type ButterflyError, type Observer, formatAddress } from '@butterfly/common';
import type { ExpertWish } from '@butterfly/planning';
import { lastingError, listenToLastWords } from './last-words.js';
import type { LogFormat } from './log-formats.js';

/** What is run as a local worker, with `worker` and its options behind it. */
export interface WorkerProgram {
  /** Of JavaScript. */
  readonly script: string;
  /** What it inherits of the environment. */
  readonly environment: Readonly<Record<string, string | undefined>>;
}

export interface LocalWorkersOptions {
  readonly program: WorkerProgram;
  /** Where each of them computes, as `listDevices` calls it. */
  readonly devices: readonly string[];
  /** Where the orchestrator listens for workers. */
  readonly clusterHost: string;
  readonly clusterPort: number;
  /** With which they join: told to none but them. */
  readonly token: string;
  /** Whether the cluster has no certificates. */
  readonly isInsecure: boolean;
  readonly threads: number;
  /** CPUs of each, to which it is pinned; null leaves that to the system. */
  readonly cpus: readonly (readonly number[])[] | null;
  /** Whether they keep the cores from deep sleep while steps come and go. */
  readonly awake: boolean;
  /** Of each; undefined leaves it to them, and to the planner how they share what all of them offer. */
  readonly memoryBytes: number | undefined;
  /** Where those on cards have the experts of a model; undefined for their default. */
  readonly experts?: ExpertWish | undefined;
  /** Where they keep weights from elsewhere and measurements, and how much; undefined for their defaults. */
  readonly cacheDirectory?: string | undefined;
  readonly cacheBytes?: number | undefined;
  /** How they write their log lines; undefined leaves that to the environment. */
  readonly logFormat?: LogFormat | undefined;
  readonly observe: Observer;
  /** A worker ended too often, or for a reason that will stay, which is given; the others go on. */
  readonly onGivenUp: (name: string, lasting: ButterflyError | null) => void;
}

/** A worker that ends is started again, this often at most, with a pause that doubles. */
const restartsMax = 5;
const firstPauseMs = 250;
/** A worker that ran this long starts with a clean slate. */
const healthyMs = 60_000;
const killAfterMs = 5_000;

/** Where this machine itself reaches what listens on every address. */
const loopbackOf: ReadonlyMap<string, string> = new Map([
  ['0.0.0.0', '127.0.0.1'],
  ['::', '::1'],
]);

/** Worker processes on this machine: started, restarted when they die, and stopped with their parent. */
export class LocalWorkers {
  readonly #children = new Set<ChildProcess>();
  readonly #timers = new Set<NodeJS.Timeout>();
  #stopping = false;

  constructor(private readonly options: LocalWorkersOptions) {
    for (let index = 1; index <= options.devices.length; index++) this.#start(index, 0);
  }

  /** Ends all of them, once the orchestrator has said goodbye; whoever does not go is killed. */
  async stop(): Promise<void> {
    this.#stopping = true;
    for (const timer of this.#timers) clearTimeout(timer);
    const exits = [...this.#children].map(async (child) => {
      // For one that has not joined yet.
      child.kill('SIGTERM');
      const timer = setTimeout(() => child.kill('SIGKILL'), killAfterMs);
      if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
      clearTimeout(timer);
    });
    await Promise.all(exits);
  }

  #start(index: number, restarts: number): void {
    const name = `local-${index}`;
    const { program, token } = this.options;
    const child = spawn(
      process.execPath,
      [...process.execArgv, program.script, ...this.#argumentsOf(name, index)],
      {
        stdio: ['pipe', 'ignore', 'inherit', 'ipc'],
        env: {
          ...program.environment,
          // What opens a hub is of no use to a worker.
          HF_TOKEN: undefined,
          HUGGING_FACE_HUB_TOKEN: undefined,
          BUTTERFLY_TOKEN: undefined,
          BUTTERFLY_MANAGED: '1',
        },
        windowsHide: true,
      },
    );
    this.#children.add(child);
    // Neither the environment nor the command line of a process is hidden from others. One that ends at once reads nothing.
    child.stdin?.on('error', () => undefined);
    child.stdin?.end(`${token}\n`);
    this.options.observe({ kind: 'localWorkerStarted', name, workerPid: child.pid });
    const startedMs = performance.now();
    const lastWords = listenToLastWords(child);
    // Unlike `exit`, it comes after all that the child has said.
    child.once('close', (code, signal) => {
      this.#children.delete(child);
      if (this.#stopping) return;
      if (code === 0) {
        this.options.observe({ kind: 'localWorkerSentAway', name });
        return;
      }
      const count = performance.now() - startedMs > healthyMs ? 0 : restarts;
      const told = lastWords();
      const lasting = lastingError(told, signal);
      if (!lasting)
        this.options.observe({
          kind: 'localWorkerEnded',
          name,
          code,
          signal,
          restarts: count,
          ...(told ? { error: told.message } : {}),
        });
      if (lasting || count >= restartsMax) {
        this.options.onGivenUp(name, lasting);
        return;
      }
      const timer = setTimeout(
        () => {
          this.#timers.delete(timer);
          this.#start(index, count + 1);
        },
        firstPauseMs * 2 ** count,
      );
      this.#timers.add(timer);
    });
  }

  #argumentsOf(name: string, index: number): string[] {
    const { clusterHost, clusterPort, threads, awake, memoryBytes, experts } = this.options;
    const { cacheDirectory, cacheBytes, logFormat } = this.options;
    const cpus = this.options.cpus?.[index - 1];
    const device = this.options.devices[index - 1] ?? 'cpu';
    return [
      'worker',
      '--join',
      formatAddress({ host: loopbackOf.get(clusterHost) ?? clusterHost, port: clusterPort }),
      // Workers from elsewhere must reach the local ones wherever they reach the orchestrator.
      '--data-host',
      clusterHost,
      '--token-file',
      '-',
      ...(this.options.isInsecure ? ['--insecure', 'anywhere'] : []),
      '--name',
      name,
      '--device',
      device,
      '--threads',
      String(threads),
      ...(memoryBytes === undefined ? [] : ['--memory', String(memoryBytes)]),
      ...(experts === undefined || device === 'cpu' ? [] : ['--experts', experts]),
      ...(cpus ? ['--cpus', cpus.join()] : []),
      ...(awake ? [] : ['--no-awake']),
      ...(cacheDirectory === undefined ? [] : ['--cache-dir', cacheDirectory]),
      ...(cacheBytes === undefined ? [] : ['--cache-bytes', String(cacheBytes)]),
      ...(logFormat === undefined ? [] : ['--log-format', logFormat]),
    ];
  }
}
