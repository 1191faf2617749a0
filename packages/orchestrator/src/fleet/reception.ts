import {
  ButterflyError,
  type Clock,
  type Observer,
  deadlines,
  limits,
  toButterflyError,
} from '@butterfly/common';
import type { Admission } from '@butterfly/identity';
import {
  Connection,
  type ControlMessage,
  type ControlMessageOf,
  type Frame,
  type IncomingStream,
  decodeControl,
  encodeControl,
} from '@butterfly/wire';
import { createWorkerRecord, type WorkerRecord } from './fleet-worker.js';

export interface ReceptionOptions {
  /** Decides who may join. */
  readonly admission: Admission;
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
    let isEnrolled = false;
    const connection: Connection = new Connection(stream, {
      clock,
      isStranger: true,
      handlers: {
        onFrame: (frame) => {
          if (worker) {
            onFrame(worker, frame);
            return;
          }
          const message = decodeControl(frame);
          if (message.kind === 'enrol' && !isEnrolled) {
            isEnrolled = true;
            this.#enrol(connection, message);
          } else {
            worker = this.#greet(connection, message, stream);
            cancelDeadline();
          }
        },
        onClose: (error, reason) => {
          cancelDeadline();
          worker?.cancelDeadline();
          if (worker) onClose(worker, error, reason);
          else if (error || !isEnrolled)
            observe({ kind: 'strangerLeft', peer: connection.peer, code: error?.code, reason });
        },
      },
    });
    const cancelDeadline = clock.after(deadlines.handshakeMs, () => {
      connection.fail(new ButterflyError('TIMEOUT', `No hello came within ${deadlines.handshakeMs} ms.`));
    });
  }

  /** Gives a stranger a certificate, with which it comes back. It has until the deadline of its hello. */
  #enrol(connection: Connection, message: ControlMessageOf<'enrol'>): void {
    this.#checkRoom();
    this.options.admission.enrol(message).then(
      ({ certificate, authority, identity }) => {
        this.options.observe({ kind: 'workerEnrolled', peer: connection.peer, member: identity.id });
        connection.send(encodeControl({ kind: 'enrolled', certificate, authority }));
      },
      (thrown: unknown) => connection.fail(toButterflyError(thrown)),
    );
  }

  #checkRoom(): void {
    if (this.options.count() >= limits.workersMax)
      throw new ButterflyError('JOIN_REFUSED', `This orchestrator already has ${limits.workersMax} workers.`);
  }

  #greet(connection: Connection, message: ControlMessage, stream: IncomingStream): WorkerRecord {
    const { admission, welcome, clock, onWelcome } = this.options;
    if (message.kind !== 'hello')
      throw new ButterflyError(
        'PROTOCOL_INVALID',
        `A worker began with "${message.kind}" instead of "hello".`,
      );
    const { identity, distrust } = stream;
    const proof = {
      ...(identity === undefined ? {} : { identity }),
      ...(distrust === undefined ? {} : { distrust }),
    };
    const member = admission.admit({ ...proof, token: message.token });
    this.#checkRoom();
    connection.trust();
    const worker = createWorkerRecord(`w${this.#nextWorker++}`, message.worker, connection, stream, member);
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
