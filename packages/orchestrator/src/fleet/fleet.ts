import { randomBytes } from 'node:crypto';
import type { ButterflyError, Clock, Observer } from '@butterfly/common';
import type { Admission } from '@butterfly/identity';
import {
  type ControlMessage,
  decodeControl,
  type ReceivedFrame,
  type Listener,
  tcpTransport,
  type Transport,
} from '@butterfly/wire';
import { Certificates } from './certificates.js';
import { DrainRequests } from './drain-requests.js';
import type { FleetWorker, WorkerRecord } from './fleet-worker.js';
import { Reception } from './reception.js';

export interface FleetOptions {
  readonly host: string;
  /** 0 lets the system choose. */
  readonly port: number;
  /** Decides who may join. */
  readonly admission: Admission;
  /** Of the models that every newcomer is to measure itself on at once. */
  readonly channels: () => readonly number[];
  readonly clock: Clock;
  readonly observe: Observer;
  readonly transport?: Transport | undefined;
}

/** What the fleet tells of its workers, once it has taken it in itself. */
export interface FleetHandlers {
  /** It has been told of the channels that are open. */
  onWelcome(worker: FleetWorker): void;
  /** What is of the connection itself. */
  onMessage(worker: FleetWorker, message: ControlMessage): void;
  /** All that is about a model, and bytes that were asked for to be timed. */
  onFrame(worker: FleetWorker, frame: ReceivedFrame): void;
  /** The error is null after a goodbye. */
  onLeft(worker: FleetWorker, error: ButterflyError | null, reason: string): void;
}

/** Who is here: admission, certificates, and who is to be emptied. It knows no models. */
export class Fleet {
  readonly drains = new DrainRequests();
  readonly #records = new Map<string, WorkerRecord>();
  readonly #certificates: Certificates;
  #listener: Listener | null = null;

  constructor(private readonly options: FleetOptions) {
    this.#certificates = new Certificates(options.admission, options.clock, this.#records);
  }

  /** Listens for workers. @throws ButterflyError PORT_IN_USE, ADDRESS_INVALID */
  async open(handlers: FleetHandlers): Promise<void> {
    const { host, port, channels, transport = tcpTransport } = this.options;
    const reception = new Reception({
      ...this.options,
      peerToken: randomBytes(16).toString('hex'),
      channels,
      count: () => this.#records.size,
      onWelcome: (record) => {
        this.#records.set(record.workerId, record);
        this.#certificates.enter(record);
        handlers.onWelcome(record);
      },
      onFrame: (record, frame) => this.#receive(record, frame, handlers),
      onClose: (record, error, reason) => {
        this.#records.delete(record.workerId);
        record.cancelExpiry();
        handlers.onLeft(record, error, reason);
      },
    });
    this.#listener = await transport.listen({
      host,
      port,
      onConnection: (stream) => reception.accept(stream),
    });
  }

  get port(): number {
    return this.#listener?.port ?? 0;
  }

  /** By id. */
  get workers(): ReadonlyMap<string, FleetWorker> {
    return this.#records;
  }

  /**
   * From now on a worker is a member no more: it is cut off, and all others are told.
   * @throws ButterflyError NOT_FOUND; JOIN_REFUSED where there are no certificates
   */
  revoke(workerId: string): Promise<void> {
    return this.#certificates.revoke(workerId);
  }

  /** Says goodbye to a worker that is empty. */
  dismiss(workerId: string): void {
    void this.#records.get(workerId)?.connection.close('drained');
  }

  async close(): Promise<void> {
    const records = [...this.#records.values()];
    for (const { cancelExpiry } of records) cancelExpiry();
    await Promise.all(records.map(({ connection }) => connection.close('the orchestrator stops')));
    await this.#listener?.close();
  }

  #receive(record: WorkerRecord, frame: ReceivedFrame, handlers: FleetHandlers): void {
    if (frame.type !== 'control' || frame.channel !== 0) {
      handlers.onFrame(record, frame);
      return;
    }
    const message = decodeControl(frame);
    if (message.kind === 'renew') this.#certificates.renew(record, message);
    else handlers.onMessage(record, message);
  }
}
