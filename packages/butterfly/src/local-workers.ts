import { type ButterflyError, type Observer, formatAddress } from '@butterfly/common';
import type { ExpertWish } from '@butterfly/planning';
import type { LogFormat } from './log-formats.js';
import { managements, WorkerProcesses, type WorkerProgram } from './worker-processes.js';

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

/** Where this machine itself reaches what listens on every address. */
const loopbackOf: ReadonlyMap<string, string> = new Map([
  ['0.0.0.0', '127.0.0.1'],
  ['::', '::1'],
]);

/** The worker processes of `serve`, which are its own machine's part of the cluster. */
export class LocalWorkers {
  readonly #processes: WorkerProcesses;

  constructor(private readonly options: LocalWorkersOptions) {
    const { program, token, observe, onGivenUp } = options;
    this.#processes = new WorkerProcesses({
      program,
      management: managements.byServer,
      token,
      workers: options.devices.map((device, index) => {
        const name = `local-${index + 1}`;
        return { name, device, args: this.#argumentsOf(name, device, options.cpus?.[index]) };
      }),
      observe,
      onGivenUp,
    });
  }

  /** Ends all of them, once the orchestrator has said goodbye; whoever does not go is killed. */
  stop(): Promise<void> {
    return this.#processes.stop();
  }

  #argumentsOf(name: string, device: string, cpus: readonly number[] | undefined): string[] {
    const { clusterHost, clusterPort, threads, awake, memoryBytes, experts } = this.options;
    const { cacheDirectory, cacheBytes, logFormat } = this.options;
    return [
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
