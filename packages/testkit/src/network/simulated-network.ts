import type { SimulatedClock } from '../clock/simulated-clock.js';
import { createRandom } from '../synthetic/random.js';
import type { Random } from '../synthetic/random.js';
import { SimulatedHost } from './simulated-host.js';
import { SimulatedLink } from './simulated-link.js';
import type { Lane, LinkConditions } from './simulated-link.js';

export interface SimulatedNetworkOptions {
  readonly clock: SimulatedClock;
  /** Of all that is random: the same seed and the same doings give the same run. */
  readonly seed: string;
  /** Of links between hosts, until `set`; by default a fast LAN of 0.2 ms and 1 GB/s. */
  readonly conditions?: Partial<LinkConditions>;
}

const lan: LinkConditions = { latencyMs: 0.2, jitterMs: 0, bytesPerSecond: 1e9 };
const loopback: LinkConditions = { latencyMs: 0.01, jitterMs: 0, bytesPerSecond: Infinity };

/** Hosts and the links between each two of them, over which real connections run in simulated time. */
export class SimulatedNetwork {
  readonly clock: SimulatedClock;
  readonly #random: Random;
  readonly #conditions: LinkConditions;
  readonly #hosts = new Map<string, SimulatedHost>();
  readonly #links = new Map<string, SimulatedLink>();

  constructor(options: SimulatedNetworkOptions) {
    this.clock = options.clock;
    this.#random = createRandom(`network ${options.seed}`);
    this.#conditions = { ...lan, ...options.conditions };
  }

  /** The process of that host: the one that runs, or a new one where there is none or it was killed. */
  host(name: string): SimulatedHost {
    const known = this.#hosts.get(name);
    if (known?.isAlive === true) return known;
    const host = new SimulatedHost(name, {
      clock: this.clock,
      random: this.#random,
      lookUp: (other) => this.#hosts.get(other),
      lanesBetween: (from, to) => this.#lanesBetween(from, to),
    });
    this.#hosts.set(name, host);
    return host;
  }

  /** The wire between two hosts, the same whichever is named first. */
  link(one: string, other: string): SimulatedLink {
    const key = JSON.stringify([one, other].sort());
    const known = this.#links.get(key);
    if (known !== undefined) return known;
    const link = new SimulatedLink(this.clock, this.#random, one === other ? loopback : this.#conditions);
    this.#links.set(key, link);
    return link;
  }

  #lanesBetween(from: string, to: string): readonly [Lane, Lane] {
    const [there, back] = this.link(from, to).lanes;
    return from <= to ? [there, back] : [back, there];
  }
}
