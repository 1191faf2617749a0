import { ButterflyError, type Clock, type Observer, deadlines } from '@butterfly/common';
import {
  Connection,
  type ControlMessage,
  type ControlMessageOf,
  type Frame,
  type IncomingStream,
  decodeControl,
  encodeControl,
} from '@butterfly/wire';
import { admit } from './admission.js';
import { createWorkerRecord, type WorkerRecord } from './fleet-worker.js';

export interface ReceptionOptions {
  /** Workers must show it; null lets everybody in who can reach the port. */
  readonly token: string | null;
  /** What all that are let in are told. */
  readonly welcome: Pick<ControlMessageOf<'welcome'>, 'peerToken' | 'model' | 'isDeterministic'>;
  readonly clock: Clock;
  readonly observe: Observer;
  /** Workers that are here. */
  readonly count: () => number;
  readonly onWelcome: (worker: WorkerRecord) => void;
  readonly onFrame: (worker: WorkerRecord, frame: Frame) => void;
  /** Null after a goodbye. */
  readonly onClose: (worker: WorkerRecord, error: ButterflyError | null, reason: string) => void;
}

/** The door of the cluster: whoever says a proper hello in time is welcomed, and has some time to measure itself. */
export class Reception {
  #nextWorker = 1;

  constructor(private readonly options: ReceptionOptions) {}

  accept(stream: IncomingStream): void {
    const { clock, observe, onFrame, onClose } = this.options;
    let worker: WorkerRecord | null = null;
    const connection: Connection = new Connection(stream, {
      clock,
      isStranger: true,
      handlers: {
        onFrame: (frame) => {
          if (worker) {
            onFrame(worker, frame);
            return;
          }
          worker = this.#greet(connection, decodeControl(frame), stream);
          cancelDeadline();
        },
        onClose: (error, reason) => {
          cancelDeadline();
          worker?.cancelDeadline();
          if (worker) onClose(worker, error, reason);
          else observe({ kind: 'strangerLeft', peer: connection.peer, code: error?.code, reason });
        },
      },
    });
    const cancelDeadline = clock.after(deadlines.handshakeMs, () => {
      connection.fail(new ButterflyError('TIMEOUT', `No hello came within ${deadlines.handshakeMs} ms.`));
    });
  }

  #greet(connection: Connection, message: ControlMessage, stream: IncomingStream): WorkerRecord {
    const { token, welcome, clock, count, onWelcome } = this.options;
    if (message.kind !== 'hello')
      throw new ButterflyError(
        'PROTOCOL_INVALID',
        `A worker began with "${message.kind}" instead of "hello".`,
      );
    admit(token, message.token, count());
    connection.trust();
    const worker = createWorkerRecord(`w${this.#nextWorker++}`, message.worker, connection, stream);
    connection.send(
      encodeControl({
        kind: 'welcome',
        workerId: worker.workerId,
        heartbeatEveryMs: deadlines.heartbeatEveryMs,
        heartbeatSilenceMs: deadlines.heartbeatSilenceMs,
        ...welcome,
      }),
    );
    worker.cancelDeadline = clock.after(deadlines.profileMs, () =>
      connection.fail(new ButterflyError('TIMEOUT', `No profile came within ${deadlines.profileMs} ms.`)),
    );
    onWelcome(worker);
    return worker;
  }
}
