import { EventEmitter } from 'node:events';
import type { IncomingStream } from '@butterfly/wire';
import type { Lane, Segment, Sender } from './simulated-link.js';

/** Where a stream leads to. */
export interface StreamEnds {
  readonly localAddress: string;
  readonly localPort: number;
  readonly remoteAddress: string;
  readonly remotePort: number;
}

/** The process that a stream belongs to. */
export interface StreamHost {
  /** Does it once the process runs. */
  deliver(task: () => void): void;
  /** The same, but not before what is being done is over. */
  soon(task: () => void): void;
  forget(stream: SimulatedStream): void;
}

/** What the kernel takes for one socket before the process must wait: the usual order of size of Linux. */
const SEND_BUFFER_BYTES = 1 << 20;
/** As the high-water mark of node's sockets. */
const HIGH_WATER_BYTES = 1 << 16;
const EMPTY = new Uint8Array(0);

/**
 * One end of a simulated TCP connection: a socket of node with its events, its queue in the process, and the buffers of
 * the kernel under it, which outlive the process. Bytes arrive in order and whole or not at all.
 */
export class SimulatedStream extends EventEmitter implements IncomingStream, Sender {
  closed = false;
  lastArrivalMs = 0;
  readonly localAddress: string;
  readonly remoteAddress: string;
  readonly remotePort: number;
  readonly localPort: number;
  writableNeedDrain = false;
  readonly #host: StreamHost;
  readonly #lane: Lane;
  #peer: SimulatedStream | null = null;
  #isCorked = false;
  #isDestroyed = false;
  /** The kernel knows that the connection is gone; the process has not read it yet, and what it writes is lost. */
  #isReset = false;
  /** What the process wrote and the kernel has not taken. */
  #queue: Uint8Array[] = [];
  #queuedBytes = 0;
  /** What the kernel took and has not put on the wire, and that together with what the peer has not read. */
  #sendBuffer: Uint8Array[] = [];
  #heldBytes = 0;
  #isEnding = false;
  #isFinSent = false;
  #isFinReceived = false;
  #isEndUnread = false;
  /** What arrived before anybody listened. */
  #unread: Uint8Array[] = [];

  constructor(host: StreamHost, lane: Lane, ends: StreamEnds) {
    super();
    this.#host = host;
    this.#lane = lane;
    this.localAddress = ends.localAddress;
    this.localPort = ends.localPort;
    this.remoteAddress = ends.remoteAddress;
    this.remotePort = ends.remotePort;
    this.on('newListener', (event: string | symbol) => {
      if (event === 'data' && this.#unread.length > 0) host.soon(() => this.#readOn());
    });
  }

  get writableLength(): number {
    return this.#queuedBytes;
  }

  get isDestroyed(): boolean {
    return this.#isDestroyed;
  }

  setNoDelay(): this {
    return this;
  }

  cork(): void {
    this.#isCorked = true;
  }

  uncork(): void {
    this.#isCorked = false;
    this.#fillKernel();
  }

  write(bytes: Uint8Array): boolean {
    if (this.#isDestroyed || this.#isReset) return false;
    if (this.#isEnding) throw new Error('A stream was written to after its end.');
    this.#queue.push(bytes);
    this.#queuedBytes += bytes.length;
    if (!this.#isCorked) this.#fillKernel();
    if (this.#queuedBytes >= HIGH_WATER_BYTES) this.writableNeedDrain = true;
    return !this.writableNeedDrain;
  }

  end(): this {
    this.#isEnding = true;
    this.#isCorked = false;
    this.#fillKernel();
    return this;
  }

  /** Closes at once. What the kernel has taken still goes out, as of a real socket. */
  destroy(error?: Error): this {
    if (this.#isDestroyed) return this;
    this.#isDestroyed = true;
    this.#queue = [];
    this.#queuedBytes = 0;
    this.#unread = [];
    this.end();
    this.#host.soon(() => {
      this.closed = true;
      this.#host.forget(this);
      if (error !== undefined) this.emit('error', error);
      this.emit('close');
    });
    return this;
  }

  /** The end that accepts knows the other one from the start. */
  acceptFrom(peer: SimulatedStream): void {
    this.#peer = peer;
  }

  /** The end that dialled was answered, by itself or with the first data. */
  establish(peer: SimulatedStream): void {
    if (this.#isDestroyed) peer.reset();
    if (this.#isDestroyed || this.#peer !== null) return;
    this.#peer = peer;
    this.#host.deliver(() => {
      if (!this.#isDestroyed) this.emit('connect');
    });
  }

  /** The process of this end is gone: its kernel ends the stream in order, or resets it where data was left unread. */
  abandon(isReset: boolean): void {
    this.#isDestroyed = true;
    this.#queue = [];
    this.#queuedBytes = 0;
    if (!isReset) {
      this.end();
      return;
    }
    this.#isEnding = true;
    this.#isFinSent = true;
    this.#sendBuffer = [];
    const peer = this.#peer;
    if (peer !== null) this.#lane.packet(() => peer.reset());
  }

  /** The other end does not know this connection any more. */
  reset(): void {
    this.#sendBuffer = [];
    this.#isReset = true;
    this.#isEnding = true;
    this.#isFinSent = true;
    this.#host.deliver(() => {
      this.destroy(Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET' }));
    });
  }

  /** Whether there is anything for the wire. */
  get hasMore(): boolean {
    if (this.#peer === null) return false;
    return this.#sendBuffer.length > 0 || (this.#isEnding && !this.#isFinSent && this.#queuedBytes === 0);
  }

  /** The next bytes for the wire; null while there are none. */
  take(bytesMax: number): Segment | null {
    if (!this.hasMore) return null;
    const first = this.#sendBuffer[0];
    if (first === undefined) {
      this.#isFinSent = true;
      return { bytes: EMPTY, isLast: true };
    }
    if (first.length >= bytesMax || this.#sendBuffer.length === 1) {
      if (first.length <= bytesMax) this.#sendBuffer.shift();
      else this.#sendBuffer[0] = first.subarray(bytesMax);
      return { bytes: first.subarray(0, bytesMax), isLast: false };
    }
    const joined = Buffer.concat(this.#sendBuffer);
    this.#sendBuffer = joined.length > bytesMax ? [joined.subarray(bytesMax)] : [];
    return { bytes: joined.subarray(0, bytesMax), isLast: false };
  }

  /** A segment was lost on the way: the kernel sends it again. */
  putBack(segment: Segment): void {
    if (segment.isLast) this.#isFinSent = false;
    else this.#sendBuffer.unshift(segment.bytes);
  }

  /** A segment of this end has arrived at the other one. */
  arrived({ bytes, isLast }: Segment): void {
    const peer = this.#peer;
    if (peer === null) return;
    if (peer.#isDestroyed) {
      if (!isLast && !this.#isDestroyed) peer.#lane.packet(() => this.reset());
      return;
    }
    if (peer.#peer === null) peer.establish(this);
    peer.#host.deliver(() => {
      if (isLast) peer.#receiveEnd();
      else peer.#receive(bytes);
      this.#heldBytes -= bytes.length;
      this.#host.deliver(() => this.#fillKernel());
    });
  }

  #receive(bytes: Uint8Array): void {
    if (this.#isDestroyed) return;
    if (this.listenerCount('data') === 0 || this.#unread.length > 0) this.#unread.push(bytes);
    else this.emit('data', bytes);
  }

  #readOn(): void {
    for (const bytes of this.#unread.splice(0)) this.#receive(bytes);
    if (this.#isEndUnread) this.#receiveEnd();
  }

  #receiveEnd(): void {
    this.#isEndUnread = this.#unread.length > 0;
    if (this.#isDestroyed || this.#isEndUnread) return;
    this.#isFinReceived = true;
    this.emit('end');
    // As sockets do that may not stay half open.
    if (!this.#isEnding) this.end();
    this.#closeWhenDone();
  }

  #fillKernel(): void {
    let roomBytes = SEND_BUFFER_BYTES - this.#heldBytes;
    for (let first = this.#queue[0]; first !== undefined && roomBytes > 0; first = this.#queue[0]) {
      // Copied, since the process may use its buffer again once the kernel has it.
      const taken = Buffer.from(first.subarray(0, roomBytes));
      if (taken.length === first.length) this.#queue.shift();
      else this.#queue[0] = first.subarray(taken.length);
      this.#sendBuffer.push(taken);
      this.#queuedBytes -= taken.length;
      this.#heldBytes += taken.length;
      roomBytes -= taken.length;
    }
    if (this.#sendBuffer.length > 0 || this.#isEnding) this.#lane.wake(this);
    if (this.#queuedBytes > 0) return;
    this.#closeWhenDone();
    if (this.writableNeedDrain) this.#host.soon(() => this.#drained());
  }

  #drained(): void {
    if (!this.writableNeedDrain || this.#queuedBytes > 0 || this.#isDestroyed) return;
    this.writableNeedDrain = false;
    this.emit('drain');
  }

  /** Closed once both sides have said all and the kernel has it. */
  #closeWhenDone(): void {
    if (this.#isEnding && this.#isFinReceived && this.#queuedBytes === 0) this.destroy();
  }
}
