import { ButterflyError, limits, sha256, toButterflyError } from '@butterfly/common';
import {
  type Connection,
  type ControlMessage,
  type ControlMessageOf,
  encodeControl,
  encodeFileChunk,
} from '@butterfly/wire';

/** Answers what other workers ask for of the weights. */
export interface WeightServer {
  serve(connection: Connection, message: ControlMessageOf<'fetch'>): Promise<void>;
}

/**
 * Other workers that measure their way to this one, or fetch weights from it. They only ask, so that their connections
 * need never be trusted with more than a stranger's.
 */
export class PeerGuests {
  readonly #connections = new Set<Connection>();
  #weights: WeightServer | null = null;
  #block: { readonly bytes: Uint8Array; readonly sha256: Uint8Array } | null = null;

  /** From now on guests are given these weights. */
  offer(weights: WeightServer): void {
    this.#weights = weights;
  }

  /** Lets in who showed the secret of the cluster. @throws ButterflyError JOIN_REFUSED when there are too many */
  greet(connection: Connection): void {
    if (this.#connections.size >= limits.peerGuestsMax)
      throw new ButterflyError(
        'JOIN_REFUSED',
        `This worker serves ${limits.peerGuestsMax} others already; ask another one.`,
      );
    this.#connections.add(connection);
    connection.send(encodeControl({ kind: 'peerWelcome' }));
  }

  has(connection: Connection): boolean {
    return this.#connections.has(connection);
  }

  lost(connection: Connection): void {
    this.#connections.delete(connection);
  }

  /** Takes what a guest asks for. @throws ButterflyError PROTOCOL_INVALID for anything else */
  receive(connection: Connection, message: ControlMessage): void {
    switch (message.kind) {
      case 'probeBlock':
        this.#answer(connection, this.#sendBlock(connection, message));
        return;
      case 'fetch':
        if (this.#weights) this.#answer(connection, this.#weights.serve(connection, message));
        return;
      default:
        throw new ButterflyError('PROTOCOL_INVALID', `A peer does not send "${message.kind}".`);
    }
  }

  #answer(connection: Connection, work: Promise<void>): void {
    work.catch((error: unknown) => connection.fail(toButterflyError(error)));
  }

  async #sendBlock(
    connection: Connection,
    { requestId, bytes }: ControlMessageOf<'probeBlock'>,
  ): Promise<void> {
    // Kept, because it is asked for again and again, and making it would count as time on the way.
    if (this.#block?.bytes.length !== bytes) {
      const zeros = new Uint8Array(bytes);
      this.#block = { bytes: zeros, sha256: await sha256(zeros) };
    }
    const block = this.#block;
    await connection.drained();
    connection.send(encodeFileChunk({ requestId, ...block }));
  }
}
