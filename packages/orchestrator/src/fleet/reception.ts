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
  type Caller,
  callerOf,
  Connection,
  type ControlMessage,
  type ControlMessageOf,
  Doorkeeper,
  type ReceivedFrame,
  type IncomingStream,
  decodeControl,
  encodeControl,
  turnAway,
} from '@butterfly/wire';
import { createWorkerRecord, identityOf, type WorkerRecord } from './fleet-worker.js';

export interface ReceptionOptions {
  /** Decides who may join. */
  readonly admission: Admission;
  /** What all that are let in show each other. */
  readonly peerToken: string;
  /** Of the models that are opened for whoever is let in. */
  readonly channels: () => readonly number[];
  readonly clock: Clock;
  readonly observe: Observer;
  /** Workers that are here. */
  readonly count: () => number;
  readonly onWelcome: (worker: WorkerRecord) => void;
  readonly onFrame: (worker: WorkerRecord, frame: ReceivedFrame) => void;
  /** Null after a goodbye. */
  readonly onClose: (worker: WorkerRecord, error: ButterflyError | null, reason: string) => void;
}

/**
 * The door of the cluster: whoever says a proper hello in time is welcomed. Who breaks the
 * protocol, here or later, is kept out for a while.
 */
export class Reception {
  readonly #doorkeeper: Doorkeeper;
  #nextWorker = 1;

  constructor(private readonly options: ReceptionOptions) {
    this.#doorkeeper = new Doorkeeper(options.clock);
  }

  accept(stream: IncomingStream): void {
    const { clock } = this.options;
    const refusal = this.#doorkeeper.refusal(callerOf(stream));
    // Without a word in the log: it was named there when it was kept out, and may come as often as it likes.
    if (refusal) turnAway(stream, refusal, clock);
    else this.#receive(stream);
  }

  #receive(stream: IncomingStream): void {
    const { clock, observe, onFrame, onClose } = this.options;
    let worker: WorkerRecord | null = null;
    let isEnrolled = false;
    let isNamed = false;
    const connection: Connection = new Connection(stream, {
      clock,
      isStranger: true,
      handlers: {
        onBreach: (error) => {
          isNamed = true;
          return this.#broke(stream, connection, worker, error);
        },
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
          if (worker) onClose(worker, error, reason);
          else if (!isNamed && (error || !isEnrolled))
            observe({ kind: 'strangerLeft', peer: connection.peer, code: error?.code, reason });
        },
      },
    });
    const cancelDeadline = clock.after(deadlines.handshakeMs, () => {
      connection.fail(new ButterflyError('TIMEOUT', `No hello came within ${deadlines.handshakeMs} ms.`));
    });
  }

  /** Names in the log who broke the protocol, and keeps them out. */
  #broke(
    stream: IncomingStream,
    { peer }: Connection,
    worker: WorkerRecord | null,
    error: ButterflyError,
  ): ButterflyError {
    const caller = worker ? callerAs(worker, stream) : callerOf(stream);
    const { told, offences, keptOutMs } = this.#doorkeeper.broke(caller, error);
    this.options.observe({
      kind: 'protocolBroken',
      peer,
      member: stream.identity?.id ?? null,
      workerId: worker?.workerId ?? null,
      name: worker?.identity.name ?? null,
      reason: error.message,
      offences,
      keptOutMs,
    });
    return told;
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
    const { admission, peerToken, channels, onWelcome } = this.options;
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
    const refusal = this.#doorkeeper.refusal(callerAs({ identity: message.worker, member }, stream));
    if (refusal) throw refusal;
    this.#checkRoom();
    connection.trust();
    const worker = createWorkerRecord(`w${this.#nextWorker++}`, message.worker, connection, stream, member);
    connection.send(
      encodeControl({
        kind: 'welcome',
        workerId: worker.workerId,
        heartbeatEveryMs: deadlines.heartbeatEveryMs,
        heartbeatSilenceMs: deadlines.heartbeatSilenceMs,
        peerToken,
        channels: channels(),
      }),
    );
    onWelcome(worker);
    return worker;
  }
}

/** A worker without certificate that was let in is told from others at its address by what it says of itself. */
function callerAs(worker: Pick<WorkerRecord, 'identity' | 'member'>, stream: IncomingStream): Caller {
  const caller = callerOf(stream);
  return caller.isProven ? caller : { ...caller, name: `${caller.name} ${identityOf(worker)}` };
}
