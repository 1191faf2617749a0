import { spawn, type ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const main = fileURLToPath(new URL('../../dist/main.js', import.meta.url));
/** Generous, since machines may be slow and have other work: it only bounds a test that fails. */
const deadlineMs = 120_000;
const running = new Set<ChildProcess>();
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

/** How a process ended: one of the two is null. */
export interface Ending {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** A line of the structured log. */
export type LogRecord = Readonly<Record<string, unknown>> & { readonly msg: string; readonly pid: number };

/** The `butterfly` command as a child process, with all that it says. */
export class Butterfly implements AsyncDisposable {
  readonly stdout: string[] = [];
  readonly stderr: string[] = [];
  readonly #child: ChildProcess;
  readonly #wakes = new Set<() => void>();
  #exit: Ending | null = null;
  #isClosed = false;

  constructor(
    args: readonly string[],
    options: {
      readonly cwd?: string;
      readonly env?: Readonly<Record<string, string>>;
      /** Another script than the command that was built here. */
      readonly program?: string;
    } = {},
  ) {
    const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith('BUTTERFLY_'));
    const child = spawn(process.execPath, [options.program ?? main, ...args], {
      cwd: options.cwd,
      env: { ...Object.fromEntries(inherited), ...options.env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#child = child;
    running.add(child);
    createInterface({ input: child.stdout }).on('line', (line) =>
      this.#changed(() => this.stdout.push(line)),
    );
    createInterface({ input: child.stderr }).on('line', (line) =>
      this.#changed(() => this.stderr.push(line)),
    );
    child.once('exit', (code, signal) => {
      running.delete(child);
      this.#changed(() => (this.#exit = { code, signal }));
    });
    child.once('close', () => this.#changed(() => (this.#isClosed = true)));
  }

  /** Null while it runs. */
  get ending(): Ending | null {
    return this.#exit;
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** What `BUTTERFLY_LOG` brought: the lines of this process and of the workers that it started. */
  records(message: string): LogRecord[] {
    const parsed = this.stderr
      .filter((line) => line.startsWith('{'))
      .map((line) => JSON.parse(line) as LogRecord);
    return parsed.filter(({ msg }) => msg === message);
  }

  kill(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** Stops reading, as `head` does after its lines. */
  closeStdout(): void {
    this.#child.stdout?.destroy();
  }

  /** Waits for a line of the standard output and gives its match. */
  line(pattern: RegExp): Promise<RegExpExecArray> {
    return this.until(String(pattern), () => {
      for (const line of this.stdout) {
        const match = pattern.exec(line);
        if (match) return match;
      }
      return null;
    });
  }

  /** Waits until the probe, tried after each line and at the end, gives something. */
  async until<T>(what: string, probe: () => T | null): Promise<T> {
    for (;;) {
      const found = probe();
      if (found !== null) return found;
      if (this.#isClosed) throw this.#failure(`it ended without ${what}`);
      await this.#change(what);
    }
  }

  /** The end of the process and of every worker that it started, since those hold its standard error open. */
  ended(): Promise<Ending> {
    return this.until('the end of all its processes', () => (this.#isClosed ? this.#exit : null));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.kill('SIGKILL');
    await this.ended();
  }

  #changed(apply: () => void): void {
    apply();
    for (const wake of this.#wakes) wake();
    this.#wakes.clear();
  }

  #change(what: string): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(this.#failure(`there was no ${what} in time`)), deadlineMs);
      this.#wakes.add(() => {
        clearTimeout(timer);
        resolve();
      });
    });
  }

  #failure(reason: string): Error {
    const { spawnargs } = this.#child;
    return new Error(
      [
        `${spawnargs.slice(2).join(' ')}: ${reason}.`,
        ...this.stdout,
        ...this.stderr,
        JSON.stringify(this.#exit),
      ].join('\n'),
    );
  }
}

/** Runs a command that ends by itself. */
export async function run(
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<Ending & Pick<Butterfly, 'stdout' | 'stderr'>> {
  await using butterfly = new Butterfly(args, { env });
  const ending = await butterfly.ended();
  return { ...ending, stdout: butterfly.stdout, stderr: butterfly.stderr };
}
