import {
  ButterflyError,
  type Clock,
  deadlines,
  isErrorCode,
  limits,
  systemClock,
  toButterflyError,
} from '@butterfly/common';
import { AccrualDetector } from './accrual-detector.js';
import { FrameDecoder } from '../frames/frame.js';
import type { ReceivedFrame } from '../frames/frame.js';
import { type ControlMessageOf, decodeControl, encodeControl } from '../messages/messages.js';

/** What a connection needs of its socket; sockets of node:net and node:tls have it, and simulated ones. */
export interface ByteStream {
  readonly closed: boolean;
  readonly remoteAddress?: string | undefined;
  readonly remotePort?: number | undefined;
  /** Bytes that the operating system has not taken yet. */
  readonly writableLength: number;
  readonly writableNeedDrain: boolean;
  on(event: 'data', listener: (chunk: Uint8Array) => void): unknown;
  on(event: 'error', listener: (cause: Error) => void): unknown;
  on(event: 'close' | 'drain' | 'end', listener: () => void): unknown;
  write(bytes: Uint8Array): boolean;
  cork(): void;
  uncork(): void;
  end(): unknown;
  destroy(): unknown;
  setNoDelay(isWanted: boolean): unknown;
}

export interface ConnectionHandlers {
  /**
   * Called for each frame, in order, except for what the connection deals with itself: ping, pong, error and bye. What
   * it throws is told to the peer and closes the connection. Asynchronous work catches its own errors and passes them
   * to `fail`.
   */
  onFrame(frame: ReceivedFrame, connection: Connection): void;
  /**
   * Called once, never from within a call of the connection, as soon as the connection is of no more use. Null means
   * that either side closed it in order; `reason` is then what that side gave, and else the message of the error.
   */
  onClose(error: ButterflyError | null, reason: string): void;
  /**
   * The other side broke the protocol, and the connection ends. Called once, before `onClose`.
   * @returns what it is told, which is then the error of the connection
   */
  onBreach?(error: ButterflyError): ButterflyError;
}

export interface Heartbeat {
  readonly everyMs: number;
  /** The longest silence that the peer's rhythm can excuse; several times `everyMs`. */
  readonly silenceMs: number;
}

export interface ConnectionOptions {
  readonly handlers: ConnectionHandlers;
  readonly heartbeat?: Heartbeat;
  /**
   * Whether the other side has yet to prove itself: until `trust` is called, only control frames of at most
   * `limits.greetingBytesMax` are taken. Off by default.
   */
  readonly isStranger?: boolean;
  readonly clock?: Clock;
}

interface DrainWaiter {
  readonly resolve: () => void;
  readonly reject: (error: ButterflyError) => void;
}

const defaultHeartbeat: Heartbeat = {
  everyMs: deadlines.heartbeatEveryMs,
  silenceMs: deadlines.heartbeatSilenceMs,
};

/** As in Cassandra and Akka: silence is found in 6 to 8 beats where they come on time. */
const suspicionThreshold = 8;

/** Of so many of the last round trips the least counts: what either side did meanwhile makes some of them longer. */
const ROUND_TRIPS = 16;

/** How long an error message may take to leave before the socket is destroyed. */
const errorLingerMs = 1_000;

/** Frames over one socket: in order, bounded, with a heartbeat. Whatever the peer does, it never throws on its own. */
export class Connection {
  /** `host:port` of the other side. */
  readonly peer: string;
  readonly #stream: ByteStream;
  readonly #handlers: ConnectionHandlers;
  readonly #clock: Clock;
  readonly #decoder: FrameDecoder;
  readonly #streamClosed: Promise<void>;
  #ending: { readonly error: ButterflyError | null; readonly reason: string } | null = null;
  #drainWaiters: DrainWaiter[] = [];
  #heartbeat: Heartbeat;
  #detector: AccrualDetector;
  #cancelTimer: () => void = () => undefined;
  #beatSetAtMs: number;
  /** Time that this process was awake for, until the last beat was set. */
  #awakeMs = 0;
  readonly #roundTripsMs: number[] = [];
  /** When the ping left that is timed; null while none is under way. */
  #timedPingMs: number | null = null;

  constructor(stream: ByteStream, options: ConnectionOptions) {
    this.peer = `${stream.remoteAddress ?? 'unknown'}:${stream.remotePort ?? 0}`;
    this.#stream = stream;
    this.#handlers = options.handlers;
    this.#clock = options.clock ?? systemClock;
    this.#decoder = new FrameDecoder(options);
    this.#heartbeat = options.heartbeat ?? defaultHeartbeat;
    this.#beatSetAtMs = this.#clock.nowMs();
    this.#detector = this.#startDetector();
    stream.setNoDelay(true);
    this.#streamClosed = new Promise((resolve) => {
      stream.on('close', () => {
        this.#lost();
        this.#cancelTimer();
        resolve();
      });
      if (stream.closed) resolve();
    });
    stream.on('data', (chunk: Uint8Array) => this.#receive(chunk));
    stream.on('drain', () => this.#releaseWaiters());
    stream.on('error', (cause) => this.#lost(cause));
    stream.on('end', () => this.#lost());
    this.#scheduleBeat();
    if (stream.closed) this.#lost();
  }

  /** False from the moment on that frames are neither sent nor delivered any more. */
  get isOpen(): boolean {
    return this.#ending === null;
  }

  /** Bytes that the operating system has not taken yet; at 0 the buffers given to `send` may be reused. */
  get queuedBytes(): number {
    return this.#stream.writableLength;
  }

  /** The least of late, of pings that waited behind nothing; null before the first answer. */
  get roundTripMs(): number | null {
    return this.#roundTripsMs.length === 0 ? null : Math.min(...this.#roundTripsMs);
  }

  /**
   * Sends the parts of one frame back to back, without copying: they must not change while `queuedBytes` is above 0.
   * On a closed connection it does nothing, since `onClose` tells of that. A queue above the limit closes the
   * connection with CONNECTION_CLOSED: the peer does not keep up, and senders of bulk wait for `drained`.
   */
  send(parts: readonly Uint8Array[]): void {
    if (this.#ending !== null) return;
    let queuedBytes = this.#stream.writableLength;
    for (const part of parts) queuedBytes += part.length;
    if (queuedBytes > limits.connectionQueuedBytesMax) {
      this.destroy(
        new ButterflyError(
          'CONNECTION_CLOSED',
          `${this.peer} reads too slowly: ${queuedBytes} bytes wait for it, more than the limit of ` +
            `${limits.connectionQueuedBytesMax}. Check the load of that host and the network.`,
        ),
      );
      return;
    }
    const [only] = parts;
    if (only && parts.length === 1) {
      this.#stream.write(only);
      return;
    }
    this.#stream.cork();
    for (const part of parts) this.#stream.write(part);
    this.#stream.uncork();
  }

  /**
   * Resolves when the socket wants more: at once unless it is filled above its own mark.
   * @throws ButterflyError the reason of closing, when the connection is closed or closes meanwhile
   */
  drained(): Promise<void> {
    if (this.#ending !== null) return Promise.reject(this.#endingError());
    if (!this.#stream.writableNeedDrain) return Promise.resolve();
    return new Promise((resolve, reject) => {
      this.#drainWaiters.push({ resolve, reject });
    });
  }

  /** The other side has proved itself: from the next frame on, everything is taken that a frame may be. */
  trust(): void {
    this.#decoder.trust();
  }

  /** Takes over what the orchestrator asks for in `welcome`. */
  setHeartbeat(heartbeat: Heartbeat): void {
    if (this.#ending !== null) return;
    this.#heartbeat = heartbeat;
    this.#detector = this.#startDetector();
    this.#scheduleBeat();
  }

  /**
   * Says goodbye, sends what is queued, and ends; what still arrives is dropped. Resolves when the socket is closed,
   * at the latest after `deadlines.drainMs`.
   */
  close(reason = 'closed'): Promise<void> {
    if (this.#ending === null) {
      this.send(encodeControl({ kind: 'bye', reason }));
      this.#finish(null, reason);
      this.#linger(deadlines.drainMs);
    }
    return this.#streamClosed;
  }

  /** Tells the peer what is wrong and closes with that error; PROTOCOL_INVALID says that the peer is to blame. */
  fail(found: ButterflyError): void {
    if (this.#ending !== null) return;
    const isBreach = found.code === 'PROTOCOL_INVALID';
    const error = (isBreach ? this.#handlers.onBreach?.(found) : null) ?? found;
    const { code, message, retryAfterMs } = error;
    this.send(encodeControl({ kind: 'error', code, message, retryAfterMs }));
    this.#finish(error, message);
    this.#linger(errorLingerMs);
  }

  /** Closes at once and drops what is queued. */
  destroy(error: ButterflyError): void {
    this.#finish(error, error.message);
    this.#stream.destroy();
  }

  #receive(chunk: Uint8Array): void {
    if (this.#ending !== null) return;
    this.#detector.heard(this.#awakeNowMs());
    try {
      this.#decoder.push(chunk);
      for (const frame of this.#decoder.frames()) {
        if (!this.isOpen) return;
        this.#dispatch(frame);
      }
    } catch (thrown) {
      this.fail(toButterflyError(thrown));
    }
  }

  #dispatch(frame: ReceivedFrame): void {
    if (frame.type !== 'control' || frame.channel !== 0) {
      this.#handlers.onFrame(frame, this);
      return;
    }
    const message = decodeControl(frame);
    switch (message.kind) {
      case 'ping':
        this.send(encodeControl({ kind: 'pong', sentAtMs: message.sentAtMs }));
        return;
      case 'pong':
        this.#ponged(message.sentAtMs);
        return;
      case 'error':
        this.destroy(errorOf(message));
        return;
      case 'bye':
        this.#finish(null, message.reason);
        this.#linger(deadlines.drainMs);
        return;
      default:
        this.#handlers.onFrame(frame, this);
    }
  }

  #ponged(sentAtMs: number): void {
    if (sentAtMs !== this.#timedPingMs) return;
    this.#timedPingMs = null;
    this.#roundTripsMs.push(Math.max(0, this.#clock.nowMs() - sentAtMs));
    if (this.#roundTripsMs.length > ROUND_TRIPS) this.#roundTripsMs.shift();
  }

  #startDetector(): AccrualDetector {
    const { everyMs, silenceMs } = this.#heartbeat;
    const detector = new AccrualDetector({
      everyMs,
      silenceMaxMs: silenceMs,
      threshold: suspicionThreshold,
    });
    detector.heard(this.#awakeNowMs());
    return detector;
  }

  /** A stall of this process is no silence of the peer, whose bytes then still wait to be read: hence the cap. */
  #awakeNowMs(): number {
    return this.#awakeMs + Math.min(this.#clock.nowMs() - this.#beatSetAtMs, 2 * this.#heartbeat.everyMs);
  }

  #scheduleBeat(): void {
    this.#cancelTimer();
    this.#awakeMs = this.#awakeNowMs();
    this.#beatSetAtMs = this.#clock.nowMs();
    this.#cancelTimer = this.#clock.after(this.#heartbeat.everyMs, () => this.#beat());
  }

  #beat(): void {
    const awakeMs = this.#awakeNowMs();
    if (this.#detector.isSuspected(awakeMs)) {
      const silenceMs = Math.round(this.#detector.silenceMs(awakeMs));
      this.destroy(
        new ButterflyError(
          'TIMEOUT',
          `${this.peer} was silent for ${silenceMs} ms, longer than its rhythm excuses. ` +
            'Check that the host is up and the network works.',
        ),
      );
      return;
    }
    const sentAtMs = this.#clock.nowMs();
    // One that waits behind bulk would measure the bulk.
    if (this.queuedBytes === 0) this.#timedPingMs ??= sentAtMs;
    this.send(encodeControl({ kind: 'ping', sentAtMs }));
    if (this.isOpen) this.#scheduleBeat();
  }

  /** The socket ended or broke under an open connection. */
  #lost(cause?: Error): void {
    if (this.#ending !== null) return;
    const detail = cause === undefined ? '' : ` (${cause.message})`;
    this.destroy(
      new ButterflyError(
        'CONNECTION_CLOSED',
        `${this.peer} closed the connection without a goodbye${detail}.`,
        {
          cause,
        },
      ),
    );
  }

  #finish(error: ButterflyError | null, reason: string): void {
    if (this.#ending !== null) return;
    this.#ending = { error, reason };
    this.#cancelTimer();
    const waiters = this.#drainWaiters.splice(0);
    for (const { reject } of waiters) reject(this.#endingError());
    queueMicrotask(() => this.#handlers.onClose(error, reason));
  }

  #endingError(): ButterflyError {
    return (
      this.#ending?.error ??
      new ButterflyError(
        'CONNECTION_CLOSED',
        `The connection to ${this.peer} is closed: ${this.#ending?.reason ?? ''}.`,
      )
    );
  }

  /** Sends what is queued and ends. Reading goes on meanwhile, because unread bytes would turn the end into a reset. */
  #linger(lingerMs: number): void {
    this.#stream.end();
    this.#cancelTimer = this.#clock.after(lingerMs, () => this.#stream.destroy());
  }

  #releaseWaiters(): void {
    for (const { resolve } of this.#drainWaiters.splice(0)) resolve();
  }
}

/** What the peer says, which may be of a later version. */
function errorOf({ code, message, retryAfterMs }: ControlMessageOf<'error'>): ButterflyError {
  const options = retryAfterMs === undefined ? {} : { retryAfterMs };
  return new ButterflyError(isErrorCode(code) ? code : 'PROTOCOL_INVALID', message, options);
}
