import { childProcessIds, residentBytes } from '@butterfly/testkit';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { CompletionClient } from '../load/completion-client.js';

const main = fileURLToPath(new URL('../../../packages/cli/dist/main.js', import.meta.url));
const readyDeadlineMs = 300_000;
/** What of its standard error an error shows. */
const stderrCharacters = 2_000;

export interface ServeOptions {
  readonly workers: number;
  /** Of each worker. */
  readonly threads: number;
  /** Of one request. */
  readonly contextTokens: number;
  readonly parallel: number;
  /** Further arguments of `butterfly serve`. */
  readonly more?: readonly string[];
}

/** `butterfly serve` as users run it: the built command with worker processes of its own, reached over HTTP. */
export class ServeProcess implements AsyncDisposable {
  private constructor(
    private readonly child: ChildProcess,
    readonly url: string,
    readonly client: CompletionClient,
  ) {}

  /** @throws Error with what the command wrote, when it ends or is not ready in time */
  static async start(path: string, options: ServeOptions): Promise<ServeProcess> {
    const args = [
      ['serve', path, '--port', '0', '--cluster-port', '0'],
      ['--workers', String(options.workers), '--threads', String(options.threads)],
      ['--ctx', String(options.contextTokens), '--parallel', String(options.parallel)],
      options.more ?? [],
    ].flat();
    const child = spawn(process.execPath, [main, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
    const kill = (): void => void child.kill('SIGKILL');
    process.once('exit', kill);
    child.once('exit', () => process.off('exit', kill));
    try {
      const url = await readyUrl(child, args.join(' '));
      return new ServeProcess(child, url, new CompletionClient(url));
    } catch (thrown) {
      kill();
      throw thrown;
    }
  }

  /** Resident memory of the orchestrator and of all workers together. */
  memory(): { readonly orchestratorBytes: number; readonly workersBytes: number } {
    const pid = this.child.pid ?? 0;
    return {
      orchestratorBytes: residentBytes(pid),
      workersBytes: childProcessIds(pid).reduce((sum, worker) => sum + residentBytes(worker), 0),
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.client[Symbol.dispose]();
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    this.child.kill('SIGTERM');
    await once(this.child, 'exit');
  }
}

/** Waits until the model can be asked; gives the address of the API. */
function readyUrl(child: ChildProcess, command: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let url = '';
    let stderr = '';
    const fail = (reason: string): void => {
      clearTimeout(deadline);
      reject(new Error(`butterfly ${command}: ${reason}\n${stderr}`));
    };
    const deadline = setTimeout(() => fail(`it is not ready after ${readyDeadlineMs} ms`), readyDeadlineMs);
    child.stderr?.setEncoding('utf8').on('data', (chunk: string) => {
      stderr = (stderr + chunk).slice(-stderrCharacters);
    });
    child.once('error', ({ message }) => fail(message));
    child.once('exit', (code, signal) => fail(`it ended with ${String(code ?? signal)}`));
    if (child.stdout)
      createInterface({ input: child.stdout }).on('line', (line) => {
        url = /^API on (\S+)\/v1/.exec(line)?.[1] ?? url;
        if (line !== 'Ready.') return;
        clearTimeout(deadline);
        resolve(url);
      });
  });
}
