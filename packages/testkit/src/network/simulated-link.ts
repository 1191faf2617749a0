import type { SimulatedClock } from '../clock/simulated-clock.js';
import type { Random } from '../synthetic/random.js';

/** How a link carries data, the same both ways. */
export interface LinkConditions {
  /** One way. */
  readonly latencyMs: number;
  /** Up to so much is added to the latency of each chunk. */
  readonly jitterMs: number;
  /** Of all connections of the link together, in each direction. */
  readonly bytesPerSecond: number;
}

/** What goes over the wire at once: some bytes of one stream, or its end. */
export interface Segment {
  readonly bytes: Uint8Array;
  readonly isLast: boolean;
}

/** A stream as the wire sees it: what it has to send, and where that arrives. */
export interface Sender {
  /** When the last of what was sent is at the other end, which nothing that follows may overtake. */
  lastArrivalMs: number;
  readonly hasMore: boolean;
  /** Null when there is nothing. */
  take(bytesMax: number): Segment | null;
  /** What was lost is sent again, before all else. */
  putBack(segment: Segment): void;
  arrived(segment: Segment): void;
}

const CHUNK_BYTES_MAX = 1 << 16;
/** No chunk holds a slow wire for much longer, except for the smallest ones. */
const CHUNK_MS = 10;
const CHUNK_BYTES_MIN = 64;
/** A connection is as slow as this to notice that its link is back: the first wait of TCP before it sends again. */
const RETRANSMIT_MS = 200;

/** The wire between two hosts. What it does wrong is asked for by the test or drawn from the seed of the network. */
export class SimulatedLink {
  readonly #lanes: readonly [Lane, Lane];
  readonly #state: LinkState;

  constructor(clock: SimulatedClock, random: Random, conditions: LinkConditions) {
    this.#state = { conditions, isCut: false, isFlipWanted: false };
    this.#lanes = [new Lane(clock, random, this.#state), new Lane(clock, random, this.#state)];
  }

  /** The way there, and the way back. */
  get lanes(): readonly [Lane, Lane] {
    return this.#lanes;
  }

  /** Changes what is named, for all that sets out from now on. */
  set(conditions: Partial<LinkConditions>): void {
    this.#state.conditions = { ...this.#state.conditions, ...conditions };
  }

  /** From now on nothing arrives, not even what is on its way. Nobody is told: connections are silent. */
  cut(): void {
    this.#state.isCut = true;
    for (const lane of this.#lanes) lane.lose();
  }

  /** Ends a cut. Connections that outlived it send again what was lost, as TCP does. */
  heal(): void {
    if (!this.#state.isCut) return;
    this.#state.isCut = false;
    for (const lane of this.#lanes) lane.resume();
  }

  /** Slows the link down so far that only a trickle arrives; `set` ends it. */
  crawl(bytesPerSecond = 1_000): void {
    this.set({ bytesPerSecond });
  }

  /** Turns one bit of the next chunk that arrives, in whichever direction, behind the back of TCP's checksum. */
  flipBit(): void {
    this.#state.isFlipWanted = true;
  }
}

interface LinkState {
  conditions: LinkConditions;
  isCut: boolean;
  isFlipWanted: boolean;
}

interface Flight {
  readonly stream: Sender;
  readonly segment: Segment;
  readonly cancel: () => void;
}

/** One direction of a link. Its streams take turns, chunk by chunk; each one's chunks arrive in order. */
export class Lane {
  readonly #clock: SimulatedClock;
  readonly #random: Random;
  readonly #state: LinkState;
  readonly #waiting = new Set<Sender>();
  readonly #inFlight = new Set<Flight>();
  readonly #packets = new Set<() => void>();
  /** Whether it is to look again at a set time. */
  #isWaiting = false;
  /** When the wire has taken all that was put on it. */
  #freeAtMs = 0;

  constructor(clock: SimulatedClock, random: Random, state: LinkState) {
    this.#clock = clock;
    this.#random = random;
    this.#state = state;
  }

  /** The stream has something to send. */
  wake(stream: Sender): void {
    this.#waiting.add(stream);
    if (!this.#isWaiting) this.#transmit();
  }

  /** Carries something without data of a stream; it is lost where the link is cut. */
  packet(arrive: () => void): void {
    if (this.#state.isCut) return;
    const cancel = this.#clock.after(this.#latencyMs(), () => {
      this.#packets.delete(cancel);
      arrive();
    });
    this.#packets.add(cancel);
  }

  /** Loses all that is on its way. */
  lose(): void {
    for (const cancel of this.#packets) cancel();
    this.#packets.clear();
    for (const { stream, segment, cancel } of [...this.#inFlight].reverse()) {
      cancel();
      stream.putBack(segment);
      this.#waiting.add(stream);
    }
    this.#inFlight.clear();
  }

  resume(): void {
    if (!this.#isWaiting) this.#transmitIn(this.#random.below(RETRANSMIT_MS));
  }

  #transmitIn(delayMs: number): void {
    this.#isWaiting = true;
    this.#clock.after(delayMs, () => {
      this.#isWaiting = false;
      this.#transmit();
    });
  }

  #transmit(): void {
    for (const stream of this.#waiting) {
      if (this.#state.isCut) return;
      const nowMs = this.#clock.nowMs();
      if (this.#freeAtMs > nowMs) {
        this.#transmitIn(this.#freeAtMs - nowMs);
        return;
      }
      this.#waiting.delete(stream);
      const segment = stream.take(this.#chunkBytes());
      if (segment === null) continue;
      // To the end of the line.
      if (stream.hasMore) this.#waiting.add(stream);
      this.#freeAtMs = nowMs + (segment.bytes.length / this.#state.conditions.bytesPerSecond) * 1_000;
      this.#launch(stream, segment);
    }
  }

  #launch(stream: Sender, segment: Segment): void {
    const arrivalMs = Math.max(this.#freeAtMs + this.#latencyMs(), stream.lastArrivalMs);
    stream.lastArrivalMs = arrivalMs;
    const flight: Flight = {
      stream,
      segment,
      cancel: this.#clock.after(arrivalMs - this.#clock.nowMs(), () => {
        this.#inFlight.delete(flight);
        stream.arrived(this.#damaged(segment));
      }),
    };
    this.#inFlight.add(flight);
  }

  /** Often less than there is, so that receivers see frames cut at any place. */
  #chunkBytes(): number {
    const paceBytes = Math.floor((this.#state.conditions.bytesPerSecond / 1_000) * CHUNK_MS);
    const bytesMax = Math.min(CHUNK_BYTES_MAX, Math.max(CHUNK_BYTES_MIN, paceBytes));
    switch (this.#random.below(8)) {
      case 0:
        return 1 + this.#random.below(bytesMax);
      case 1:
        return 1 + this.#random.below(CHUNK_BYTES_MIN);
      default:
        return bytesMax;
    }
  }

  #latencyMs(): number {
    const { latencyMs, jitterMs } = this.#state.conditions;
    return jitterMs === 0 ? latencyMs : latencyMs + (jitterMs * this.#random.below(1_000)) / 1_000;
  }

  #damaged(segment: Segment): Segment {
    if (!this.#state.isFlipWanted || segment.bytes.length === 0) return segment;
    this.#state.isFlipWanted = false;
    const bytes = Buffer.from(segment.bytes);
    const bit = this.#random.below(8 * bytes.length);
    const at = bit >> 3;
    bytes.writeUInt8((bytes[at] ?? 0) ^ (1 << (bit & 7)), at);
    return { bytes, isLast: false };
  }
}
