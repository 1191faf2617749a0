import type { Link } from '../planning/types.js';

/** What a way is like. */
interface Way {
  readonly latencyMicros: number;
  readonly bytesPerSecond: number;
}

/** Between processes of one machine. */
export const loopback: Way = { latencyMicros: 50, bytesPerSecond: 2e9 };
/** Gigabit Ethernet through one switch, until something is measured. */
export const assumed: Way = { latencyMicros: 200, bytesPerSecond: 110e6 };
/** How long a link that broke is taken for one that cannot be dialled. */
const distrustMs = 120_000;

/** What is known of the ways between workers, and between them and the orchestrator. A pure table. */
export class LinkTable {
  /** One way, by "from to"; null where the receiver cannot be dialled. */
  readonly #reached = new Map<string, number | null>();
  readonly #bytesPerSecond = new Map<string, number>();
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
    for (const table of [this.#reached, this.#bytesPerSecond, this.#distrustedUntilMs])
      for (const key of table.keys()) if (key.split(' ').includes(workerId)) table.delete(key);
  }

  /** From half the round trip of a heartbeat. */
  heard(workerId: string, latencyMicros: number): void {
    if (this.#machines.has(workerId)) this.#latencyMicros.set(workerId, latencyMicros);
  }

  /** `from` dialled `to`, or could not, which null stands for. */
  reached(from: string, to: string, latencyMicros: number | null): void {
    if (this.#machines.has(from) && this.#machines.has(to)) this.#reached.set(keyOf(from, to), latencyMicros);
  }

  /** Bytes flowed from one to the other, whoever dialled. */
  flowed(from: string, to: string, bytesPerSecond: number): void {
    if (this.#machines.has(from) && this.#machines.has(to))
      this.#bytesPerSecond.set(keyOf(from, to), bytesPerSecond);
  }

  /** The link broke while both of its ends lived. */
  broke(from: string, to: string, nowMs: number): void {
    if (this.#machines.has(from) && this.#machines.has(to))
      this.#distrustedUntilMs.set(keyOf(from, to), nowMs + distrustMs);
  }

  /** Forgets what is distrusted no longer; whether there was such a link. */
  forgive(nowMs: number): boolean {
    const over = [...this.#distrustedUntilMs].filter(([, untilMs]) => untilMs <= nowMs);
    for (const [key] of over) this.#distrustedUntilMs.delete(key);
    return over.length > 0;
  }

  isOneMachine(a: string, b: string): boolean {
    return this.#machines.get(a) !== undefined && this.#machines.get(a) === this.#machines.get(b);
  }

  /** Null stands for the orchestrator. */
  link(from: string | null, to: string | null, nowMs: number): Link {
    if (from === null || to === null) return { ...this.#toOrchestrator(from ?? to), isRelayed: false };
    const key = keyOf(from, to);
    const latencyMicros = this.#reached.get(key);
    const isDistrusted = (this.#distrustedUntilMs.get(key) ?? 0) > nowMs;
    if (latencyMicros === null || isDistrusted) return this.#relayed(from, to);
    const unmeasured = this.isOneMachine(from, to) ? loopback : assumed;
    return {
      latencyMicros: latencyMicros ?? unmeasured.latencyMicros,
      bytesPerSecond: this.#bytesPerSecond.get(key) ?? unmeasured.bytesPerSecond,
      isRelayed: false,
    };
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

  #toOrchestrator(workerId: string | null): Way {
    const latencyMicros = this.#latencyMicros.get(workerId ?? '');
    return latencyMicros === undefined ? assumed : { ...assumed, latencyMicros };
  }
}

function keyOf(from: string, to: string): string {
  return `${from} ${to}`;
}
