import { type ChildProcessByStdio, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import type { Readable, Writable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const main = fileURLToPath(new URL('../../dist/main.js', import.meta.url));
const deadlineMs = 60_000;
const pollMs = 20;

/** Whether this machine has the program that makes pseudo-terminals (util-linux). */
export const hasPseudoTerminals = spawnSync('script', ['--version']).status === 0;

/** How a command on a terminal ended. */
export interface TerminalRun {
  readonly code: number | null;
  /** All that the terminal was sent, byte by byte, from both streams. */
  readonly output: string;
}

/** A command line that starts `butterfly` as the tests have it built. */
export function shellCommand(args: readonly string[], path = main): string {
  return [process.execPath, path, ...args].map((word) => `'${word.replaceAll("'", `'\\''`)}'`).join(' ');
}

/** Without what would change what a command says. */
function terminalEnvironment(env: Readonly<Record<string, string>>): Record<string, string | undefined> {
  const inherited = Object.entries(process.env).filter(
    ([name]) => !name.startsWith('BUTTERFLY_') && !['NO_COLOR', 'FORCE_COLOR'].includes(name),
  );
  return { ...Object.fromEntries(inherited), TERM: 'xterm-256color', SHELL: '/bin/sh', ...env };
}

/** Starts a shell command on a pseudo-terminal of its own, at which nobody types. */
export function startInTerminal(command: string, env: Readonly<Record<string, string>> = {}) {
  return spawn('script', ['-qec', command, '/dev/null'], {
    env: terminalEnvironment(env),
    stdio: ['ignore', 'pipe', 'inherit'],
  });
}

/** Runs a command on a pseudo-terminal to its end. */
export async function runInTerminal(
  command: string,
  env: Readonly<Record<string, string>> = {},
): Promise<TerminalRun> {
  const child = startInTerminal(command, env);
  const timer = setTimeout(() => child.kill('SIGKILL'), deadlineMs);
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text));
  const [code] = (await once(child, 'close')) as [number | null];
  clearTimeout(timer);
  return { code, output };
}

/** A command on a pseudo-terminal, and somebody who reads and types. */
export class Conversation {
  /** All that the terminal was sent so far. */
  output = '';
  readonly #child: ChildProcessByStdio<Writable, Readable, null>;
  readonly #closed: Promise<number | null>;
  #readTo = 0;

  constructor(command: string, env: Readonly<Record<string, string>> = {}) {
    this.#child = spawn('script', ['-qec', command, '/dev/null'], {
      env: terminalEnvironment(env),
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    this.#child.stdout.setEncoding('utf8').on('data', (text: string) => (this.output += text));
    this.#closed = once(this.#child, 'close').then(([code]) => code as number | null);
  }

  /** Waits for what comes after all that was waited for before, and then types. */
  async answer(question: RegExp, text: string): Promise<RegExpExecArray> {
    const endMs = performance.now() + deadlineMs;
    for (;;) {
      const found = question.exec(this.output.slice(this.#readTo));
      if (found) {
        this.#readTo += found.index + found[0].length;
        this.#child.stdin.write(text);
        return found;
      }
      if (this.#child.exitCode !== null || performance.now() > endMs) {
        this.#child.kill('SIGKILL');
        throw new Error(`There was no ${String(question)} in: ${this.output}`);
      }
      await sleep(pollMs);
    }
  }

  /** How it ended by itself. */
  async ended(): Promise<TerminalRun> {
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), deadlineMs);
    const code = await this.#closed;
    clearTimeout(timer);
    return { code, output: this.output };
  }
}
