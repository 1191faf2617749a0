import { deadlines, encodeControl, type Clock, type ControlMessageOf } from '@butterfly/common';
import type { LinkTable } from './link-table.js';
import { addressFor, type WorkerLink } from './worker-link.js';

/** Of those that a newcomer is measured against: more would take longer to join than they are worth. */
const peersMax = 16;

interface Pending {
  readonly from: string;
  readonly to: string;
  readonly done: () => void;
}

/** Has workers measure their ways to each other, and keeps what comes of it in the table. */
export class LinkProber {
  readonly #pending = new Map<number, Pending>();
  #nextId = 0;

  constructor(
    private readonly table: LinkTable,
    private readonly clock: Clock,
  ) {}

  /** Measures both ways between the newcomer and the others; ends by its deadline, whatever was answered. */
  async introduce(newcomer: WorkerLink, others: readonly WorkerLink[]): Promise<void> {
    const peers = others.filter((other) => !this.#isKnown(newcomer, other)).slice(-peersMax);
    // One peer after the other, so that they do not share the newcomer's network card.
    for (const peer of peers) await this.#bothWays(newcomer, peer);
  }

  /** Measures the ways that a plan takes, all at once as its steps do. */
  async remeasure(ways: readonly (readonly [from: WorkerLink, to: WorkerLink])[]): Promise<void> {
    await Promise.all(ways.map(([from, to]) => this.#bothWays(from, to)));
  }

  /** Takes an answer; one that comes from another worker than was asked, or late, is dropped. */
  receive(workerId: string, { requestId, latencyMicros, bytesPerSecond }: ControlMessageOf<'probed'>): void {
    const pending = this.#pending.get(requestId);
    if (pending?.from !== workerId) return;
    const { from, to, done } = pending;
    this.table.reached(from, to, latencyMicros);
    // Whoever dials asks for blocks and times them on their way to itself.
    if (bytesPerSecond !== null) this.table.flowed(to, from, bytesPerSecond);
    done();
  }

  /** Nobody waits for a worker that is gone, or for the way to it. */
  leave(workerId: string): void {
    for (const { from, to, done } of this.#pending.values()) if (from === workerId || to === workerId) done();
  }

  async #bothWays(one: WorkerLink, other: WorkerLink): Promise<void> {
    await this.#measure(one, other);
    await this.#measure(other, one);
  }

  /** Within one machine there is nothing to measure, unless they advertise another way. */
  #isKnown(one: WorkerLink, other: WorkerLink): boolean {
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
}
