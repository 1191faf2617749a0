import type { Clock } from '@butterfly/common';
import {
  type Connection,
  type ControlMessage,
  type FileChunk,
  type Frame,
  type TimedBlock,
  type Transport,
  blockSpeed,
  decodeControl,
  decodeFileChunk,
  encodeControl,
} from '@butterfly/wire';

/** A machine that takes longer to answer a call is no neighbour. */
const dialMs = 2_000;
/** The same for the greeting and for each block. */
const answerMs = 1_500;
const roundTripsMin = 3;
const roundTripsMax = 9;
const roundTripsMs = 100;

export interface LinkSpeed {
  /** One way. */
  readonly latencyMicros: number;
  /** From the peer to here. */
  readonly bytesPerSecond: number;
}

export interface LinkOptions {
  readonly host: string;
  /** Where the peer listens for other workers. */
  readonly port: number;
  readonly peerToken: string;
  readonly transport: Pick<Transport, 'dial'>;
  readonly clock: Clock;
}

/**
 * Measures the link to another worker in some 0.5 s. Null when it cannot be dialled, does not take the greeting, or does not
 * answer in time, or goes before it is measured; never rejects for what the peer does.
 */
export async function measureLink(options: LinkOptions): Promise<LinkSpeed | null> {
  const probe = await PeerProbe.greet(options);
  try {
    const roundTripMs = await probe?.roundTripMs();
    if (!probe || roundTripMs === undefined || roundTripMs === null) return null;
    const bytesPerSecond = await probe.bytesPerSecond(roundTripMs);
    return bytesPerSecond === null ? null : { latencyMicros: (roundTripMs * 1000) / 2, bytesPerSecond };
  } finally {
    probe?.close();
  }
}

type Answer = ControlMessage | FileChunk;

/** One question at a time over one connection. */
class PeerProbe {
  #connection: Connection | null = null;
  #answer: (answer: Answer | null) => void = () => undefined;
  #requestId = 0;

  private constructor(private readonly clock: Clock) {}

  /** Null when the peer cannot be reached or is none. */
  static async greet({ transport, host, port, peerToken, clock }: LinkOptions): Promise<PeerProbe | null> {
    const probe = new PeerProbe(clock);
    const handlers = {
      // What cannot be read closes the connection.
      onFrame: (frame: Frame): void =>
        probe.#answer(frame.type === 'fileChunk' ? decodeFileChunk(frame) : decodeControl(frame)),
      onClose: (): void => probe.#answer(null),
    };
    // Why it cannot be dialled makes no difference.
    probe.#connection = await transport
      .dial({ host, port, clock, timeoutMs: dialMs, handlers })
      .catch(() => null);
    if (!probe.#connection) return null;
    const answer = await probe.#ask(encodeControl({ kind: 'peer', peerToken }));
    if (answer && 'kind' in answer && answer.kind === 'peerWelcome') return probe;
    probe.close();
    return null;
  }

  /** The least of a few, as other work of the hosts only adds to it; null when the peer stops to answer. */
  async roundTripMs(): Promise<number | null> {
    const endMs = this.clock.nowMs() + roundTripsMs;
    const trips: number[] = [];
    while (trips.length < roundTripsMin || (trips.length < roundTripsMax && this.clock.nowMs() < endMs)) {
      const { elapsedMs, outcome } = await this.#timeBlock(1);
      if (outcome !== 'here') return null;
      trips.push(elapsedMs);
    }
    return Math.min(...trips);
  }

  /** Null when the peer stops to answer as it should. */
  bytesPerSecond(roundTripMs: number): Promise<number | null> {
    return blockSpeed((bytes) => this.#timeBlock(bytes), roundTripMs);
  }

  close(): void {
    this.#answer = () => undefined;
    void this.#connection?.close('probed');
  }

  async #timeBlock(bytes: number): Promise<TimedBlock> {
    const requestId = this.#requestId++;
    const startedMs = this.clock.nowMs();
    const answer = await this.#ask(encodeControl({ kind: 'probeBlock', requestId, bytes }));
    const elapsedMs = this.clock.nowMs() - startedMs;
    if (answer === null) return { elapsedMs, outcome: this.#connection?.isOpen ? 'late' : 'wrong' };
    return { elapsedMs, outcome: isBlock(answer, requestId, bytes) ? 'here' : 'wrong' };
  }

  /** What comes next, or null when nothing comes in time or the connection ends. */
  #ask(parts: readonly Uint8Array[]): Promise<Answer | null> {
    return new Promise((resolve) => {
      const cancelDeadline = this.clock.after(answerMs, () => this.#answer(null));
      this.#answer = (answer) => {
        cancelDeadline();
        this.#answer = () => undefined;
        resolve(answer);
      };
      if (this.#connection?.isOpen) this.#connection.send(parts);
      else this.#answer(null);
    });
  }
}

function isBlock(answer: Answer, requestId: number, bytes: number): boolean {
  return !('kind' in answer) && answer.requestId === requestId && answer.bytes.length === bytes;
}
