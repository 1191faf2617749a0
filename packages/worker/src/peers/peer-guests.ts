import { ButterflyError, limits, sha256, toButterflyError } from '@butterfly/common';
import {
  Channel,
  type Connection,
  type ControlMessage,
  type ControlMessageOf,
  decodeControl,
  encodeControl,
  encodeFileChunk,
  type Outlet,
  type ReceivedFrame,
} from '@butterfly/wire';

/** Answers what other workers ask for of the weights. */
export interface WeightServer {
  serve(outlet: Outlet, message: ControlMessageOf<'fetch'>): Promise<void>;
}

/**
 * Other workers that measure their way to this one, or fetch weights from it. They only ask, so that their connections
 * need never be trusted with more than a stranger's.
 */
export class PeerGuests {
  /** With the channels on which each has asked for weights. */
  readonly #connections = new Map<Connection, Map<number, Channel>>();
  /** By the channel of their model. */
  readonly #weights = new Map<number, WeightServer>();
  #block: { readonly bytes: Uint8Array; readonly sha256: Uint8Array } | null = null;

  /** From now on guests are given these weights, until they are withdrawn. */
  offer(channel: number, weights: WeightServer): void {
    this.#weights.set(channel, weights);
  }

  withdraw(channel: number): void {
    this.#weights.delete(channel);
  }

  /** Lets in who showed the secret of the cluster. @throws ButterflyError JOIN_REFUSED when there are too many */
  greet(connection: Connection): void {
    if (this.#connections.size >= limits.peerGuestsMax)
      throw new ButterflyError(
        'JOIN_REFUSED',
        `This worker serves ${limits.peerGuestsMax} others already; ask another one.`,
      );
    this.#connections.set(connection, new Map());
    connection.send(encodeControl({ kind: 'peerWelcome' }));
  }

  has(connection: Connection): boolean {
    return this.#connections.has(connection);
  }

  lost(connection: Connection): void {
    this.#connections.delete(connection);
  }

  /** Takes what a guest asks for. @throws ButterflyError PROTOCOL_INVALID for anything else */
  receive(connection: Connection, frame: ReceivedFrame): void {
    const message: ControlMessage = decodeControl(frame);
    switch (message.kind) {
      case 'probeBlock':
        this.answerProbe(connection, message);
        return;
      case 'fetch':
        this.#fetch(connection, frame.channel, message);
        return;
      default:
        throw new ButterflyError('PROTOCOL_INVALID', `A peer does not send "${message.kind}".`);
    }
  }

  /** Sends a block to be timed, to a guest or to the orchestrator. */
  answerProbe(connection: Connection, message: ControlMessageOf<'probeBlock'>): void {
    this.#answer(connection, this.#sendBlock(connection, message));
  }

  #fetch(connection: Connection, number: number, message: ControlMessageOf<'fetch'>): void {
    const channels = this.#connections.get(connection);
    const weights = this.#weights.get(number);
    if (!channels || !weights) {
      const missing = encodeControl({ kind: 'fetchMissing', requestId: message.requestId });
      // Of a model that is served no more, or not yet.
      new Channel(connection, number).send(missing);
      return;
    }
    const channel = channels.get(number) ?? new Channel(connection, number);
    channels.set(number, channel);
    this.#answer(connection, weights.serve(channel, message));
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
