import {
  deadlines,
  encodeControl,
  type Clock,
  type ControlMessageOf,
  type FileChunk,
} from '@butterfly/common';
import type { LinkTable } from './link-table.js';
import { OrchestratorProbe } from './orchestrator-probe.js';
import { addressFor, type WorkerLink } from './worker-link.js';

/** Of those that a newcomer is measured against: more would take longer to join than they are worth. */
const peersMax = 16;

interface Pending {
  readonly from: string;
  readonly to: string;
  readonly done: () => void;
}

/** From one worker to another. */
export type Way = readonly [from: WorkerLink, to: WorkerLink];

/** Has workers measure their ways to each other, and keeps what comes of it in the table. */
export class LinkProber {
  readonly #pending = new Map<number, Pending>();
  /** Of ways to and from the orchestrator, by worker. */
  readonly #probes = new Map<string, OrchestratorProbe>();
  #nextId = 0;
  #isRetrying = false;

  constructor(
    private readonly table: LinkTable,
    private readonly clock: Clock,
  ) {}

  /** Measures both ways between the newcomer and the others; ends by its deadline, whatever was answered. */
  async introduce(newcomer: WorkerLink, others: readonly WorkerLink[]): Promise<void> {
    const peers = others.filter((other) => !this.#isPlain(newcomer, other)).slice(-peersMax);
    // One peer after the other, so that they do not share the newcomer's network card.
    for (const peer of peers) {
      await this.#bothWays(newcomer, peer);
      await this.#relays([newcomer, peer], this.#isUnknown);
    }
  }

  /** Measures the ways that a plan takes, all at once as its steps do. */
  async remeasure(ways: readonly Way[]): Promise<void> {
    await Promise.all(ways.map(([from, to]) => this.#bothWays(from, to)));
    for (const way of ways) await this.#relays(way, () => true);
  }

  /** Measures those ways that nothing is known of; false where something is of all. */
  async complete(ways: readonly Way[]): Promise<boolean> {
    let isNews = false;
    for (const [from, to] of ways) {
      const isNew = !this.#isPlain(from, to) && !this.table.isKnown(from.workerId, to.workerId);
      if (isNew) await this.#bothWays(from, to);
      const isRelayNew = await this.#relays([from, to], this.#isUnknown);
      isNews ||= isNew || isRelayNew;
    }
    return isNews;
  }

  /** Tries those ways again that could not be dialled a while ago; whether one of them can be now. */
  async retry(workers: ReadonlyMap<string, WorkerLink>): Promise<boolean> {
    if (this.#isRetrying) return false;
    this.#isRetrying = true;
    let isBetter = false;
    for (const [fromId, toId] of this.table.doubtful(this.clock.nowMs())) {
      const [from, to] = [workers.get(fromId), workers.get(toId)];
      if (!from || !to) continue;
      await this.#measure(from, to);
      isBetter ||= !this.table.link(fromId, toId).isRelayed;
    }
    this.#isRetrying = false;
    return isBetter;
  }

  /** Takes an answer; one that comes from another worker than was asked, or late, is dropped. */
  receive(workerId: string, { requestId, latencyMicros, bytesPerSecond }: ControlMessageOf<'probed'>): void {
    const pending = this.#pending.get(requestId);
    if (pending?.from !== workerId) return;
    const { from, to, done } = pending;
    this.table.reached(from, to, latencyMicros, this.clock.nowMs());
    // Whoever dials asks for blocks and times them on their way to itself.
    if (bytesPerSecond !== null) this.table.flowed(to, from, bytesPerSecond);
    done();
  }

  /** Takes a block that a worker was asked for. */
  receiveBlock(workerId: string, block: FileChunk): void {
    this.#probes.get(workerId)?.receive(block);
  }

  /** Nobody waits for a worker that is gone, or for the way to it. */
  leave(workerId: string): void {
    for (const { from, to, done } of this.#pending.values()) if (from === workerId || to === workerId) done();
    this.#probes.get(workerId)?.end();
  }

  async #bothWays(one: WorkerLink, other: WorkerLink): Promise<void> {
    await this.#measure(one, other);
    await this.#measure(other, one);
  }

  /** Within one machine there is nothing to measure, unless they advertise another way. */
  #isPlain(one: WorkerLink, other: WorkerLink): boolean {
    const isPlain = one.identity.dataHost === undefined && other.identity.dataHost === undefined;
    return isPlain && this.table.isOneMachine(one.workerId, other.workerId);
  }

  #measure(from: WorkerLink, to: WorkerLink): Promise<void> {
    if (!from.connection.isOpen || !to.connection.isOpen) return Promise.resolve();
    const requestId = this.#nextId++;
    return new Promise((resolve) => {
      const done = (): void => {
        cancelDeadline();
        this.#pending.delete(requestId);
        resolve();
      };
      const cancelDeadline = this.clock.after(deadlines.probeMs, done);
      this.#pending.set(requestId, { from: from.workerId, to: to.workerId, done });
      const host = addressFor(from, to);
      from.connection.send(encodeControl({ kind: 'probe', requestId, host, port: to.identity.dataPort }));
    });
  }

  readonly #isUnknown = ({ workerId }: WorkerLink): boolean => !this.table.isKnown(workerId, null);

  /** Only what cannot be dialled goes through the orchestrator, so only then it matters how fast the ways there are. */
  async #relays([one, other]: Way, isWanted: (worker: WorkerLink) => boolean): Promise<boolean> {
    const [a, b] = [one.workerId, other.workerId];
    if (!this.table.link(a, b).isRelayed && !this.table.link(b, a).isRelayed) return false;
    const wanted = [one, other].filter((worker) => isWanted(worker) && !this.#probes.has(worker.workerId));
    for (const worker of wanted) await this.#measureRelay(worker);
    return wanted.length > 0;
  }

  async #measureRelay({ workerId, connection }: WorkerLink): Promise<void> {
    const probe = new OrchestratorProbe(connection, this.clock);
    this.#probes.set(workerId, probe);
    const { upBytesPerSecond, downBytesPerSecond } = await probe.measure();
    this.#probes.delete(workerId);
    if (upBytesPerSecond !== null) this.table.flowed(workerId, null, upBytesPerSecond);
    if (downBytesPerSecond !== null) this.table.flowed(null, workerId, downBytesPerSecond);
  }
}
