import type { Clock } from '@butterfly/common';
import {
  type Connection,
  type FileChunk,
  type TimedBlock,
  blockSpeed,
  encodeControl,
  encodeFileChunk,
} from '@butterfly/wire';

/** For a block and its way back. */
const answerMs = 1_500;
/** The least of so many counts, as other work of the hosts only adds to it. */
const roundTrips = 3;
/** No range of weights is ever asked for under this id, so a worker drops a block that comes with it. */
const blockId = 0xffff_ffff;
const noHash = new Uint8Array(32);

interface RelaySpeed {
  /** From the worker to here; null where it did not answer as it should. */
  readonly upBytesPerSecond: number | null;
  /** From here to the worker. */
  readonly downBytesPerSecond: number | null;
}

/**
 * Measures the links between a worker and the orchestrator, over the connection that frames are relayed over too: for the
 * way here it asks for blocks; for the way there it sends some, each with a question behind it whose answer shows that it
 * has arrived. Takes about a second.
 */
export class OrchestratorProbe {
  #answer: (block: FileChunk | null) => void = () => undefined;
  #nextId = 0;

  constructor(
    private readonly connection: Pick<Connection, 'send' | 'isOpen'>,
    private readonly clock: Clock,
  ) {}

  async measure(): Promise<RelaySpeed> {
    let roundTripMs = Infinity;
    for (let trip = 0; trip < roundTrips; trip++) {
      const { elapsedMs, outcome } = await this.#time(1);
      if (outcome !== 'here') return { upBytesPerSecond: null, downBytesPerSecond: null };
      roundTripMs = Math.min(roundTripMs, elapsedMs);
    }
    const upBytesPerSecond = await blockSpeed((bytes) => this.#time(bytes), roundTripMs);
    const downBytesPerSecond = await blockSpeed((bytes) => this.#time(1, bytes), roundTripMs);
    return { upBytesPerSecond, downBytesPerSecond };
  }

  receive(block: FileChunk): void {
    this.#answer(block);
  }

  /** The worker is gone: nobody waits for it. */
  end(): void {
    this.#answer(null);
  }

  /** How long a block of `bytes` takes to come, where one of `bytesBefore` goes there first. */
  #time(bytes: number, bytesBefore = 0): Promise<TimedBlock> {
    const requestId = this.#nextId++;
    const startedMs = this.clock.nowMs();
    return new Promise((resolve) => {
      const end = (outcome: TimedBlock['outcome']): void => {
        cancelDeadline();
        this.#answer = () => undefined;
        resolve({ elapsedMs: this.clock.nowMs() - startedMs, outcome });
      };
      const cancelDeadline = this.clock.after(answerMs, () => end('late'));
      this.#answer = (block) => {
        if (block === null) end('wrong');
        // One that was late may come now.
        else if (block.requestId === requestId) end(block.bytes.length === bytes ? 'here' : 'wrong');
      };
      if (!this.connection.isOpen) end('wrong');
      if (bytesBefore > 0)
        this.connection.send(
          encodeFileChunk({ requestId: blockId, bytes: new Uint8Array(bytesBefore), sha256: noHash }),
        );
      this.connection.send(encodeControl({ kind: 'probeBlock', requestId, bytes }));
    });
  }
}
