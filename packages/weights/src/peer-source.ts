import {
  ButterflyError,
  type Clock,
  type WorkerObserver,
  deadlines,
  toButterflyError,
} from '@butterfly/common';
import type { ModelTensor } from '@butterfly/model';
import {
  Channel,
  type Connection,
  type ControlMessageOf,
  type FileChunk,
  type Frame,
  type Transport,
  decodeControl,
  decodeFileChunk,
  encodeControl,
  memberAt,
} from '@butterfly/wire';
import { RemoteSource } from './remote-source.js';

/** Where another worker listens. */
export type PeerAddress = ControlMessageOf<'prepare'>['sources'][number];

export interface PeerOptions {
  readonly peerToken: string;
  /** Of the model, which all workers of a cluster know by the same number. */
  readonly channel: number;
  readonly transport: Pick<Transport, 'dial'>;
  readonly clock: Clock;
  readonly observe: WorkerObserver;
  /** Ends whatever is under way. */
  readonly signal: AbortSignal;
}

/** Another worker that may have some of the weights. It is dialled when first needed, and dropped at its first fault. */
export class PeerSource {
  /** Tensors of which it lacked some part. */
  readonly #lacking = new Set<string>();
  readonly #name: string;
  #opening: Promise<void> | null = null;
  #connection: Connection | null = null;
  #remote: RemoteSource | null = null;
  #isWelcome = false;
  #isDropped = false;
  #asked = 0;

  constructor(
    private readonly address: PeerAddress,
    private readonly options: PeerOptions,
  ) {
    this.#name = `${address.workerId} at ${address.host}:${address.port}`;
  }

  /** Ranges that it was asked for and has not answered. */
  get asked(): number {
    return this.#asked;
  }

  get isOpen(): boolean {
    return this.#isWelcome && !this.#isDropped;
  }

  /** Whether it is worth asking for a part of this tensor. */
  mayHave(tensor: ModelTensor): boolean {
    return !this.#isDropped && !this.#lacking.has(tensor.name);
  }

  /** Dials it the first time. Resolves, and never rejects, when it is open, dropped, or not wanted any more. */
  opened(): Promise<void> {
    const { signal } = this.options;
    return (this.#opening ??= Promise.race([
      this.#open().catch((error: unknown) => this.#drop(toButterflyError(error))),
      new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true })),
    ]));
  }

  /**
   * Fetches bytes of a tensor; null when this peer does not have them, or turned out to be of no use.
   * @param hash their SHA-256, as the orchestrator has it; a peer that sends others has another file
   */
  async fetch(
    tensor: ModelTensor,
    offset: number,
    bytes: number,
    hash: Uint8Array,
  ): Promise<FileChunk | null> {
    if (!this.#remote) return null;
    this.#asked++;
    try {
      const chunk = await this.#remote.fetch(tensor, offset, bytes, this.options.signal);
      if (chunk === null) this.#lacking.add(tensor.name);
      else if (!Buffer.from(hash).equals(chunk.sha256))
        throw new ButterflyError(
          'MODEL_CHANGED',
          `${this.#name} has other bytes of ${tensor.name} than the orchestrator. Compare its model file, and empty its cache.`,
        );
      return chunk;
    } catch (error) {
      this.#drop(toButterflyError(error));
      return null;
    } finally {
      this.#asked--;
    }
  }

  async close(): Promise<void> {
    this.#isDropped = true;
    await this.#connection?.close('no more weights are needed');
  }

  async #open(): Promise<void> {
    const { transport, clock, peerToken, channel } = this.options;
    const { host, port } = this.address;
    let settle: (error: ButterflyError | null) => void = () => undefined;
    const welcome = new Promise<void>((resolve, reject) => {
      settle = (error) => {
        if (error) reject(error);
        else resolve();
      };
    });
    // It may fail before anybody waits for it.
    welcome.catch(() => undefined);
    const connection = await transport.dial({
      host,
      port,
      ...memberAt(this.address),
      clock,
      handlers: {
        onFrame: (frame) => this.#receive(frame, () => settle(null)),
        onClose: (error, reason) => {
          const why = error ?? new ButterflyError('CONNECTION_CLOSED', `${this.#name} said: ${reason}`);
          settle(why);
          this.#drop(why);
        },
      },
    });
    this.#connection = connection;
    if (this.#isDropped) {
      await connection.close('no more weights are needed');
      return;
    }
    this.#remote = new RemoteSource(new Channel(connection, channel), clock, {
      name: this.#name,
      stallMs: deadlines.peerFetchMs,
    });
    const cancelDeadline = clock.after(deadlines.handshakeMs, () =>
      settle(new ButterflyError('TIMEOUT', `${this.#name} does not answer like a worker.`)),
    );
    try {
      connection.send(encodeControl({ kind: 'peer', peerToken }));
      await welcome;
      this.#isWelcome = true;
    } finally {
      cancelDeadline();
    }
  }

  #receive(frame: Frame, onWelcome: () => void): void {
    if (frame.type === 'fileChunk') {
      this.#remote?.receive(decodeFileChunk(frame));
      return;
    }
    const message = decodeControl(frame);
    if (message.kind === 'peerWelcome') onWelcome();
    else if (message.kind === 'fetchMissing') this.#remote?.missing(message);
    else throw new ButterflyError('PROTOCOL_INVALID', `A peer does not send "${message.kind}".`);
  }

  #drop(error: ButterflyError): void {
    if (this.#isDropped) return;
    this.#isDropped = true;
    const { workerId } = this.address;
    const { code, message } = error;
    if (!this.options.signal.aborted) this.options.observe({ kind: 'peerLeft', workerId, code, message });
    this.#remote?.fail(error);
    this.#connection?.destroy(error);
  }
}
