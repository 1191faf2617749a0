import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { setTimeout as wait } from 'node:timers/promises';

const pollMs = 100;
/** After it, whoever does not end by itself is made to. */
const goodbyeMs = 30_000;
/** What of its standard error an error shows. */
const stderrCharacters = 2_000;
/** How long its last words may take after its end; a child of its own may hold on to where they are written. */
const lastWordsMs = 1_000;

/** A process that ends with this one. */
export class TiedChild implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #command: string;
  #stderr = '';
  /** How it ended; null while it runs. */
  #end: string | null = null;
  readonly #ended: Promise<void>;
  readonly #closed: Promise<void>;

  /** @param onLine hears each line of its standard output, which otherwise goes nowhere */
  constructor(program: string, args: readonly (string | number)[], onLine?: (line: string) => void) {
    this.#command = [program, ...args].join(' ');
    this.#child = spawn(program, args.map(String), { stdio: ['ignore', onLine ? 'pipe' : 'ignore', 'pipe'] });
    const kill = (): void => void this.#child.kill('SIGKILL');
    process.once('exit', kill);
    this.#ended = new Promise((resolve) => {
      const ended = (end: string): void => {
        this.#end ??= end;
        process.off('exit', kill);
        resolve();
      };
      this.#child.once('error', ({ message }) => ended(`could not be run: ${message}`));
      this.#child.once('exit', (code, signal) => ended(`ended with ${String(code ?? signal)}`));
    });
    this.#closed = new Promise((resolve) => void this.#child.once('close', () => resolve()));
    this.#child.stderr?.setEncoding('utf8').on('data', (chunk: string) => {
      this.#stderr = (this.#stderr + chunk).slice(-stderrCharacters);
    });
    if (onLine && this.#child.stdout) createInterface({ input: this.#child.stdout }).on('line', onLine);
  }

  /** 0 where it could not be run. */
  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** Resolves when it is ready. @throws Error with the end of what it wrote, when it ends before or takes too long */
  async until(isReady: () => boolean | Promise<boolean>, deadlineMs: number): Promise<void> {
    for (const endMs = performance.now() + deadlineMs; performance.now() < endMs;) {
      if (this.#end !== null) {
        await Promise.race([this.#closed, wait(lastWordsMs)]);
        throw this.#failure(this.#end);
      }
      if (await isReady()) return;
      await wait(pollMs);
    }
    throw this.#failure(`is not ready after ${deadlineMs} ms`);
  }

  /** Ends it at once. Resolves when it has ended. */
  async kill(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.#ended;
  }

  #failure(reason: string): Error {
    return new Error(`${this.#command} ${reason}.\n${this.#stderr}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#end !== null) return;
    this.#child.kill('SIGTERM');
    const kill = setTimeout(() => this.#child.kill('SIGKILL'), goodbyeMs);
    await this.#ended;
    clearTimeout(kill);
  }
}
