import { connect, createServer } from 'node:net';
import type { AddressInfo, Server, Socket } from 'node:net';

export interface TcpProxyOptions {
  /** Where it passes on to. */
  readonly to: { readonly host: string; readonly port: number };
  /** Where it listens; by default the loopback address, on a port that the system chooses. */
  readonly host?: string;
  readonly port?: number;
  /** One way; by default none. */
  readonly latencyMs?: number;
  /** Of all its connections together, in each direction; by default without limit. */
  readonly bytesPerSecond?: number;
}

/** Bytes of one direction that are on their way before the sender is held back: as much as a long fast line holds. */
const IN_FLIGHT_BYTES_MAX = 1 << 20;
/** A slow line is fed in pieces of this time, so that it is shared and its speed may change; the first one is there at once. */
const PIECE_MS = 2;

/** A TCP proxy that makes a bad network of a good one: for tests and benches with real processes. */
export class TcpProxy {
  /** One way; a change counts for all that arrives from now on. */
  latencyMs: number;
  bytesPerSecond: number;
  /** In both directions, since it was started. */
  passedBytes = 0;
  readonly #server: Server;
  readonly #options: TcpProxyOptions;
  readonly #sockets = new Set<Socket>();
  readonly #lines: readonly [Line, Line];
  #isCut = false;
  #isFlipWanted = false;

  private constructor(options: TcpProxyOptions) {
    this.#options = options;
    this.latencyMs = options.latencyMs ?? 0;
    this.bytesPerSecond = options.bytesPerSecond ?? Infinity;
    this.#lines = [new Line(this), new Line(this)];
    this.#server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => this.#accept(socket));
  }

  /**
   * Starts to listen.
   * @throws Error of the system when it cannot
   */
  static async start(options: TcpProxyOptions): Promise<TcpProxy> {
    const proxy = new TcpProxy(options);
    const server = proxy.#server;
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(options.port ?? 0, options.host ?? '127.0.0.1', () => {
        server.off('error', reject);
        resolve();
      });
    });
    return proxy;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  get isCut(): boolean {
    return this.#isCut;
  }

  /**
   * From now on nothing passes, not even the news that a side closed; new connections are accepted and hear nothing.
   * What is sent meanwhile waits, as TCP would send it again.
   */
  cut(): void {
    this.#isCut = true;
  }

  heal(): void {
    this.#isCut = false;
    for (const line of this.#lines) line.wake();
  }

  /** Lets no more than a trickle through; `bytesPerSecond` ends it. */
  crawl(bytesPerSecond = 1_000): void {
    this.bytesPerSecond = bytesPerSecond;
  }

  /** Turns one bit, in the middle of the next piece that passes in either direction. */
  flipBit(): void {
    this.#isFlipWanted = true;
  }

  /** Resets every connection through it, as a middlebox does that forgot them. */
  resetAll(): void {
    for (const socket of this.#sockets) socket.resetAndDestroy();
  }

  async close(): Promise<void> {
    for (const line of this.#lines) line.stop();
    for (const socket of this.#sockets) socket.destroy();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  /** The bytes as they come out of the line. */
  passed(bytes: Buffer): Buffer {
    this.passedBytes += bytes.length;
    if (!this.#isFlipWanted || bytes.length === 0) return bytes;
    this.#isFlipWanted = false;
    const damaged = Buffer.from(bytes);
    const at = damaged.length >> 1;
    damaged.writeUInt8((damaged[at] ?? 0) ^ 1, at);
    return damaged;
  }

  /** The most that one piece may hold of what is waiting. */
  get pieceBytes(): number {
    return Math.max(1, Math.floor((this.bytesPerSecond / 1_000) * PIECE_MS));
  }

  #accept(near: Socket): void {
    const { host, port } = this.#options.to;
    const far = connect({ host, port, allowHalfOpen: true, noDelay: true });
    const [there, back] = this.#lines;
    for (const [socket, other, line] of [
      [near, far, there],
      [far, near, back],
    ] as const) {
      const pipe = new Pipe(socket, other, line);
      this.#sockets.add(socket);
      socket.on('data', (bytes: Buffer) => pipe.push({ kind: 'bytes', bytes }));
      socket.on('end', () => pipe.push({ kind: 'end' }));
      socket.on('error', () => pipe.push({ kind: 'reset' }));
      socket.on('close', () => this.#sockets.delete(socket));
      other.on('drain', () => line.wake());
    }
  }
}

type Item =
  { readonly kind: 'bytes'; readonly bytes: Buffer } | { readonly kind: 'end' } | { readonly kind: 'reset' };

/** One direction of one connection: what came in at `from` and goes out at `to`, and when. */
class Pipe {
  readonly #from: Socket;
  readonly #to: Socket;
  readonly #line: Line;
  readonly #items: { readonly item: Item; readonly dueMs: number }[] = [];
  #waitingBytes = 0;

  constructor(from: Socket, to: Socket, line: Line) {
    this.#from = from;
    this.#to = to;
    this.#line = line;
  }

  get dueMs(): number | undefined {
    return this.#items[0]?.dueMs;
  }

  /** Whether the receiver takes more at all; its `drain` wakes the line again. */
  get isOpen(): boolean {
    return !this.#to.writableNeedDrain;
  }

  push(item: Item): void {
    this.#items.push({ item, dueMs: performance.now() + this.#line.latencyMs });
    if (item.kind === 'bytes') this.#waitingBytes += item.bytes.length;
    if (this.#waitingBytes > IN_FLIGHT_BYTES_MAX) this.#from.pause();
    this.#line.add(this);
  }

  /** Lets out the next item, or that much of it; returns its bytes. */
  pass(bytesMax: number, change: (bytes: Buffer) => Buffer): number {
    const first = this.#items.shift();
    if (first === undefined) return 0;
    const { item, dueMs } = first;
    switch (item.kind) {
      case 'bytes': {
        const bytes = item.bytes.subarray(0, bytesMax);
        if (bytes.length < item.bytes.length)
          this.#items.unshift({ item: { kind: 'bytes', bytes: item.bytes.subarray(bytesMax) }, dueMs });
        this.#waitingBytes -= bytes.length;
        if (this.#waitingBytes <= IN_FLIGHT_BYTES_MAX / 2) this.#from.resume();
        if (!this.#to.destroyed) this.#to.write(change(bytes));
        return bytes.length;
      }
      case 'end':
        this.#to.end();
        return 0;
      case 'reset':
        this.#to.resetAndDestroy();
        return 0;
      default:
        return item satisfies never;
    }
  }
}

/** One direction of the proxy, whose connections take turns and share its speed. */
class Line {
  readonly #proxy: TcpProxy;
  readonly #pipes = new Set<Pipe>();
  #timer: NodeJS.Timeout | null = null;
  /** When the bytes that passed last are through. */
  #freeMs = 0;
  #isStopped = false;

  constructor(proxy: TcpProxy) {
    this.#proxy = proxy;
  }

  get latencyMs(): number {
    return this.#proxy.latencyMs;
  }

  add(pipe: Pipe): void {
    this.#pipes.add(pipe);
    this.wake();
  }

  wake(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    if (!this.#proxy.isCut && !this.#isStopped) this.#passAllDue();
  }

  stop(): void {
    this.#isStopped = true;
    this.wake();
  }

  #passAllDue(): void {
    for (;;) {
      const nowMs = performance.now();
      const nextMs = this.#nextMs();
      if (nextMs === null) return;
      // Timers are late by up to a millisecond, which the pace below makes up for.
      if (nextMs > nowMs) {
        this.#timer = setTimeout(() => this.wake(), nextMs - nowMs);
        return;
      }
      const pipe = [...this.#pipes].find(({ dueMs = Infinity, isOpen }) => isOpen && dueMs <= nowMs);
      if (pipe === undefined) return;
      const bytes = pipe.pass(this.#proxy.pieceBytes, (piece) => this.#proxy.passed(piece));
      this.#pipes.delete(pipe);
      if (pipe.dueMs !== undefined) this.#pipes.add(pipe);
      const startMs = Math.max(this.#freeMs, nowMs - PIECE_MS);
      this.#freeMs = startMs + (bytes / this.#proxy.bytesPerSecond) * 1_000;
    }
  }

  /** When the next item may pass; null while there is none that its receiver would take. */
  #nextMs(): number | null {
    let nextMs: number | null = null;
    for (const { dueMs, isOpen } of this.#pipes)
      if (isOpen && dueMs !== undefined && (nextMs === null || dueMs < nextMs)) nextMs = dueMs;
    return nextMs === null ? null : Math.max(nextMs, this.#freeMs);
  }
}
