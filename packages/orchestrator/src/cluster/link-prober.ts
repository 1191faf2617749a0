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
    // One after the other in each direction, so that they do not share the newcomer's network card.
    for (const peer of peers) {
      await this.#measure(newcomer, peer);
      await this.#measure(peer, newcomer);
    }
  }

  /** Measures the ways that a plan takes, all at once as its steps do. */
  async remeasure(ways: readonly (readonly [from: WorkerLink, to: WorkerLink])[]): Promise<void> {
    await Promise.all(ways.map(([from, to]) => this.#measure(from, to)));
  }

  receive({ requestId, latencyMicros, bytesPerSecond }: ControlMessageOf<'probed'>): void {
    const pending = this.#pending.get(requestId);
    if (!pending) return;
    const { from, to, done } = pending;
    const isReached = latencyMicros !== null && bytesPerSecond !== null;
    this.table.measured(from, to, isReached ? { latencyMicros, bytesPerSecond } : null);
    done();
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
