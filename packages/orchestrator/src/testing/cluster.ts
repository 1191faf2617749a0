import { type ButterflyError, ensure } from '@butterfly/common';
import {
  Channel,
  Connection,
  type ConnectionHandlers,
  type ControlMessage,
  type ControlMessageOf,
  type Frame,
  type Listener,
  type WorkerIdentity,
  decodeControl,
  dial,
  listen,
} from '@butterfly/wire';
import { createWorkerRecord } from '../fleet/fleet-worker.js';
import type { ModelWorker } from '../fleet/model-worker.js';

/** Whose profile a test may choose. */
export interface TestWorker extends ModelWorker {
  profile: ModelWorker['profile'];
}

export function identityOf(name: string, changes: Partial<WorkerIdentity> = {}): WorkerIdentity {
  return {
    name,
    machineId: `machine ${name}`,
    butterflyVersion: '1.0.0',
    ggmlVersion: '0.9.0',
    cpuVariant: 'haswell',
    cpuFeatures: ['avx2'],
    platform: 'linux',
    arch: 'x64',
    threads: 4,
    memoryBytes: 2 ** 30,
    dataPort: 40_000,
    ...changes,
  };
}

/** For tests only: one end of a connection, frame by frame. */
export class Party {
  readonly #frames: Frame[] = [];
  #wake: () => void = () => undefined;
  #tellClosed: (end: { error: ButterflyError | null; reason: string }) => void = () => undefined;
  readonly closed = new Promise<{ error: ButterflyError | null; reason: string }>(
    (resolve) => (this.#tellClosed = resolve),
  );
  readonly handlers: ConnectionHandlers = {
    onFrame: (frame) => {
      this.#frames.push(frame);
      this.#wake();
    },
    onClose: (error, reason) => this.#tellClosed({ error, reason }),
  };

  async frame(): Promise<Frame> {
    for (;;) {
      const frame = this.#frames.shift();
      if (frame) return frame;
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  /** The next message, which must be of this kind. */
  async next<K extends ControlMessage['kind']>(kind: K): Promise<ControlMessageOf<K>> {
    const message = decodeControl(await this.frame());
    ensure(message.kind === kind, () => `"${kind}" was expected, and ${JSON.stringify(message)} came.`);
    return message as ControlMessageOf<K>;
  }
}

/** For tests only: workers whose connections are real ones, over loopback. */
export class ConnectedWorkers {
  readonly workers = new Map<string, TestWorker>();
  readonly parties = new Map<string, Party>();
  readonly #connections: Connection[] = [];

  private constructor(private readonly listener: Listener) {}

  static async open(...workerIds: string[]): Promise<ConnectedWorkers> {
    let accept: (worker: TestWorker) => void = () => undefined;
    let workerId = '';
    const all = new ConnectedWorkers(
      await listen({
        host: '127.0.0.1',
        port: 0,
        onConnection: (stream) => {
          const handlers = { onFrame: () => undefined, onClose: () => undefined };
          const connection = new Connection(stream, { handlers });
          accept({
            ...createWorkerRecord(workerId, identityOf(workerId), connection, stream),
            ...{ channel: new Channel(connection, 1), profile: null, keptShards: [] },
            ...{ loadedBytes: 0, totalBytes: 0, reports: new Map() },
          });
        },
      }),
    );
    for (workerId of workerIds) {
      const accepted = new Promise<TestWorker>((resolve) => (accept = resolve));
      const party = new Party();
      const { port } = all.listener;
      all.#connections.push(await dial({ host: '127.0.0.1', port, handlers: party.handlers }));
      all.workers.set(workerId, await accepted);
      all.parties.set(workerId, party);
    }
    return all;
  }

  party(workerId: string): Party {
    const party = this.parties.get(workerId);
    ensure(party !== undefined, () => `There is no worker ${workerId}.`);
    return party;
  }

  async close(): Promise<void> {
    await Promise.all(this.#connections.map((connection) => connection.close()));
    await this.listener.close();
  }
}
