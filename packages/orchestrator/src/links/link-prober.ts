import { type Clock, deadlines } from '@butterfly/common';
import { type ControlMessageOf, type FileChunk, encodeControl } from '@butterfly/wire';
import { assumedLink, type LinkTable } from './link-table.js';
import { OrchestratorProbe } from './orchestrator-probe.js';
import { addressFor, type FleetWorker } from '../fleet/fleet-worker.js';

/** Of those that a newcomer is measured against: more would take longer to join than they are worth. */
const peersMax = 16;
/** Of the links of a newcomer that seem slow, those that are measured again at once; of a plan, all are. */
const confirmedAtOnceMax = 4;
/** A link that seems slower than this share of a good LAN may be one between hosts that had other work. */
const doubtfulShare = 0.5;
/** A link that is so many times as fast as it seemed may make for another plan. */
const newsRatio = 1.25;

interface Pending {
  readonly from: string;
  readonly to: string;
  /** Whether the better of this and what is known counts. */
  readonly isSecond: boolean;
  readonly done: () => void;
}

/** From one worker to another. */
export type LinkEnds = readonly [from: FleetWorker, to: FleetWorker];

/** Has workers measure their links to each other, and keeps what comes of it in the table. */
export class LinkProber {
  readonly #pending = new Map<number, Pending>();
  /** Of links to and from the orchestrator, by worker. */
  readonly #probes = new Map<string, OrchestratorProbe>();
  /** Links that seemed slow and were measured again. */
  readonly #confirmed = new Set<string>();
  #nextId = 0;
  #isRetrying = false;

  constructor(
    private readonly table: LinkTable,
    private readonly clock: Clock,
  ) {}

  /** Measures both directions between the newcomer and the others; ends by its deadline, whatever was answered. */
  async introduce(newcomer: FleetWorker, others: readonly FleetWorker[]): Promise<void> {
    const peers = others.filter((other) => !this.#isPlain(newcomer, other)).slice(-peersMax);
    // One peer after the other, so that they do not share the newcomer's network card.
    for (const peer of peers) {
      await this.#bothDirections(newcomer, peer);
      await this.#relays([newcomer, peer], this.#isUnknown);
    }
    const slowest = peers
      .map((peer): LinkEnds => [newcomer, peer])
      .sort((a, b) => this.#slower(a) - this.#slower(b))
      .slice(0, confirmedAtOnceMax);
    await this.#confirm(slowest);
  }

  /** Measures the links that a plan takes, all at once as its steps do, and again those that then seem slow. */
  async remeasure(links: readonly LinkEnds[]): Promise<void> {
    await Promise.all(links.map(([from, to]) => this.#bothDirections(from, to)));
    for (const [from, to] of links) this.#confirmed.delete(pairOf(from.workerId, to.workerId));
    await this.#confirm(links);
    for (const ends of links) await this.#relays(ends, () => true);
  }

  /** Measures those links that nothing is known of, and again those that seem slow; whether that tells anything new. */
  async complete(links: readonly LinkEnds[]): Promise<boolean> {
    let isNews = false;
    for (const [from, to] of links) {
      const isNew = !this.#isPlain(from, to) && !this.table.isKnown(from.workerId, to.workerId);
      if (isNew) await this.#bothDirections(from, to);
      const isRelayNew = await this.#relays([from, to], this.#isUnknown);
      isNews ||= isNew || isRelayNew;
    }
    const isFaster = await this.#confirm(links);
    return isNews || isFaster;
  }

  /** Tries those links again that could not be dialled a while ago; whether one of them can be now. */
  async retry(workers: ReadonlyMap<string, FleetWorker>): Promise<boolean> {
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
    const { from, to, isSecond, done } = pending;
    const known = isSecond ? { there: this.table.link(from, to), back: this.table.link(to, from) } : null;
    const micros = known && Math.min(latencyMicros ?? Infinity, known.there.latencyMicros);
    this.table.reached(from, to, micros ?? latencyMicros, this.clock.nowMs());
    // Whoever dials asks for blocks and times them on their way to itself.
    if (bytesPerSecond !== null)
      this.table.flowed(to, from, Math.max(bytesPerSecond, known?.back.bytesPerSecond ?? 0));
    done();
  }

  /** Takes a block that a worker was asked for. */
  receiveBlock(workerId: string, block: FileChunk): void {
    this.#probes.get(workerId)?.receive(block);
  }

  /** Nobody waits for a worker that is gone, or for the link to it. */
  leave(workerId: string): void {
    for (const { from, to, done } of this.#pending.values()) if (from === workerId || to === workerId) done();
    this.#probes.get(workerId)?.end();
    for (const pair of this.#confirmed) if (pair.split(' ').includes(workerId)) this.#confirmed.delete(pair);
  }

  async #bothDirections(one: FleetWorker, other: FleetWorker, isSecond = false): Promise<void> {
    await this.#measure(one, other, isSecond);
    await this.#measure(other, one, isSecond);
  }

  /**
   * Measures links again that seem slow, once for each: other work of a host makes a link seem slower and never faster, so
   * the better measurement counts. Whether one of them is faster than it seemed.
   */
  async #confirm(links: readonly LinkEnds[]): Promise<boolean> {
    let isFaster = false;
    for (const [one, other] of links) {
      const pair = pairOf(one.workerId, other.workerId);
      if (this.#confirmed.has(pair) || !this.#seemsSlow(one, other)) continue;
      this.#confirmed.add(pair);
      const before = this.#slower([one, other]);
      await this.#bothDirections(one, other, true);
      isFaster ||= this.#slower([one, other]) > newsRatio * before;
    }
    return isFaster;
  }

  #seemsSlow(one: FleetWorker, other: FleetWorker): boolean {
    const [a, b] = [one.workerId, other.workerId];
    if (this.#isPlain(one, other) || !this.table.isKnown(a, b)) return false;
    if (this.table.link(a, b).isRelayed || this.table.link(b, a).isRelayed) return false;
    return this.#slower([one, other]) < doubtfulShare * assumedLink.bytesPerSecond;
  }

  /** Bytes per second of the slower of both links. */
  #slower([{ workerId: a }, { workerId: b }]: LinkEnds): number {
    return Math.min(this.table.link(a, b).bytesPerSecond, this.table.link(b, a).bytesPerSecond);
  }

  /** Within one machine there is nothing to measure, unless they advertise another link. */
  #isPlain(one: FleetWorker, other: FleetWorker): boolean {
    const isPlain = one.identity.dataHost === undefined && other.identity.dataHost === undefined;
    return isPlain && this.table.isOneMachine(one.workerId, other.workerId);
  }

  #measure(from: FleetWorker, to: FleetWorker, isSecond = false): Promise<void> {
    if (!from.connection.isOpen || !to.connection.isOpen) return Promise.resolve();
    const requestId = this.#nextId++;
    return new Promise((resolve) => {
      const done = (): void => {
        cancelDeadline();
        this.#pending.delete(requestId);
        resolve();
      };
      const cancelDeadline = this.clock.after(deadlines.probeMs, done);
      this.#pending.set(requestId, { from: from.workerId, to: to.workerId, isSecond, done });
      const host = addressFor(from, to);
      from.connection.send(encodeControl({ kind: 'probe', requestId, host, port: to.identity.dataPort }));
    });
  }

  readonly #isUnknown = ({ workerId }: FleetWorker): boolean => !this.table.isKnown(workerId, null);

  /** Only what cannot be dialled goes through the orchestrator, so only then it matters how fast the links there are. */
  async #relays([one, other]: LinkEnds, isWanted: (worker: FleetWorker) => boolean): Promise<boolean> {
    const [a, b] = [one.workerId, other.workerId];
    if (!this.table.link(a, b).isRelayed && !this.table.link(b, a).isRelayed) return false;
    const wanted = [one, other].filter((worker) => isWanted(worker) && !this.#probes.has(worker.workerId));
    for (const worker of wanted) await this.#measureRelay(worker);
    return wanted.length > 0;
  }

  async #measureRelay({ workerId, connection }: FleetWorker): Promise<void> {
    const probe = new OrchestratorProbe(connection, this.clock);
    this.#probes.set(workerId, probe);
    const { upBytesPerSecond, downBytesPerSecond } = await probe.measure();
    this.#probes.delete(workerId);
    if (upBytesPerSecond !== null) this.table.flowed(workerId, null, upBytesPerSecond);
    if (downBytesPerSecond !== null) this.table.flowed(null, workerId, downBytesPerSecond);
  }
}

/** The same whichever comes first. */
function pairOf(a: string, b: string): string {
  return [a, b].sort().join(' ');
}
