import { freePort } from '@butterfly/testkit';
import { CompletionClient } from '../load/completion-client.js';
import { TiedChild } from '../processes/tied-child.js';
import type { LlamaBinaries } from './binaries.js';
import { RpcWorker } from './rpc-worker.js';

const readyDeadlineMs = 300_000;
const host = '127.0.0.1';

export interface LlamaServerOptions {
  readonly binaries: LlamaBinaries;
  /** Of the server, or of each of its workers. */
  readonly threads: number;
  /** 1, or as many RPC servers as share the layers. */
  readonly workers: number;
  /** Of one request. */
  readonly contextTokens: number;
  readonly parallel: number;
}

/** llama.cpp's own server as its users run it, reached over HTTP. */
export class LlamaServer implements AsyncDisposable {
  private constructor(
    /** In the order in which they were started. */
    private readonly processes: readonly AsyncDisposable[],
    readonly client: CompletionClient,
  ) {}

  /** @throws Error with what it wrote, when it ends or is not ready in time */
  static async start(path: string, options: LlamaServerOptions): Promise<LlamaServer> {
    const processes: AsyncDisposable[] = [];
    try {
      const addresses: string[] = [];
      for (let index = 0; options.workers > 1 && index < options.workers; index++) {
        const worker = await RpcWorker.start(options.binaries.rpcWorker, options.threads);
        processes.push(worker);
        addresses.push(worker.address);
      }
      const port = await freePort();
      const server = new TiedChild(options.binaries.server, serverArguments(path, options, port, addresses));
      processes.push(server);
      const url = `http://${host}:${port}`;
      await server.until(() => isWell(`${url}/health`), readyDeadlineMs);
      return new LlamaServer(processes, new CompletionClient(url, false));
    } catch (thrown) {
      await endAll(processes);
      throw thrown;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.client[Symbol.dispose]();
    await endAll(this.processes);
  }
}

function serverArguments(
  path: string,
  { threads, contextTokens, parallel }: LlamaServerOptions,
  port: number,
  workers: readonly string[],
): (string | number)[] {
  const remote = workers.length > 0 ? ['--rpc', workers.join(','), '-ngl', 99] : [];
  return [
    ...['-m', path, '--host', host, '--port', port, '-t', threads, '-tb', threads],
    ...['-c', contextTokens * parallel, '-np', parallel, ...remote],
  ];
}

async function isWell(url: string): Promise<boolean> {
  return (await fetch(url).catch(() => null))?.ok === true;
}

/** The server before its workers, without which it aborts. */
async function endAll(processes: readonly AsyncDisposable[]): Promise<void> {
  for (const each of processes.toReversed()) await each[Symbol.asyncDispose]();
}
