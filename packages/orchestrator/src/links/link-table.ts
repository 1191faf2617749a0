import type { Link } from '@butterfly/planning';

/** What a link is like. */
interface LinkSpeed {
  readonly latencyMicros: number;
  readonly bytesPerSecond: number;
}

/** Why a link is not taken for one that can be dialled, and until when that is not looked at again. */
interface Doubt {
  readonly untilMs: number;
  /** Whether it broke while it was used, so that a dial that succeeds proves little before then. */
  readonly wasBroken: boolean;
}

/** Between processes of one machine. */
export const loopbackLink: LinkSpeed = { latencyMicros: 50, bytesPerSecond: 2e9 };
/** Gigabit Ethernet through one switch, until something is measured. */
export const assumedLink: LinkSpeed = { latencyMicros: 200, bytesPerSecond: 110e6 };
/** How long a link that broke, or could not be dialled, is taken for one that cannot be. */
const doubtMs = 120_000;

/** What is known of the links between workers, and between them and the orchestrator, which null stands for. A pure table. */
export class LinkTable {
  /** One way, by "from to". */
  readonly #latencyMicros = new Map<string, number>();
  readonly #bytesPerSecond = new Map<string, number>();
  readonly #doubts = new Map<string, Doubt>();
  readonly #machines = new Map<string, string>();
  /** One link between the orchestrator and a worker. */
  readonly #heardMicros = new Map<string, number>();

  join(workerId: string, machineId: string): void {
    this.#machines.set(workerId, machineId);
  }

  leave(workerId: string): void {
    this.#machines.delete(workerId);
    this.#heardMicros.delete(workerId);
    for (const table of [this.#latencyMicros, this.#bytesPerSecond, this.#doubts])
      for (const key of table.keys()) if (endsOf(key).includes(workerId)) table.delete(key);
  }

  /** From half the round trip of a heartbeat. */
  heard(workerId: string, latencyMicros: number): void {
    if (this.#machines.has(workerId)) this.#heardMicros.set(workerId, latencyMicros);
  }

  /** `from` dialled `to`, or could not, which null stands for. */
  reached(from: string, to: string, latencyMicros: number | null, nowMs: number): void {
    const key = keyOf(from, to);
    if (!this.#isHere(from, to)) return;
    const doubt = this.#doubts.get(key);
    if (latencyMicros === null) {
      this.#doubts.set(key, { untilMs: nowMs + doubtMs, wasBroken: false });
      return;
    }
    this.#latencyMicros.set(key, latencyMicros);
    if (doubt && (!doubt.wasBroken || doubt.untilMs <= nowMs)) this.#doubts.delete(key);
  }

  /** Bytes flowed from one to the other, whoever dialled. */
  flowed(from: string | null, to: string | null, bytesPerSecond: number): void {
    if (this.#isHere(from, to)) this.#bytesPerSecond.set(keyOf(from, to), bytesPerSecond);
  }

  /** The link broke while both of its ends lived. */
  broke(from: string, to: string, nowMs: number): void {
    if (this.#isHere(from, to))
      this.#doubts.set(keyOf(from, to), { untilMs: nowMs + doubtMs, wasBroken: true });
  }

  /** Links that are to be dialled again, because what was found of them is old. */
  doubtful(nowMs: number): (readonly [from: string, to: string])[] {
    return [...this.#doubts].flatMap(([key, { untilMs }]) => (untilMs <= nowMs ? [endsOf(key)] : []));
  }

  /** Whether something was measured of a way, or that it cannot be dialled. */
  isKnown(from: string | null, to: string | null): boolean {
    const key = keyOf(from, to);
    return this.#bytesPerSecond.has(key) || this.#latencyMicros.has(key) || this.#doubts.has(key);
  }

  isOneMachine(a: string, b: string): boolean {
    return this.#machines.get(a) !== undefined && this.#machines.get(a) === this.#machines.get(b);
  }

  link(from: string | null, to: string | null): Link {
    const key = keyOf(from, to);
    if (from === null || to === null)
      return {
        latencyMicros: this.#heardMicros.get(from ?? to ?? '') ?? assumedLink.latencyMicros,
        bytesPerSecond: this.#bytesPerSecond.get(key) ?? assumedLink.bytesPerSecond,
        isRelayed: false,
      };
    if (this.#doubts.has(key)) return relayedLink(this.link(from, null), this.link(null, to));
    const unmeasured = this.isOneMachine(from, to) ? loopbackLink : assumedLink;
    return {
      latencyMicros: this.#latencyMicros.get(key) ?? unmeasured.latencyMicros,
      bytesPerSecond: this.#bytesPerSecond.get(key) ?? unmeasured.bytesPerSecond,
      isRelayed: false,
    };
  }

  #isHere(from: string | null, to: string | null): boolean {
    return [from, to].every((each) => each === null || this.#machines.has(each));
  }
}

/** To the orchestrator, and once all is there, on again: one way after the other. */
export function relayedLink(up: Link, down: Link): Link {
  return {
    latencyMicros: up.latencyMicros + down.latencyMicros,
    bytesPerSecond: (up.bytesPerSecond * down.bytesPerSecond) / (up.bytesPerSecond + down.bytesPerSecond),
    isRelayed: true,
  };
}

function keyOf(from: string | null, to: string | null): string {
  return `${from ?? ''} ${to ?? ''}`;
}

function endsOf(key: string): [from: string, to: string] {
  const [from = '', to = ''] = key.split(' ');
  return [from, to];
}
