import type { Link } from '../planning/types.js';

/** What a worker measured of its way to another one; null when it could not reach it. */
export interface MeasuredLink {
  readonly latencyMicros: number;
  readonly bytesPerSecond: number;
}

/** Between processes of one machine. */
export const loopback: MeasuredLink = { latencyMicros: 50, bytesPerSecond: 2e9 };
/** Gigabit Ethernet through one switch, until something is measured. */
export const assumed: MeasuredLink = { latencyMicros: 200, bytesPerSecond: 110e6 };
/** How long a link that broke is taken for one that cannot be dialled. */
const distrustMs = 120_000;

/** What is known of the ways between workers, and between them and the orchestrator. A pure table. */
export class LinkTable {
  /** By "from to"; null where the receiver cannot be dialled. */
  readonly #measured = new Map<string, MeasuredLink | null>();
  readonly #distrustedUntilMs = new Map<string, number>();
  readonly #machines = new Map<string, string>();
  /** One way between the orchestrator and a worker. */
  readonly #latencyMicros = new Map<string, number>();

  join(workerId: string, machineId: string): void {
    this.#machines.set(workerId, machineId);
  }

  leave(workerId: string): void {
    this.#machines.delete(workerId);
    this.#latencyMicros.delete(workerId);
    for (const table of [this.#measured, this.#distrustedUntilMs])
      for (const key of table.keys()) if (key.split(' ').includes(workerId)) table.delete(key);
  }

  /** From half the round trip of a heartbeat. */
  heard(workerId: string, latencyMicros: number): void {
    if (this.#machines.has(workerId)) this.#latencyMicros.set(workerId, latencyMicros);
  }

  measured(from: string, to: string, link: MeasuredLink | null): void {
    if (this.#machines.has(from) && this.#machines.has(to)) this.#measured.set(keyOf(from, to), link);
  }

  /** The link broke while both of its ends lived. */
  broke(from: string, to: string, nowMs: number): void {
    if (this.#machines.has(from) && this.#machines.has(to))
      this.#distrustedUntilMs.set(keyOf(from, to), nowMs + distrustMs);
  }

  isOneMachine(a: string, b: string): boolean {
    return this.#machines.get(a) !== undefined && this.#machines.get(a) === this.#machines.get(b);
  }

  /** Null stands for the orchestrator. */
  link(from: string | null, to: string | null, nowMs: number): Link {
    if (from === null || to === null) return { ...this.#toOrchestrator(from ?? to), isRelayed: false };
    const key = keyOf(from, to);
    const measured = this.#measured.get(key);
    const isDistrusted = (this.#distrustedUntilMs.get(key) ?? 0) > nowMs;
    if (measured === null || isDistrusted) return this.#relayed(from, to);
    return { ...(measured ?? (this.isOneMachine(from, to) ? loopback : assumed)), isRelayed: false };
  }

  /** There and on again: both ways one after the other, and both over the orchestrator's network card. */
  #relayed(from: string, to: string): Link {
    const [a, b] = [this.#toOrchestrator(from), this.#toOrchestrator(to)];
    return {
      latencyMicros: a.latencyMicros + b.latencyMicros,
      bytesPerSecond: Math.min(a.bytesPerSecond, b.bytesPerSecond) / 2,
      isRelayed: true,
    };
  }

  #toOrchestrator(workerId: string | null): MeasuredLink {
    const latencyMicros = this.#latencyMicros.get(workerId ?? '');
    return latencyMicros === undefined ? assumed : { ...assumed, latencyMicros };
  }
}

function keyOf(from: string, to: string): string {
  return `${from} ${to}`;
}
