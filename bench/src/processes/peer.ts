import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { OracleBatchOptions } from '@butterfly/testkit';
import type { LoadPattern, LoadRun } from '../load/run-load.js';
import type { TokenRequest } from '../load/traffic.js';
import type { PeerAnswer, PeerOrder } from './peer-messages.js';

/**
 * llama.cpp's continuous batching in a process of its own. It is driven there, without HTTP or text, which spares it
 * what our side pays.
 */
export class Peer implements AsyncDisposable {
  readonly #waiting = new Map<
    number,
    { readonly resolve: (run: LoadRun) => void; readonly reject: (error: Error) => void }
  >();
  #nextId = 1;

  private constructor(private readonly child: ChildProcess) {
    child.on('message', (answer: PeerAnswer) => {
      const waiting = this.#waiting.get(answer.id);
      this.#waiting.delete(answer.id);
      if (answer.kind === 'run') waiting?.resolve(answer.run);
      else waiting?.reject(new Error(`The peer failed: ${answer.message}`));
    });
    child.once('exit', (code, signal) => {
      for (const { reject } of this.#waiting.values())
        reject(new Error(`The peer ended with ${String(code ?? signal)}.`));
      this.#waiting.clear();
    });
  }

  static start(path: string): Peer {
    const main = fileURLToPath(new URL('peer-main.js', import.meta.url));
    return new Peer(fork(main, [path]));
  }

  /** One load in a context of this shape, which the next load of the same shape finds there. */
  run(batch: OracleBatchOptions, requests: readonly TokenRequest[], pattern: LoadPattern): Promise<LoadRun> {
    const order: PeerOrder = { id: this.#nextId++, batch, requests, pattern };
    return new Promise((resolve, reject) => {
      this.#waiting.set(order.id, { resolve, reject });
      this.child.send(order, (error) => {
        if (error) reject(error);
      });
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    this.child.disconnect();
    await once(this.child, 'exit');
  }
}
