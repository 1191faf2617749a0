import type { Clock } from '@butterfly/common';
import {
  type IncomingStream,
  type ListenOptions,
  type Listener,
  type Transport,
  dialOver,
  listenError,
} from '@butterfly/wire';
import type { SimulatedClock } from '../clock/simulated-clock.js';
import type { Random } from '../synthetic/random.js';
import type { Lane } from './simulated-link.js';
import { SimulatedStream } from './simulated-stream.js';

/** What a host needs of the network that it is part of. */
export interface HostSurroundings {
  readonly clock: SimulatedClock;
  readonly random: Random;
  /** The process that runs under that name, whether or not it listens; undefined for a name that nobody knows. */
  readonly lookUp: (name: string) => SimulatedHost | undefined;
  /** The way from one host to another, and back. */
  readonly lanesBetween: (from: string, to: string) => readonly [Lane, Lane];
}

/** What happens on a port. */
type Accept = (stream: SimulatedStream) => void;

const FIRST_FREE_PORT = 32_768;
const PORT_MAX = 65_535;
/** TCP asks again so often while it gets no answer. */
const DIAL_AGAIN_MS = 1_000;
const ANY_ADDRESS = ['0.0.0.0', '::'];
const SELF_ADDRESSES = ['127.0.0.1', '::1', 'localhost'];

const systemError = (code: string): Error => Object.assign(new Error(code), { code });

/**
 * One process on a machine of its own: what runs in it gets this clock and this transport, so that the process can be
 * stopped and killed from outside.
 */
export class SimulatedHost {
  readonly name: string;
  readonly clock: Clock;
  readonly transport: Transport;
  readonly #network: HostSurroundings;
  readonly #ports = new Map<number, Accept>();
  readonly #streams = new Set<SimulatedStream>();
  #nextPort = FIRST_FREE_PORT;
  #isAlive = true;
  #isPaused = false;
  /** What is due but not done, because the process stands still: its timers, and what the kernel has for it. */
  #dueTimers: (() => void)[] = [];
  #dueDeliveries: (() => void)[] = [];
  #isCatchingUp = false;

  constructor(name: string, network: HostSurroundings) {
    this.name = name;
    this.#network = network;
    this.clock = {
      nowMs: () => network.clock.nowMs(),
      after: (delayMs, callback) => this.#after(delayMs, callback),
    };
    this.transport = {
      dial: (options) =>
        dialOver({ ...options, clock: options.clock ?? this.clock }, (to) => this.#open(to.host, to.port)),
      listen: (options) => this.#listen(options),
    };
  }

  get isAlive(): boolean {
    return this.#isAlive;
  }

  /** SIGSTOP: nothing runs here any more, while the kernel goes on to accept connections and data. */
  pause(): void {
    this.#isPaused = true;
  }

  /** SIGCONT: first all timers that are due, then all that arrived. */
  resume(): void {
    this.#isPaused = false;
    this.#catchUp();
  }

  /** SIGKILL: nothing runs here ever again, ports are free, and the kernel closes or resets every connection. */
  kill(): void {
    this.#isAlive = false;
    this.#ports.clear();
    this.#dueTimers = [];
    this.#dueDeliveries = [];
    for (const stream of this.#streams) stream.abandon(this.#network.random.below(2) === 0);
    this.#streams.clear();
  }

  /** Runs what the kernel has for the process, now or once it is not stopped any more. */
  deliver(task: () => void): void {
    this.#run(task, this.#dueDeliveries);
  }

  /** Runs a task of the process after all that runs now. */
  soon(task: () => void): void {
    this.#network.clock.after(0, () => this.deliver(task));
  }

  /** A stream is closed. */
  forget(stream: SimulatedStream): void {
    this.#streams.delete(stream);
  }

  #after(delayMs: number, callback: () => void): () => void {
    let isCancelled = false;
    const task = (): void => {
      if (!isCancelled) callback();
    };
    const cancel = this.#network.clock.after(delayMs, () => this.#run(task, this.#dueTimers));
    return () => {
      isCancelled = true;
      cancel();
    };
  }

  #run(task: () => void, queue: (() => void)[]): void {
    if (!this.#isAlive) return;
    if (this.#isPaused || this.#isCatchingUp) queue.push(task);
    else task();
  }

  /** One task in each turn, so that what one sets off is done before the next. */
  #catchUp(): void {
    this.#isCatchingUp = this.#dueTimers.length + this.#dueDeliveries.length > 0;
    if (!this.#isCatchingUp) return;
    this.#network.clock.after(0, () => {
      if (this.#isPaused) return;
      const task = this.#dueTimers.shift() ?? this.#dueDeliveries.shift();
      task?.();
      this.#catchUp();
    });
  }

  #newStream(lane: Lane, localPort: number, remoteAddress: string, remotePort: number): SimulatedStream {
    const stream = new SimulatedStream(this, lane, {
      localAddress: this.name,
      localPort,
      remoteAddress,
      remotePort,
    });
    if (this.#isAlive) this.#streams.add(stream);
    return stream;
  }

  #freePort(): number {
    if (this.#nextPort > PORT_MAX) this.#nextPort = FIRST_FREE_PORT;
    while (this.#ports.has(this.#nextPort)) this.#nextPort++;
    return this.#nextPort++;
  }

  #open(host: string, port: number): SimulatedStream {
    const { clock, lookUp, lanesBetween } = this.#network;
    const name = SELF_ADDRESSES.includes(host) ? this.name : host;
    const [lane, wayBack] = lanesBetween(this.name, name);
    const stream = this.#newStream(lane, this.#freePort(), name, port);
    if (lookUp(name) === undefined) {
      this.soon(() => stream.destroy(systemError('ENOTFOUND')));
      return stream;
    }
    let isAnswered = false;
    const refused = (): void => this.deliver(() => stream.destroy(systemError('ECONNREFUSED')));
    const ask = (): void => {
      if (isAnswered || stream.isDestroyed) return;
      lane.packet(() => {
        if (isAnswered) return;
        isAnswered = true;
        const accepted = lookUp(name)?.accept(stream, port, wayBack);
        wayBack.packet(() => {
          if (accepted === undefined) refused();
          else stream.establish(accepted);
        });
      });
      clock.after(DIAL_AGAIN_MS, ask);
    };
    ask();
    return stream;
  }

  /** The kernel accepts a connection, even while the process stands still; undefined where nobody listens. */
  accept(from: SimulatedStream, port: number, lane: Lane): SimulatedStream | undefined {
    const onConnection = this.#ports.get(port);
    if (onConnection === undefined) return undefined;
    const stream = this.#newStream(lane, port, from.localAddress, from.localPort);
    // As of real listeners: a stream that breaks before it has an owner is no defect.
    stream.on('error', () => undefined);
    stream.acceptFrom(from);
    this.deliver(() => onConnection(stream));
    return stream;
  }

  #listen(options: ListenOptions): Promise<Listener> {
    const { host, onConnection } = options;
    const isOwn = host === this.name || SELF_ADDRESSES.includes(host) || ANY_ADDRESS.includes(host);
    const port = options.port === 0 ? this.#freePort() : options.port;
    const fault =
      portFault(port) ?? (isOwn ? null : 'EADDRNOTAVAIL') ?? (this.#ports.has(port) ? 'EADDRINUSE' : null);
    if (fault !== null) return Promise.reject(listenError(host, port, systemError(fault)));
    const accepted = new Set<IncomingStream>();
    const accept: Accept = (stream) => {
      accepted.add(stream);
      stream.on('close', () => accepted.delete(stream));
      onConnection(stream);
    };
    this.#ports.set(port, accept);
    const close = (): Promise<void> => {
      if (this.#ports.get(port) === accept) this.#ports.delete(port);
      for (const stream of accepted) stream.destroy();
      return Promise.resolve();
    };
    return Promise.resolve({ port, close });
  }
}

const portFault = (port: number): string | null =>
  Number.isInteger(port) && port >= 0 && port <= PORT_MAX ? null : 'ERR_SOCKET_BAD_PORT';
