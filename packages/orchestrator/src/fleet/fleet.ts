import { randomBytes } from 'node:crypto';
import { ButterflyError, type Clock, type Observer } from '@butterfly/common';
import type { Admission } from '@butterfly/identity';
import type { ModelSpec } from '@butterfly/model';
import {
  type ControlMessage,
  type ControlMessageOf,
  decodeControl,
  type Frame,
  type Listener,
  tcpTransport,
  type Transport,
} from '@butterfly/wire';
import { Certificates } from './certificates.js';
import { DrainRequests } from './drain-requests.js';
import { FileServer } from './file-server.js';
import type { FleetWorker, WorkerRecord } from './fleet-worker.js';
import { Reception } from './reception.js';

export interface FleetOptions {
  readonly host: string;
  /** 0 lets the system choose. */
  readonly port: number;
  /** Decides who may join. */
  readonly admission: Admission;
  /** What workers measure themselves on, and whose files they may ask for. */
  readonly model: ModelSpec;
  readonly isDeterministic: boolean;
  /** The model's files, which the fleet closes in the end; by default they are opened when they are first asked for. */
  readonly files?: FileServer | undefined;
  readonly clock: Clock;
  readonly observe: Observer;
  readonly transport?: Transport | undefined;
}

/** What the fleet tells of its workers, once it has taken it in itself. */
export interface FleetHandlers {
  onWelcome(worker: FleetWorker): void;
  /** A worker has measured itself. */
  onMeasured(worker: FleetWorker): void;
  onMessage(worker: FleetWorker, message: ControlMessage): void;
  /** Steps, results, and bytes. */
  onFrame(worker: FleetWorker, frame: Frame): void;
  /** The error is null after a goodbye. */
  onLeft(worker: FleetWorker, error: ButterflyError | null, reason: string): void;
}

/** Who is here: admission, what each worker tells of itself, and the files of the model. It knows no plans. */
export class Fleet {
  readonly drains = new DrainRequests();
  readonly #records = new Map<string, WorkerRecord>();
  readonly #files: FileServer;
  readonly #certificates: Certificates;
  #listener: Listener | null = null;

  constructor(private readonly options: FleetOptions) {
    this.#files = options.files ?? new FileServer(options.model);
    this.#certificates = new Certificates(options.admission, options.clock, this.#records);
  }

  /** Listens for workers. @throws ButterflyError PORT_IN_USE, ADDRESS_INVALID */
  async open(handlers: FleetHandlers): Promise<void> {
    const { host, port, model, isDeterministic, transport = tcpTransport } = this.options;
    const reception = new Reception({
      ...this.options,
      welcome: { peerToken: randomBytes(16).toString('hex'), model, isDeterministic },
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

  /** What whoever runs it should know of the model's files. */
  get notes(): readonly string[] {
    return this.#files.notes;
  }

  /** A worker is told to load something. */
  loading(workerId: string): void {
    const record = this.#records.get(workerId);
    if (record) [record.loadedBytes, record.totalBytes] = [0, 0];
  }

  /** A worker is told to let a shard go. */
  released(workerId: string, shardId: string): void {
    this.#records.get(workerId)?.reports.delete(shardId);
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
    for (const { cancelDeadline, cancelExpiry } of records) {
      cancelDeadline();
      cancelExpiry();
    }
    await Promise.all(records.map(({ connection }) => connection.close('the orchestrator stops')));
    await this.#listener?.close();
    await this.#files.close();
  }

  #receive(record: WorkerRecord, frame: Frame, handlers: FleetHandlers): void {
    if (frame.type !== 'control') {
      handlers.onFrame(record, frame);
      return;
    }
    const message = decodeControl(frame);
    switch (message.kind) {
      case 'profile':
        this.#measured(record, message);
        handlers.onMeasured(record);
        return;
      case 'renew':
        this.#certificates.renew(record, message);
        return;
      case 'fetch':
      case 'digests':
        void this.#files.answer(record, message, this.options.observe);
        return;
      case 'progress':
        record.loadedBytes = message.loadedBytes;
        record.totalBytes = message.totalBytes;
        break;
      case 'prepared':
        this.#prepared(record, message);
        break;
      default:
    }
    handlers.onMessage(record, message);
  }

  #measured(record: WorkerRecord, profile: ControlMessageOf<'profile'>): void {
    if (record.profile) throw new ButterflyError('PROTOCOL_INVALID', 'A worker measured itself twice.');
    record.cancelDeadline();
    record.profile = profile;
  }

  #prepared(record: WorkerRecord, message: ControlMessageOf<'prepared'>): void {
    const { shardId, loaded } = message;
    record.reports.set(shardId, message);
    record.loadedBytes = record.totalBytes;
    // What came over the network it can pass on to others from now on.
    if (record.profile) {
      const cachedBytes = record.profile.cachedBytes + loaded.peerBytes + loaded.orchestratorBytes;
      record.profile = { ...record.profile, cachedBytes };
    }
    this.options.observe({ kind: 'shardLoaded', workerId: record.workerId, shardId, ...loaded });
  }
}
