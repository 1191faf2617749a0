import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

const main = fileURLToPath(new URL('../../dist/main.js', import.meta.url));
const deadlineMs = 60_000;

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

/** Starts a shell command on a pseudo-terminal of its own. */
export function startInTerminal(command: string, env: Readonly<Record<string, string>> = {}) {
  const inherited = Object.entries(process.env).filter(
    ([name]) => !name.startsWith('BUTTERFLY_') && !['NO_COLOR', 'FORCE_COLOR'].includes(name),
  );
  return spawn('script', ['-qec', command, '/dev/null'], {
    env: { ...Object.fromEntries(inherited), TERM: 'xterm-256color', SHELL: '/bin/sh', ...env },
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
