import { ButterflyError, type Clock, deadlines, isErrorCode, limits, sha256 } from '@butterfly/common';
import type { ModelTensor } from '@butterfly/model';
import { type ControlMessageOf, type FileChunk, type Outlet, encodeControl } from '@butterfly/wire';
import type { TensorSource } from './tensor-source.js';

/** What may come back; null where the other side does not have what was asked for. */
type Answer = FileChunk | readonly string[] | null;

interface Asked {
  readonly requestId: number;
  readonly message: readonly Uint8Array[];
  resolve(answer: Answer): void;
  reject(error: ButterflyError): void;
  /** False once it was given up; its answer may come all the same. */
  isWanted: boolean;
}

/** Where a tensor begins. */
type Place = Pick<ModelTensor, 'fileIndex' | 'offset'>;

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
  readonly #underWay = new Map<number, Asked>();
  readonly #queue: Asked[] = [];
  readonly #name: string;
  readonly #stallMs: number;
  #nextId = 0;
  #failure: ButterflyError | null = null;
  #cancelStall: (() => void) | null = null;

  constructor(
    private readonly connection: Pick<Outlet, 'send'>,
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
   * @throws ButterflyError PROTOCOL_INVALID (a wrong hash), TIMEOUT, CONNECTION_CLOSED, CANCELLED, and whatever the
   * other side says is wrong with its file
   */
  async fetch(tensor: Place, offset: number, bytes: number, signal?: AbortSignal): Promise<FileChunk | null> {
    const range = { fileIndex: tensor.fileIndex, offset: tensor.offset + offset, bytes };
    const answer = await this.#ask({ kind: 'fetch', ...range }, signal);
    if (answer === null) return null;
    const isRight = 'bytes' in answer && answer.bytes.length === bytes;
    if (!isRight || !Buffer.from(await sha256(answer.bytes)).equals(answer.sha256)) throw damaged();
    return answer;
  }

  /**
   * Asks for the SHA-256 of each chunk of a range of a tensor from `offset` on, of no more than `digestsAtOnceMax` chunks.
   * @param signal gives it up, with CANCELLED
   * @throws ButterflyError MODEL_NOT_FOUND, PROTOCOL_INVALID, TIMEOUT, CONNECTION_CLOSED, CANCELLED, and whatever the
   * other side says is wrong with its file
   */
  async digests(
    tensor: Place,
    offset: number,
    bytes: number,
    signal?: AbortSignal,
  ): Promise<readonly Uint8Array[]> {
    const range = { fileIndex: tensor.fileIndex, offset: tensor.offset + offset, bytes };
    const answer = await this.#ask({ kind: 'digests', ...range }, signal);
    if (answer === null) throw new ButterflyError('MODEL_NOT_FOUND', `${this.#name} cannot read its model.`);
    if ('bytes' in answer || answer.length !== Math.ceil(bytes / limits.fileChunkBytesMax)) throw damaged();
    return answer.map((hash) => Buffer.from(hash, 'hex'));
  }

  /** Takes a range that was asked for; one that nobody waits for any more is dropped. */
  receive(chunk: FileChunk): void {
    this.#answered(chunk.requestId, (asked) => asked.resolve(chunk));
  }

  /** Takes hashes that were asked for. */
  receiveDigests({ requestId, sha256: hashes }: ControlMessageOf<'digested'>): void {
    this.#answered(requestId, (asked) => asked.resolve(hashes));
  }

  /** Takes word that the other side does not have what was asked for, or why it will not give it. */
  missing({ requestId, error }: Pick<ControlMessageOf<'fetchMissing'>, 'requestId' | 'error'>): void {
    this.#answered(requestId, (asked) => {
      if (error)
        asked.reject(new ButterflyError(isErrorCode(error.code) ? error.code : 'INTERNAL', error.message));
      else asked.resolve(null);
    });
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

  #ask(
    message: Omit<ControlMessageOf<'fetch'>, 'requestId'> | Omit<ControlMessageOf<'digests'>, 'requestId'>,
    signal: AbortSignal | undefined,
  ): Promise<Answer> {
    if (this.#failure) return Promise.reject(this.#failure);
    if (signal?.aborted) return Promise.reject(givenUp());
    const requestId = this.#nextId++;
    return new Promise((resolve, reject) => {
      const frame = encodeControl({ ...message, requestId });
      const onAbort = (): void => {
        this.#giveUp(asked, givenUp());
        this.#watch();
      };
      signal?.addEventListener('abort', onAbort);
      const end = (): void => signal?.removeEventListener('abort', onAbort);
      const asked: Asked = {
        requestId,
        message: frame,
        resolve: (answer) => {
          end();
          resolve(answer);
        },
        reject: (error) => {
          end();
          reject(error);
        },
        isWanted: true,
      };
      this.#queue.push(asked);
      this.#proceed();
      if (!this.#cancelStall) this.#watch();
    });
  }

  #answered(requestId: number, answer: (asked: Asked) => void): void {
    const asked = this.#underWay.get(requestId);
    if (!asked) return;
    this.#underWay.delete(requestId);
    this.#proceed();
    this.#watch();
    if (asked.isWanted) answer(asked);
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

  #giveUp(fetch: Asked, error: ButterflyError): void {
    const place = this.#queue.indexOf(fetch);
    if (place >= 0) this.#queue.splice(place, 1);
    if (!fetch.isWanted) return;
    fetch.isWanted = false;
    fetch.reject(error);
  }
}

const damaged = (): ButterflyError =>
  new ButterflyError(
    'PROTOCOL_INVALID',
    'A part of the model arrived with a wrong hash or length; check the network.',
  );
const givenUp = (): ButterflyError => new ButterflyError('CANCELLED', 'Loading was given up.');
