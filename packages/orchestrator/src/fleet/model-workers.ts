import { ButterflyError, type Clock, type Observer, deadlines } from '@butterfly/common';
import type { ModelSpec } from '@butterfly/model';
import {
  Channel,
  type ControlMessage,
  type ControlMessageOf,
  decodeControl,
  encodeControl,
  type Frame,
  type StageReport,
} from '@butterfly/wire';
import type { FileServer } from './file-server.js';
import type { FleetWorker } from './fleet-worker.js';
import type { ModelWorker } from './model-worker.js';

export interface ModelWorkersOptions {
  /** Of the model, on every connection. */
  readonly channel: number;
  /** Under which it is served. */
  readonly name: string;
  /** What workers measure themselves on, and whose files they may ask for. */
  readonly model: ModelSpec;
  readonly isDeterministic: boolean;
  /** Which are closed in the end. */
  readonly files: FileServer;
  readonly clock: Clock;
  readonly observe: Observer;
}

/** What is told of the workers of a model, once it has been taken in here. */
export interface ModelWorkersHandlers {
  /** A worker has measured itself. */
  onMeasured(worker: ModelWorker): void;
  onMessage(worker: ModelWorker, message: ControlMessage): void;
  /** Steps, results, and bytes. */
  onFrame(worker: ModelWorker, frame: Frame): void;
}

interface Record extends ModelWorker {
  /** With the end of its latest certificate. */
  readonly member: FleetWorker['member'];
  profile: ModelWorker['profile'];
  keptShards: readonly string[];
  loadedBytes: number;
  totalBytes: number;
  readonly reports: Map<string, StageReport>;
  /** Ends the wait for its profile. */
  readonly cancelDeadline: () => void;
}

/** The fleet as one model sees it: what each worker tells of itself for it, and the files of the model. It knows no plans. */
export class ModelWorkers {
  readonly #records = new Map<string, Record>();

  constructor(
    private readonly options: ModelWorkersOptions,
    private readonly handlers: ModelWorkersHandlers,
  ) {}

  get channel(): number {
    return this.options.channel;
  }

  /** By id; those that measure themselves are among them. */
  get workers(): ReadonlyMap<string, ModelWorker> {
    return this.#records;
  }

  /** What whoever runs it should know of the model's files. */
  get notes(): readonly string[] {
    return this.options.files.notes;
  }

  /** Has a worker measure itself. @param openModels that it has to measure itself on, with this one */
  add(worker: FleetWorker, openModels: number): void {
    const { channel, name, model, isDeterministic, clock } = this.options;
    const { connection } = worker;
    connection.send(
      encodeControl({ kind: 'openModel', channel, name, model: { ...model }, isDeterministic }),
    );
    // Machines are measured on one model after the other.
    const profileMs = deadlines.profileMs * Math.max(1, openModels);
    const record: Record = {
      workerId: worker.workerId,
      identity: worker.identity,
      // What is known of a certificate changes.
      get member() {
        return worker.member;
      },
      connection,
      remoteHost: worker.remoteHost,
      localHost: worker.localHost,
      channel: new Channel(connection, channel),
      profile: null,
      keptShards: [],
      loadedBytes: 0,
      totalBytes: 0,
      reports: new Map(),
      cancelDeadline: clock.after(profileMs, () =>
        connection.fail(new ButterflyError('TIMEOUT', `No profile came within ${profileMs} ms.`)),
      ),
    };
    this.#records.set(worker.workerId, record);
  }

  /** A worker is gone. */
  remove(workerId: string): void {
    this.#records.get(workerId)?.cancelDeadline();
    this.#records.delete(workerId);
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

  /** Takes a frame about the model. @throws ButterflyError PROTOCOL_INVALID for one that is out of place */
  receive(workerId: string, frame: Frame): void {
    const record = this.#records.get(workerId);
    if (!record) return;
    if (frame.type !== 'control') {
      this.handlers.onFrame(record, frame);
      return;
    }
    const message = decodeControl(frame);
    switch (message.kind) {
      case 'profile':
        this.#measured(record, message);
        return;
      case 'fetch':
      case 'digests':
        void this.options.files.answer(record, message, this.options.observe);
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
    this.handlers.onMessage(record, message);
  }

  /** Has every worker let go of the model. */
  async close(): Promise<void> {
    const { channel, files } = this.options;
    for (const record of this.#records.values()) {
      record.cancelDeadline();
      record.channel.close();
      record.connection.send(encodeControl({ kind: 'closeModel', channel }));
    }
    this.#records.clear();
    await files.close();
  }

  #measured(record: Record, { heldShards, ...profile }: ControlMessageOf<'profile'>): void {
    if (record.profile) throw new ButterflyError('PROTOCOL_INVALID', 'A worker measured itself twice.');
    record.cancelDeadline();
    record.profile = profile;
    record.keptShards = heldShards;
    this.handlers.onMeasured(record);
  }

  #prepared(record: Record, message: ControlMessageOf<'prepared'>): void {
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
