import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const main = fileURLToPath(new URL('../../packages/cli/dist/main.js', import.meta.url));
/** Lines that are kept for the report of what failed. */
const linesMax = 1_000;
const running = new Set<ChildProcess>();
process.once('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

/** The `butterfly` command as a child process. */
export class Process {
  readonly lines: string[] = [];
  readonly #child: ChildProcess;
  readonly #exited: Promise<unknown>;
  #wake: () => void = () => undefined;

  /** @param options.namespace the network namespace that it runs in; script: another one than the command's */
  constructor(
    readonly args: readonly string[],
    options: {
      readonly env?: Readonly<Record<string, string>>;
      readonly namespace?: string;
      readonly script?: string;
    } = {},
  ) {
    const { env, namespace, script = main } = options;
    const prefix = namespace === undefined ? [] : ['ip', 'netns', 'exec', namespace];
    const [command = '', ...rest] = [...prefix, process.execPath, script, ...args];
    const child = spawn(command, rest, {
      env: { ...process.env, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#child = child;
    running.add(child);
    this.#exited = once(child, 'exit').then(() => running.delete(child));
    for (const stream of [child.stdout, child.stderr])
      createInterface({ input: stream }).on('line', (line) => {
        this.lines.push(line);
        if (this.lines.length > linesMax) this.lines.shift();
        this.#wake();
      });
    child.once('exit', () => this.#wake());
  }

  get isRunning(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** Ends it at once, as when the power fails. */
  async kill(): Promise<void> {
    this.signal('SIGKILL');
    await this.#exited;
  }

  /** Asks it to end, and kills it when it does not. */
  async stop(timeoutMs = 15_000): Promise<void> {
    this.signal('SIGCONT');
    this.signal('SIGTERM');
    const timer = setTimeout(() => this.signal('SIGKILL'), timeoutMs);
    await this.#exited;
    clearTimeout(timer);
  }

  /** The first match of a line. @throws Error with what it said, when it ends or says nothing like it in time */
  async line(pattern: RegExp, timeoutMs = 60_000): Promise<RegExpExecArray> {
    const endMs = performance.now() + timeoutMs;
    for (;;) {
      for (const line of this.lines) {
        const match = pattern.exec(line);
        if (match) return match;
      }
      const leftMs = endMs - performance.now();
      if (!this.isRunning || leftMs <= 0)
        throw new Error(
          [
            `butterfly ${this.args.join(' ')}: no ${String(pattern)} within ${timeoutMs} ms`,
            ...this.lines,
          ].join('\n'),
        );
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, leftMs);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }
}
