import {
  ButterflyError,
  deadlines,
  encodeControl,
  limits,
  sha256,
  type Clock,
  type Connection,
  type FileChunk,
} from '@butterfly/common';
import type { ModelTensor } from '@butterfly/model';
import type { TensorSource } from './tensor-source.js';

interface Fetch {
  readonly requestId: number;
  readonly message: readonly Uint8Array[];
  readonly bytes: number;
  resolve(chunk: FileChunk | null): void;
  reject(error: ButterflyError): void;
  /** False once it was given up; its answer may come all the same. */
  isWanted: boolean;
}

export interface RemoteSourceOptions {
  /** Who is on the other side, for messages. */
  readonly name?: string;
  /** How long nothing at all may arrive while something is asked for. */
  readonly stallMs?: number;
}

/**
 * Fetches ranges of the model over a connection, from the orchestrator or a peer, checked by hash. As many are under
 * way at once as the other side allows; the rest waits here.
 */
export class RemoteSource implements TensorSource {
  /** Asked for and not yet answered, whether still wanted or not: the other side counts them all. */
  readonly #underWay = new Map<number, Fetch>();
  readonly #queue: Fetch[] = [];
  readonly #name: string;
  readonly #stallMs: number;
  #nextId = 0;
  #failure: ButterflyError | null = null;
  #cancelStall: (() => void) | null = null;

  constructor(
    private readonly connection: Pick<Connection, 'send'>,
    private readonly clock: Clock,
    options: RemoteSourceOptions = {},
  ) {
    this.#name = options.name ?? 'The orchestrator';
    this.#stallMs = options.stallMs ?? deadlines.fetchMs;
  }

  async read(tensor: ModelTensor, offset: number, target: Uint8Array): Promise<void> {
    const chunk = await this.fetch(tensor, offset, target.length);
    if (chunk === null)
      throw new ButterflyError('MODEL_NOT_FOUND', `${this.#name} does not have ${tensor.name}.`);
    target.set(chunk.bytes);
  }

  /**
   * Fetches bytes of a tensor from `offset` on; null when the other side does not have them.
   * @param signal gives the range up, with CANCELLED
   * @throws ButterflyError PROTOCOL_INVALID (a wrong hash), TIMEOUT, CONNECTION_CLOSED, CANCELLED
   */
  fetch(tensor: ModelTensor, offset: number, bytes: number, signal?: AbortSignal): Promise<FileChunk | null> {
    if (this.#failure) return Promise.reject(this.#failure);
    if (signal?.aborted) return Promise.reject(givenUp());
    const requestId = this.#nextId++;
    return new Promise((resolve, reject) => {
      const message = encodeControl({
        kind: 'fetch',
        requestId,
        fileIndex: tensor.fileIndex,
        offset: tensor.offset + offset,
        bytes,
      });
      const onAbort = (): void => {
        this.#giveUp(fetch, givenUp());
        this.#watch();
      };
      signal?.addEventListener('abort', onAbort);
      const end = (): void => signal?.removeEventListener('abort', onAbort);
      const fetch: Fetch = {
        requestId,
        message,
        bytes,
        resolve: (chunk) => {
          end();
          resolve(chunk);
        },
        reject: (error) => {
          end();
          reject(error);
        },
        isWanted: true,
      };
      this.#queue.push(fetch);
      this.#proceed();
      if (!this.#cancelStall) this.#watch();
    });
  }

  /** Takes the answer to a request; one that nobody waits for any more is dropped. */
  receive(chunk: FileChunk): void {
    const fetch = this.#answered(chunk.requestId);
    if (!fetch?.isWanted) return;
    const wrong = (): void =>
      fetch.reject(
        new ButterflyError(
          'PROTOCOL_INVALID',
          'A part of the model arrived with a wrong hash or length; check the network.',
        ),
      );
    if (chunk.bytes.length !== fetch.bytes) {
      wrong();
      return;
    }
    void sha256(chunk.bytes).then((hash) => {
      if (Buffer.from(hash).equals(chunk.sha256)) fetch.resolve(chunk);
      else wrong();
    });
  }

  /** Takes word that the other side does not have what was asked for. */
  missing(requestId: number): void {
    const fetch = this.#answered(requestId);
    if (fetch?.isWanted) fetch.resolve(null);
  }

  /** Ends all that is under way and all that is asked for later, as when the connection is lost. */
  fail(error: ButterflyError): void {
    this.#failure ??= error;
    this.#giveUpAll(error);
    this.#underWay.clear();
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.fail(givenUp());
    return Promise.resolve();
  }

  #answered(requestId: number): Fetch | undefined {
    const fetch = this.#underWay.get(requestId);
    if (!fetch) return undefined;
    this.#underWay.delete(requestId);
    this.#proceed();
    this.#watch();
    return fetch;
  }

  #proceed(): void {
    while (this.#underWay.size < limits.fileFetchesInFlightMax) {
      const fetch = this.#queue.shift();
      if (!fetch) return;
      this.#underWay.set(fetch.requestId, fetch);
      this.connection.send(fetch.message);
    }
  }

  /** Waits anew for anything to arrive, as long as somebody wants it. */
  #watch(): void {
    this.#cancelStall?.();
    this.#cancelStall = null;
    if (this.#queue.length === 0 && ![...this.#underWay.values()].some(({ isWanted }) => isWanted)) return;
    this.#cancelStall = this.clock.after(this.#stallMs, () =>
      this.#giveUpAll(
        new ButterflyError(
          'TIMEOUT',
          `${this.#name} sent no part of the model within ${this.#stallMs} ms; check the network.`,
        ),
      ),
    );
  }

  #giveUpAll(error: ButterflyError): void {
    for (const fetch of [...this.#underWay.values(), ...this.#queue]) this.#giveUp(fetch, error);
    this.#watch();
  }

  #giveUp(fetch: Fetch, error: ButterflyError): void {
    const place = this.#queue.indexOf(fetch);
    if (place >= 0) this.#queue.splice(place, 1);
    if (!fetch.isWanted) return;
    fetch.isWanted = false;
    fetch.reject(error);
  }
}

const givenUp = (): ButterflyError => new ButterflyError('CANCELLED', 'Loading was given up.');
