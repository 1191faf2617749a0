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
  readonly #ended: Promise<unknown>;
  readonly #listeners = new Set<(line: string) => void>();

  /** @param options.namespace the network namespace that it runs in; script: another one than the command's; node: options of Node */
  constructor(
    readonly args: readonly string[],
    options: {
      readonly env?: Readonly<Record<string, string>>;
      readonly namespace?: string;
      readonly script?: string;
      readonly node?: readonly string[];
    } = {},
  ) {
    const { env, namespace, script = main, node = [] } = options;
    const prefix = namespace === undefined ? [] : ['ip', 'netns', 'exec', namespace];
    const [command = '', ...rest] = [...prefix, process.execPath, ...node, script, ...args];
    const child = spawn(command, rest, {
      env: { ...process.env, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#child = child;
    running.add(child);
    // Once all that it said has been read.
    this.#ended = once(child, 'close').then(() => running.delete(child));
    for (const stream of [child.stdout, child.stderr])
      createInterface({ input: stream }).on('line', (line) => {
        this.lines.push(line);
        if (this.lines.length > linesMax) this.lines.shift();
        for (const listener of this.#listeners) listener(line);
      });
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  get isRunning(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** Tells of every line from now on, until the returned function is called. */
  onLine(listener: (line: string) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** Ends it at once, as when the power fails. */
  async kill(): Promise<void> {
    this.signal('SIGKILL');
    await this.#ended;
  }

  /** Asks it to end, and kills it when it does not. */
  async stop(timeoutMs = 15_000): Promise<void> {
    this.signal('SIGCONT');
    this.signal('SIGTERM');
    const timer = setTimeout(() => this.signal('SIGKILL'), timeoutMs);
    await this.#ended;
    clearTimeout(timer);
  }

  /** The first match of a line. @throws Error with what it said, when it ends or says nothing like it in time */
  async line(pattern: RegExp, timeoutMs = 120_000): Promise<RegExpExecArray> {
    for (const line of this.lines) {
      const match = pattern.exec(line);
      if (match) return match;
    }
    const match = await this.nextLine(pattern, timeoutMs);
    if (match) return match;
    const missing = `butterfly ${this.args.join(' ')}: no ${String(pattern)} within ${timeoutMs} ms`;
    throw new Error([missing, ...this.lines].join('\n'));
  }

  /** The first match of a line that is still to come; null when it ends or says nothing like it in time. */
  nextLine(pattern: RegExp, timeoutMs: number): Promise<RegExpExecArray | null> {
    return new Promise((resolve) => {
      const finish = (match: RegExpExecArray | null): void => {
        clearTimeout(timer);
        forget();
        resolve(match);
      };
      const timer = setTimeout(() => finish(null), timeoutMs);
      const forget = this.onLine((line) => {
        const match = pattern.exec(line);
        if (match) finish(match);
      });
      void this.#ended.then(() => finish(null));
    });
  }

  /** Whether it ends by itself in time. */
  async endsWithin(timeoutMs: number): Promise<boolean> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<false>((resolve) => (timer = setTimeout(() => resolve(false), timeoutMs)));
    const isEnded = await Promise.race([this.#ended.then(() => true), late]);
    clearTimeout(timer);
    return isEnded;
  }
}
