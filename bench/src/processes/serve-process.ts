import { childProcessIds, residentBytes } from '@butterfly/testkit';
import { fileURLToPath } from 'node:url';
import { CompletionClient } from '../load/completion-client.js';
import { TiedChild } from './tied-child.js';

const main = fileURLToPath(new URL('../../../packages/cli/dist/main.js', import.meta.url));
const readyDeadlineMs = 300_000;

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
    private readonly child: TiedChild,
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
    let url = '';
    let isReady = false;
    const child = new TiedChild(process.execPath, [main, ...args], (line) => {
      url = /^API on (\S+)\/v1/.exec(line)?.[1] ?? url;
      isReady ||= line === 'Ready.';
    });
    try {
      await child.until(() => isReady, readyDeadlineMs);
    } catch (thrown) {
      await child[Symbol.asyncDispose]();
      throw thrown;
    }
    return new ServeProcess(child, url, new CompletionClient(url));
  }

  /** Resident memory of the orchestrator and of all workers together. */
  memory(): { readonly orchestratorBytes: number; readonly workersBytes: number } {
    const { pid } = this.child;
    return {
      orchestratorBytes: residentBytes(pid),
      workersBytes: childProcessIds(pid).reduce((sum, worker) => sum + residentBytes(worker), 0),
    };
  }

  /** Ends it at once, as a crash does. */
  kill(): Promise<void> {
    return this.child.kill();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.client[Symbol.dispose]();
    await this.child[Symbol.asyncDispose]();
  }
}
