import {
  ButterflyError,
  type Clock,
  type ErrorCode,
  type WorkerObserver,
  deadlines,
  exitCodes,
  isLoopbackHost,
  limits,
  systemClock,
  toButterflyError,
} from '@butterfly/common';
import { type Membership, plainMembership } from '@butterfly/identity';
import type { WeightCache } from '@butterfly/weights';
import type { WorkerIdentity } from '@butterfly/wire';
import { DataDoor, type DataDoorOptions } from '../peers/data-door.js';
import { IncomingLinks } from '../peers/stage-links.js';
import type { Machine } from './native.js';
import { joinOrchestrator, type OrchestratorLink } from './orchestrator-link.js';
import { PeerGuests } from '../peers/peer-guests.js';
import type { MeasuredProfile } from '../profile/profile-cache.js';
import { PeerSecret } from '../peers/peer-secret.js';
import { ComputeTurns } from './compute-turns.js';
import type { WantedModel } from './model-session.js';
import { Session, type SessionParts } from './session.js';
import { ShardHolder } from './shards.js';

export interface WorkerOptions extends Machine {
  readonly join: { readonly host: string; readonly port: number };
  /** How it proves itself; by default it does not, over plain sockets. */
  readonly membership?: Membership;
  readonly identity: Omit<WorkerIdentity, 'dataHost' | 'dataPort'>;
  /** How long it dials an orchestrator that was never there; 0, the default, dials once, and Infinity until it is stopped. */
  readonly waitMs?: number;
  /** Stops it when aborted, while it still waits too. */
  readonly signal?: AbortSignal;
  /** Whether it comes back to an orchestrator that was lost; else its end is the end of the worker. */
  readonly rejoins: boolean;
  readonly observe: WorkerObserver;
  /** Where weights are kept on disk; nowhere by default. */
  readonly cache?: WeightCache | null;
  /** Address to listen on for other workers; by default every one, or loopback when the orchestrator is there. */
  readonly dataHost?: string;
  /** Port for that; 0 lets the system choose. */
  readonly dataPort?: number;
  /** Where others reach that door, when it is not where it listens: behind a router or in a container. */
  readonly advertise?: { readonly host: string; readonly port: number };
  /** Whether it leaves the model's files on this machine alone, as a machine without them does. */
  readonly remoteOnly?: boolean;
  readonly clock?: Clock;
  /** Told of each step that comes, and of each that is done. */
  readonly onStep?: () => void;
}

/** Pauses between attempts to reach the orchestrator: they double. */
const dialPauseMinMs = 250;
const dialPauseMaxMs = 5_000;
/** Answers that will be the same the next time, although they come over the network. */
const finalCodes: ReadonlySet<ErrorCode> = new Set(['JOIN_REFUSED', 'ACCESS_DENIED', 'PROTOCOL_VERSION']);
/** What an orchestrator that is not there yet looks like: itself, or through a proxy that is. */
const absentCodes: ReadonlySet<ErrorCode> = new Set([
  'PEER_UNREACHABLE',
  'CONNECTION_CLOSED',
  'TIMEOUT',
  // It is there, and lets this machine in when its time is over.
  'KEPT_OUT',
]);

/**
 * A worker: joins an orchestrator, loads the layers that it is told and computes steps. When the orchestrator is lost it
 * comes back with what it has loaded; a goodbye, of either side, ends it.
 */
export class Worker {
  /** Ends with null after an orderly goodbye, else with what went wrong. */
  readonly closed: Promise<ButterflyError | null>;
  #resolveClosed: (error: ButterflyError | null) => void = () => undefined;
  readonly #stopping = new AbortController();
  #session: Session | null = null;
  #pauseMs = dialPauseMinMs;
  /** For how long the orchestrator said that it lets this worker in no more. */
  #keptOutMs = 0;
  /** By model, the latest last: losing the orchestrator changes nothing of it. */
  readonly #measured = new Map<string, Promise<MeasuredProfile>>();
  /** Machines are measured on one model after the other. */
  #measuring: Promise<unknown> = Promise.resolve();

  private constructor(
    private readonly options: WorkerOptions,
    private readonly parts: Omit<SessionParts, 'measure'>,
    private readonly door: DataDoor,
  ) {
    this.closed = new Promise((resolve) => (this.#resolveClosed = resolve));
  }

  /**
   * Dials the orchestrator, for as long as `waitMs` says, and is welcomed.
   * @throws ButterflyError PEER_UNREACHABLE, PEER_UNTRUSTED, JOIN_REFUSED, PROTOCOL_VERSION, TIMEOUT, ADDRESS_INVALID, PORT_IN_USE;
   * CANCELLED when it is stopped before
   */
  static async start(options: WorkerOptions): Promise<Worker> {
    const {
      clock = systemClock,
      membership = plainMembership(null),
      cache = null,
      stages,
      observe,
    } = options;
    const { transport } = membership;
    const { onStep = (): void => undefined } = options;
    const arrivals = { secret: new PeerSecret(), links: new IncomingLinks(clock), guests: new PeerGuests() };
    const door = await openDoor(options, { transport, clock, observe, ...arrivals });
    const shards = new ShardHolder({ stages, clock, observe });
    const localFiles = options.remoteOnly !== true;
    const turns = new ComputeTurns();
    const parts = {
      ...arrivals,
      shards,
      turns,
      cache,
      localFiles,
      membership,
      transport,
      clock,
      observe,
      onStep,
    };
    const worker = new Worker(options, parts, door);
    const { signal } = options;
    const stop = (): void => worker.#stopping.abort();
    signal?.addEventListener('abort', stop);
    if (signal?.aborted) stop();
    try {
      void worker.#attend(await worker.#joinFirst());
    } catch (error) {
      await door.close();
      throw error;
    }
    return worker;
  }

  /** As the orchestrator calls it; another one after each return. */
  get id(): string {
    return this.#session?.workerId ?? '';
  }

  /** Says goodbye and frees everything. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.closed;
  }

  async #join(): Promise<OrchestratorLink> {
    const { join, identity, advertise } = this.options;
    const { membership, transport, clock } = this.parts;
    await membership.enrol(join);
    const reached = advertise
      ? { dataHost: advertise.host, dataPort: advertise.port }
      : { dataPort: this.door.port };
    return joinOrchestrator({
      ...join,
      transport,
      clock,
      signal: this.#stopping.signal,
      hello: {
        kind: 'hello',
        token: membership.token,
        worker: { ...identity, ...reached },
      },
      onWelcome: (welcome, connection) => {
        const measure = (model: WantedModel): Promise<MeasuredProfile> => this.#measure(model);
        const session = new Session(welcome, connection, { ...this.parts, measure });
        this.#session = session;
        return (frame) => session.receive(frame);
      },
    });
  }

  async #joinFirst(): Promise<OrchestratorLink> {
    const { clock } = this.parts;
    const { waitMs = 0 } = this.options;
    const endMs = clock.nowMs() + waitMs;
    let isTold = false;
    const onFailure = (error: ButterflyError): void => {
      if (!absentCodes.has(error.code) || clock.nowMs() >= endMs) throw error;
      if (!isTold) this.parts.observe({ kind: 'orchestratorAwaited', error });
      isTold = true;
    };
    const link = await this.#dialUntilWelcomed(onFailure, endMs);
    this.#pauseMs = dialPauseMinMs;
    if (link) return link;
    throw new ButterflyError('CANCELLED', 'The worker was stopped before the orchestrator answered.');
  }

  #measure({ spec, isDeterministic, weightsKey }: WantedModel): Promise<MeasuredProfile> {
    const known = this.#measured.get(weightsKey);
    if (known) return known;
    const profile = this.#measuring.then(() => this.options.profiler(spec, isDeterministic));
    this.#measuring = profile.catch(() => undefined);
    this.#measured.set(weightsKey, profile);
    for (const [key] of this.#measured)
      if (this.#measured.size > limits.modelsOpenMax) this.#measured.delete(key);
    profile.catch(() => {
      if (this.#measured.get(weightsKey) === profile) this.#measured.delete(weightsKey);
    });
    return profile;
  }

  async #attend(link: OrchestratorLink): Promise<void> {
    const error = await this.#serve(link).catch(toButterflyError);
    await this.parts.shards.close();
    await this.parts.cache?.images.settled();
    await this.door.close();
    this.#resolveClosed(error);
  }

  /** Works until the orchestrator says goodbye or is lost for good: then gives why. */
  async #serve(first: OrchestratorLink): Promise<ButterflyError | null> {
    const { clock, observe } = this.parts;
    const { rejoins } = this.options;
    for (let link: OrchestratorLink | null = first; link; link = await this.#rejoin()) {
      const joinedMs = clock.nowMs();
      const error = await link.closed;
      await this.#session?.end();
      if (error === null || !rejoins || !isPassing(error)) return error;
      if (clock.nowMs() - joinedMs > dialPauseMaxMs) this.#pauseMs = dialPauseMinMs;
      this.#heed(error);
      observe({ kind: 'orchestratorLost', error });
    }
    return null;
  }

  /** Dials until it is welcomed again; null when it is stopped meanwhile. @throws ButterflyError when it is refused */
  async #rejoin(): Promise<OrchestratorLink | null> {
    await this.#pause(Infinity);
    const link = await this.#dialUntilWelcomed((error) => {
      if (!isPassing(error)) throw error;
    }, Infinity);
    if (link) this.parts.observe({ kind: 'orchestratorRejoined', workerId: this.id });
    return link;
  }

  /**
   * Dials, with pauses, until it is welcomed; null when it is stopped meanwhile.
   * @param onFailure throws to give up
   * @param endMs when an attempt is the last, by the clock
   */
  async #dialUntilWelcomed(
    onFailure: (error: ButterflyError) => void,
    endMs: number,
  ): Promise<OrchestratorLink | null> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      try {
        return await unlessAborted(signal, () => this.#join());
      } catch (thrown) {
        const error = toButterflyError(thrown);
        onFailure(error);
        this.#heed(error);
        const { code, message } = error;
        this.parts.observe({ kind: 'dialFailed', code, message });
      }
      await this.#pause(endMs);
    }
    return null;
  }

  /** Whoever asks again before its time is only told so again. */
  #heed({ retryAfterMs = 0 }: ButterflyError): void {
    this.#keptOutMs = Math.min(retryAfterMs, deadlines.keptOutMaxMs);
  }

  async #pause(endMs: number): Promise<void> {
    const { clock } = this.parts;
    const wantedMs = Math.max(this.#pauseMs, this.#keptOutMs);
    const pauseMs = Math.min(wantedMs, Math.max(0, endMs - clock.nowMs()));
    this.#pauseMs = Math.min(2 * this.#pauseMs, dialPauseMaxMs);
    await pause(pauseMs, clock, this.#stopping.signal);
  }
}

/** Where other workers come in; those of an orchestrator at a loopback address are on this machine. */
async function openDoor(
  { join, dataHost, dataPort: port = 0 }: WorkerOptions,
  parts: Omit<DataDoorOptions, 'host' | 'port'>,
): Promise<DataDoor> {
  const host = dataHost ?? (isLoopbackHost(join.host) ? join.host : null);
  if (host !== null) return DataDoor.open({ host, port, ...parts });
  try {
    // Over IPv4 as well.
    return await DataDoor.open({ host: '::', port, ...parts });
  } catch (thrown) {
    if (toButterflyError(thrown).code !== 'ADDRESS_INVALID') throw thrown;
    // A machine without IPv6.
    return DataDoor.open({ host: '0.0.0.0', port, ...parts });
  }
}

/** Whether the orchestrator may answer otherwise the next time. */
function isPassing({ code, kind }: ButterflyError): boolean {
  return code === 'INTERNAL' || (kind.exitCode === exitCodes.network && !finalCodes.has(code));
}

/** Resolves after the pause, or on abort. */
async function pause(pauseMs: number, clock: Clock, signal: AbortSignal): Promise<void> {
  let cancel: () => void = () => undefined;
  await unlessAborted(signal, () => new Promise<void>((resolve) => (cancel = clock.after(pauseMs, resolve))));
  cancel();
}

/** What the work gives, or null as soon as the signal is aborted; the work is then left alone. */
async function unlessAborted<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T | null> {
  if (signal.aborted) return null;
  let onAbort: () => void = () => undefined;
  const aborted = new Promise<null>((resolve) => {
    onAbort = () => resolve(null);
    signal.addEventListener('abort', onAbort);
  });
  try {
    return await Promise.race([work(), aborted]);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}
