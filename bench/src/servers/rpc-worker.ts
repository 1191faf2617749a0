import { connect } from 'node:net';
import { freePort } from '@butterfly/testkit';
import { TiedChild } from '../processes/tied-child.js';

const host = '127.0.0.1';
const readyDeadlineMs = 30_000;

/** llama.cpp's worker: it computes for one server at a time, over links in the clear. */
export class RpcWorker implements AsyncDisposable {
  private constructor(
    private readonly child: TiedChild,
    /** HOST:PORT, as `llama-server --rpc` takes it. */
    readonly address: string,
  ) {}

  /**
   * @param program `ggml-rpc-server`
   * @throws Error with what it wrote, when it ends or does not listen in time
   */
  static async start(program: string, threads: number): Promise<RpcWorker> {
    const port = await freePort();
    const child = new TiedChild(program, ['-H', host, '-p', port, '-t', threads]);
    try {
      // The server does not try twice: it aborts where nobody listens.
      await child.until(() => isListening(port), readyDeadlineMs);
    } catch (thrown) {
      await child[Symbol.asyncDispose]();
      throw thrown;
    }
    return new RpcWorker(child, `${host}:${port}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.child[Symbol.asyncDispose]();
  }
}

function isListening(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, host, () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}
