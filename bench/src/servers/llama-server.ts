import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { freePort } from '@butterfly/testkit';
import { CompletionClient } from '../load/completion-client.js';

const readyDeadlineMs = 300_000;
const pollMs = 100;
const host = '127.0.0.1';
/** What of its standard error an error shows. */
const stderrCharacters = 2_000;

export interface LlamaServerOptions {
  /** A folder with `llama-server`, and with `ggml-rpc-server` for several workers. */
  readonly binaries: string;
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
    private readonly children: readonly ChildProcess[],
    readonly client: CompletionClient,
  ) {}

  /** @throws Error with what it wrote, when it ends or is not ready in time */
  static async start(path: string, options: LlamaServerOptions): Promise<LlamaServer> {
    const { binaries, threads, workers, contextTokens, parallel } = options;
    const children: ChildProcess[] = [];
    const addresses: string[] = [];
    if (workers > 1)
      for (let index = 0; index < workers; index++) {
        const port = await freePort();
        addresses.push(`${host}:${port}`);
        children.push(start(join(binaries, 'ggml-rpc-server'), ['-H', host, '-p', port, '-t', threads]));
      }
    const port = await freePort();
    const remote = addresses.length > 0 ? ['--rpc', addresses.join(','), '-ngl', 99] : [];
    const server = start(join(binaries, 'llama-server'), [
      ...['-m', path, '--host', host, '--port', port, '-t', threads, '-tb', threads],
      ...['-c', contextTokens * parallel, '-np', parallel, ...remote],
    ]);
    children.push(server);
    try {
      await ready(server, `http://${host}:${port}/health`);
    } catch (thrown) {
      for (const child of children) child.kill('SIGKILL');
      throw thrown;
    }
    return new LlamaServer(children, new CompletionClient(`http://${host}:${port}`, false));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.client[Symbol.dispose]();
    for (const child of [...this.children].reverse()) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      child.kill('SIGTERM');
      await once(child, 'exit');
    }
  }
}

/** Whether a folder has what is asked of it. */
export function hasLlamaServer(binaries: string): boolean {
  return ['llama-server', 'ggml-rpc-server'].every((name) => existsSync(join(binaries, name)));
}

function start(program: string, args: readonly (string | number)[]): ChildProcess {
  const child = spawn(program, args.map(String), { stdio: ['ignore', 'ignore', 'pipe'] });
  const kill = (): void => void child.kill('SIGKILL');
  process.once('exit', kill);
  child.once('exit', () => process.off('exit', kill));
  return child;
}

async function ready(child: ChildProcess, url: string): Promise<void> {
  let stderr = '';
  child.stderr?.setEncoding('utf8').on('data', (chunk: string) => {
    stderr = (stderr + chunk).slice(-stderrCharacters);
  });
  for (const endMs = performance.now() + readyDeadlineMs; performance.now() < endMs;) {
    if (child.exitCode !== null) throw new Error(`llama-server ended with ${child.exitCode}.\n${stderr}`);
    const answer = await fetch(url).catch(() => null);
    if (answer?.ok === true) return;
    await new Promise((resolve) => setTimeout(resolve, pollMs));
  }
  throw new Error(`llama-server is not ready after ${readyDeadlineMs} ms.\n${stderr}`);
}
