import { ButterflyError, limits, sha256 } from '@butterfly/common';
import type { Outlet } from './channel.js';
import { FairPlaces } from './fair-places.js';
import { encodeControl, type ControlMessageOf } from '../messages/messages.js';
import { encodeFileChunk } from '../frames/step.js';

type Fetch = ControlMessageOf<'fetch'>;
type Digests = ControlMessageOf<'digests'>;

/** A range of a model file. */
export type AskedRange = Pick<Fetch, 'fileIndex' | 'offset' | 'bytes'>;

/** Gives the bytes of a range, or null when they are not at hand. */
export type RangeReader = (range: AskedRange) => Promise<Uint8Array | null>;

/** What is known of the hashes of ranges. */
export interface RangeDigests {
  /** SHA-256 of a range, without reading it. */
  known(range: AskedRange): Uint8Array | undefined;
  /** Takes note of the hash of a range that was read. @throws ButterflyError where it is not the known one */
  found(range: AskedRange, hash: Uint8Array): void;
}

const nothingKnown: RangeDigests = { known: () => undefined, found: () => undefined };

/**
 * Answers `fetch` messages with ranges of model files and their hashes, and `digests` with the hashes alone: a few at once
 * for each connection, and no more for all together than memory is set aside for.
 */
export class RangeServer {
  readonly #inFlight = new WeakMap<Outlet, number>();
  readonly #memory = new FairPlaces<Outlet>(limits.rangesInMemoryMax);

  constructor(
    private readonly read: RangeReader,
    private readonly digests: RangeDigests = nothingKnown,
  ) {}

  /**
   * Answers one request, with `fetchMissing` when the reader gives null.
   * @throws ButterflyError PROTOCOL_INVALID for too many requests at once, CONNECTION_CLOSED, and what the reader throws
   */
  async serve(connection: Outlet, request: Fetch): Promise<void> {
    await this.#during(connection, () => this.#answer(connection, request));
  }

  /** Answers one request for hashes, as `serve` does. */
  async serveDigests(connection: Outlet, request: Digests): Promise<void> {
    await this.#during(connection, () => this.#answerDigests(connection, request));
  }

  async #during(connection: Outlet, answer: () => Promise<void>): Promise<void> {
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
        if (connection.isOpen) await answer();
      } finally {
        // Until the socket has drained it holds what was read.
        const giveBack = (): void => this.#memory.giveBack(connection);
        void connection.drained().then(giveBack, giveBack);
      }
    } finally {
      this.#inFlight.set(connection, (this.#inFlight.get(connection) ?? 1) - 1);
    }
  }

  async #answer(connection: Outlet, request: Fetch): Promise<void> {
    const { requestId } = request;
    const bytes = await this.read(request);
    const hash = bytes && (await sha256(bytes));
    if (hash) this.digests.found(request, hash);
    await connection.drained();
    connection.send(
      bytes && hash
        ? encodeFileChunk({ requestId, bytes, sha256: hash })
        : encodeControl({ kind: 'fetchMissing', requestId }),
    );
  }

  async #answerDigests(connection: Outlet, request: Digests): Promise<void> {
    const { requestId, fileIndex, offset } = request;
    const end = offset + request.bytes;
    const hashes: string[] = [];
    for (let at = offset; at < end && connection.isOpen; at += limits.fileChunkBytesMax) {
      const hash = await this.#digestOf({
        fileIndex,
        offset: at,
        bytes: Math.min(limits.fileChunkBytesMax, end - at),
      });
      if (hash === null) {
        connection.send(encodeControl({ kind: 'fetchMissing', requestId }));
        return;
      }
      hashes.push(Buffer.from(hash).toString('hex'));
    }
    if (connection.isOpen) connection.send(encodeControl({ kind: 'digested', requestId, sha256: hashes }));
  }

  async #digestOf(range: AskedRange): Promise<Uint8Array | null> {
    const known = this.digests.known(range);
    if (known) return known;
    const bytes = await this.read(range);
    if (!bytes) return null;
    const hash = await sha256(bytes);
    this.digests.found(range, hash);
    return hash;
  }
}
