import { createHash } from 'node:crypto';
import {
  ButterflyError,
  deadlines,
  encodeControl,
  type Clock,
  type Connection,
  type FileChunk,
} from '@butterfly/common';
import type { ModelTensor } from '@butterfly/model';
import type { TensorSource } from './tensor-source.js';

interface PendingFetch {
  readonly target: Uint8Array;
  readonly resolve: () => void;
  readonly reject: (error: ButterflyError) => void;
  readonly cancelDeadline: () => void;
}

/** Streams byte ranges of the model from the orchestrator, checked by hash. At most a few are under way. */
export class RemoteSource implements TensorSource {
  readonly kind = 'remote';
  readonly #pending = new Map<number, PendingFetch>();
  #nextId = 0;
  #failure: ButterflyError | null = null;

  constructor(
    private readonly connection: Connection,
    private readonly clock: Clock,
  ) {}

  read(tensor: ModelTensor, offset: number, target: Uint8Array): Promise<void> {
    if (this.#failure) return Promise.reject(this.#failure);
    const requestId = this.#nextId++;
    return new Promise((resolve, reject) => {
      const request = encodeControl({
        kind: 'fetch',
        requestId,
        fileIndex: tensor.fileIndex,
        offset: tensor.offset + offset,
        bytes: target.length,
      });
      const cancelDeadline = this.clock.after(deadlines.fetchMs, () => {
        this.#pending.delete(requestId);
        reject(
          new ButterflyError(
            'TIMEOUT',
            `The orchestrator sent no part of ${tensor.name} within ${deadlines.fetchMs} ms; check the network.`,
          ),
        );
      });
      this.#pending.set(requestId, { target, resolve, reject, cancelDeadline });
      this.connection.send(request);
    });
  }

  /** Takes the answer to a request; one that nobody waits for any more is dropped. */
  receive(chunk: FileChunk): void {
    const fetch = this.#pending.get(chunk.requestId);
    if (!fetch) return;
    this.#pending.delete(chunk.requestId);
    fetch.cancelDeadline();
    const hash = createHash('sha256').update(chunk.bytes).digest();
    if (chunk.bytes.length !== fetch.target.length || !hash.equals(chunk.sha256)) {
      fetch.reject(
        new ButterflyError(
          'PROTOCOL_INVALID',
          'A part of the model arrived with a wrong hash or length; check the network.',
        ),
      );
      return;
    }
    fetch.target.set(chunk.bytes);
    fetch.resolve();
  }

  /** Ends all that is under way and all that is asked for later, as when the connection is lost. */
  fail(error: ButterflyError): void {
    this.#failure ??= error;
    for (const { reject, cancelDeadline } of this.#pending.values()) {
      cancelDeadline();
      reject(error);
    }
    this.#pending.clear();
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.fail(new ButterflyError('CANCELLED', 'Loading was given up.'));
    return Promise.resolve();
  }
}
