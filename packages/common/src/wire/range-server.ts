import { ButterflyError } from '../errors.js';
import { limits } from '../limits.js';
import { sha256 } from '../sha256.js';
import type { Connection } from './connection.js';
import { FairPlaces } from './fair-places.js';
import { encodeControl, type ControlMessageOf } from './messages.js';
import { encodeFileChunk } from './step.js';

/** Gives the bytes that a `fetch` asks for, or null when they are not at hand. */
export type RangeReader = (request: ControlMessageOf<'fetch'>) => Promise<Uint8Array | null>;

/**
 * Answers `fetch` messages with ranges of model files and their hashes: a few at once for each connection, and no more
 * for all together than memory is set aside for.
 */
export class RangeServer {
  readonly #inFlight = new WeakMap<Connection, number>();
  readonly #memory = new FairPlaces<Connection>(limits.rangesInMemoryMax);

  constructor(private readonly read: RangeReader) {}

  /**
   * Answers one request, with `fetchMissing` when the reader gives null.
   * @throws ButterflyError PROTOCOL_INVALID for too many requests at once, CONNECTION_CLOSED, and what the reader throws
   */
  async serve(connection: Connection, request: ControlMessageOf<'fetch'>): Promise<void> {
    const inFlight = (this.#inFlight.get(connection) ?? 0) + 1;
    if (inFlight > limits.fileFetchesInFlightMax)
      throw new ButterflyError(
        'PROTOCOL_INVALID',
        `A worker asked for more than ${limits.fileFetchesInFlightMax} ranges at once.`,
      );
    this.#inFlight.set(connection, inFlight);
    try {
      await this.#memory.take(connection);
      try {
        if (connection.isOpen) await this.#answer(connection, request);
      } finally {
        // Until the socket has drained it holds what was read.
        const giveBack = (): void => this.#memory.giveBack(connection);
        void connection.drained().then(giveBack, giveBack);
      }
    } finally {
      this.#inFlight.set(connection, (this.#inFlight.get(connection) ?? 1) - 1);
    }
  }

  async #answer(connection: Connection, request: ControlMessageOf<'fetch'>): Promise<void> {
    const { requestId } = request;
    const bytes = await this.read(request);
    const hash = bytes && (await sha256(bytes));
    await connection.drained();
    connection.send(
      bytes && hash
        ? encodeFileChunk({ requestId, bytes, sha256: hash })
        : encodeControl({ kind: 'fetchMissing', requestId }),
    );
  }
}
