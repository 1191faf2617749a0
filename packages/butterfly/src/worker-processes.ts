import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { type ButterflyError, type Observer, exitCodes } from '@butterfly/common';
import { deviceFault, lastingError, listenToLastWords } from './last-words.js';

/** What is run as a local worker, with `worker` and its options behind it. */
export interface WorkerProgram {
  /** Of JavaScript. */
  readonly script: string;
  /** Options of Node before it. */
  readonly execArgv: readonly string[];
  /** What it inherits of the environment. */
  readonly environment: Readonly<Record<string, string | undefined>>;
}

/**
 * What BUTTERFLY_MANAGED tells a worker of who started it: `serve`, whose orchestrator sends its workers away; or a worker for
 * several devices, which asks for their end.
 */
export const managements = { byServer: '1', inCrew: 'crew' } as const;

/** A process to be kept up. */
export interface WorkerProcess {
  /** For the log. */
  readonly name: string;
  /** Where it computes. */
  readonly device: string;
  /** Behind `worker`. */
  readonly args: readonly string[];
}

export interface WorkerProcessesOptions {
  readonly program: WorkerProgram;
  readonly workers: readonly WorkerProcess[];
  readonly management: (typeof managements)[keyof typeof managements];
  /** With which they join, told to none but them; null for workers that have certificates. */
  readonly token: string | null;
  readonly observe: Observer;
  /** A worker ended too often, or for a reason that will stay, which is given; the others go on. */
  readonly onGivenUp: (name: string, lasting: ButterflyError | null) => void;
  /** A worker has ended in order: its orchestrator has sent it away, or somebody asked it to. */
  readonly onSentAway?: (name: string) => void;
}

/** A worker that ends is started again, this often at most, with a pause that doubles. */
const restartsMax = 5;
const firstPauseMs = 250;
/** A worker that ran this long starts with a clean slate. */
const healthyMs = 60_000;
const killAfterMs = 5_000;

/** Worker processes on this machine: started, restarted when they die, and stopped with their parent. */
export class WorkerProcesses {
  readonly #children = new Set<ChildProcess>();
  readonly #timers = new Set<NodeJS.Timeout>();
  #stopping = false;

  constructor(private readonly options: WorkerProcessesOptions) {
    for (const worker of options.workers) this.#start(worker, 0);
  }

  /** Asks all of them to end, and resolves once they have; whoever does not go is killed. */
  async stop(): Promise<void> {
    this.#stopping = true;
    for (const timer of this.#timers) clearTimeout(timer);
    const exits = [...this.#children].map(async (child) => {
      this.#askToEnd(child);
      const timer = setTimeout(() => child.kill('SIGKILL'), killAfterMs);
      if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
      clearTimeout(timer);
    });
    await Promise.all(exits);
  }

  #askToEnd(child: ChildProcess): void {
    // One in a crew may have had the signal of the terminal already, of which a second one would end it at once.
    if (this.options.management === managements.inCrew && child.connected) child.disconnect();
    // For one that has not joined yet.
    else child.kill('SIGTERM');
  }

  #start(worker: WorkerProcess, restarts: number): void {
    const { name } = worker;
    const { program, management, token } = this.options;
    const tokenArgs = token === null ? [] : ['--token-file', '-'];
    const args = [...program.execArgv, program.script, 'worker', ...worker.args, ...tokenArgs];
    const child = spawn(process.execPath, args, {
      stdio: ['pipe', management === managements.inCrew ? 'inherit' : 'ignore', 'inherit', 'ipc'],
      env: {
        ...program.environment,
        // What opens a hub is of no use to a worker.
        HF_TOKEN: undefined,
        HUGGING_FACE_HUB_TOKEN: undefined,
        BUTTERFLY_TOKEN: undefined,
        BUTTERFLY_MANAGED: management,
      },
      windowsHide: true,
    });
    this.#children.add(child);
    // Neither the environment nor the command line of a process is hidden from others. One that ends at once reads nothing.
    child.stdin?.on('error', () => undefined);
    child.stdin?.end(token ?? '');
    this.options.observe({ kind: 'localWorkerStarted', name, workerPid: child.pid });
    const startedMs = performance.now();
    const lastWords = listenToLastWords(child);
    // Unlike `exit`, it comes after all that the child has said.
    child.once('close', (code, signal) => {
      this.#children.delete(child);
      if (this.#stopping) return;
      if (code === 0) {
        this.options.observe({ kind: 'localWorkerSentAway', name });
        this.options.onSentAway?.(name);
        return;
      }
      const count = performance.now() - startedMs > healthyMs ? 0 : restarts;
      this.#startAgain(worker, count, { code, signal, told: lastWords() });
    });
  }

  /** One in a crew dials its orchestrator for as long as that is wanted, so that a failure to reach it is its last word. */
  #givenUpByItself(told: ButterflyError | null): ButterflyError | null {
    const isFinal = this.options.management === managements.inCrew && told !== null;
    return isFinal && told.kind.exitCode === exitCodes.network ? told : null;
  }

  #startAgain(
    worker: WorkerProcess,
    restarts: number,
    {
      code,
      signal,
      told,
    }: {
      readonly code: number | null;
      readonly signal: NodeJS.Signals | null;
      readonly told: ButterflyError | null;
    },
  ): void {
    const { name, device } = worker;
    const reason = told ?? deviceFault(device, { code, signal });
    const lasting = lastingError(told, signal) ?? this.#givenUpByItself(told);
    if (!lasting)
      this.options.observe({
        kind: 'localWorkerEnded',
        name,
        code,
        signal,
        restarts,
        ...(reason ? { error: reason.message } : {}),
      });
    if (lasting || restarts >= restartsMax) {
      this.options.onGivenUp(name, lasting ?? (told ? null : reason));
      return;
    }
    const timer = setTimeout(
      () => {
        this.#timers.delete(timer);
        this.#start(worker, restarts + 1);
      },
      firstPauseMs * 2 ** restarts,
    );
    this.#timers.add(timer);
  }
}
