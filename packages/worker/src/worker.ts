import {
  ButterflyError,
  Connection,
  deadlines,
  decodeControl,
  decodeFileChunk,
  decodeStep,
  dial,
  encodeControl,
  systemClock,
  toButterflyError,
  type ControlMessageOf,
  type ErrorCode,
  type Frame,
  type Logger,
  type WorkerIdentity,
} from '@butterfly/common';
import type { Ggml } from '@butterfly/ggml';
import { parseModelSpec } from '@butterfly/model';
import { EpochStage } from './epoch-stage.js';
import { dialNext, LinkServer } from './links.js';
import { LocalSource } from './loading/local-source.js';
import { RemoteSource } from './loading/remote-source.js';
import { StageRuntime } from './stage/runtime.js';
import type { StageMeasurement } from './stage/step-measurement.js';

type Assign = ControlMessageOf<'assign'>;

export interface WorkerOptions {
  readonly join: { readonly host: string; readonly port: number };
  readonly token: string | null;
  readonly identity: Omit<WorkerIdentity, 'dataPort'>;
  readonly ggml: Ggml;
  readonly log: Logger;
  /** Address to listen on for the stage before; by default every one, or loopback when the orchestrator is there. */
  readonly dataHost?: string;
  /** Port for that; 0 lets the system choose. */
  readonly dataPort?: number;
  /** Load every tensor over the network, as a machine without the file does. */
  readonly remoteOnly?: boolean;
}

/** What is loaded: kept when the next plan gives this worker the same layers. */
interface Loaded {
  readonly key: string;
  readonly runtime: StageRuntime;
  readonly measured: StageMeasurement;
}

/** Progress is told at most this often. */
const progressEveryMs = 200;

/** What a worker sees when a neighbour dies. */
const linkErrors: ReadonlySet<ErrorCode> = new Set(['CONNECTION_CLOSED', 'PEER_UNREACHABLE', 'TIMEOUT']);
/** By then the orchestrator has noticed a dead worker too: its heartbeats are as often as those of links. */
const linkGraceMs = 2 * deadlines.heartbeatEveryMs + 1_000;

/**
 * A worker: joins an orchestrator, loads the layers that it is told, and computes steps until the connection ends.
 * States: joining, then for each `assign` loading and serving, and idle between them.
 */
export class Worker {
  /** Ends with null after an orderly goodbye, else with what went wrong. */
  readonly closed: Promise<ButterflyError | null>;
  #resolveClosed: (error: ButterflyError | null) => void = () => undefined;
  #connection: Connection | null = null;
  #workerId = '';
  #loaded: Loaded | null = null;
  #stage: EpochStage | null = null;
  #next: Connection | null = null;
  #remote: RemoteSource | null = null;
  #wantedEpoch = -1;
  #cancelReport: () => void = () => undefined;
  /** Assignments are carried out one after the other. */
  #turn: Promise<void> = Promise.resolve();

  private constructor(
    private readonly options: WorkerOptions,
    private readonly links: LinkServer,
  ) {
    this.closed = new Promise((resolve) => {
      this.#resolveClosed = resolve;
    });
  }

  /**
   * Dials the orchestrator and is welcomed.
   * @throws ButterflyError PEER_UNREACHABLE, JOIN_REFUSED, PROTOCOL_VERSION, TIMEOUT
   */
  static async start(options: WorkerOptions): Promise<Worker> {
    const isLoopback = /^(127\.|::1$|localhost$)/.test(options.join.host);
    const links = await LinkServer.start(
      options.dataHost ?? (isLoopback ? options.join.host : '0.0.0.0'),
      options.dataPort ?? 0,
    );
    const worker = new Worker(options, links);
    try {
      await worker.#join();
    } catch (error) {
      await links.close();
      throw error;
    }
    return worker;
  }

  get id(): string {
    return this.#workerId;
  }

  /** Says goodbye and frees everything. */
  async stop(): Promise<void> {
    await this.#connection?.close('the worker stops');
    await this.closed;
  }

  async #join(): Promise<void> {
    const { join, token, identity } = this.options;
    let welcomed: (error: ButterflyError | null) => void = () => undefined;
    const welcome = new Promise<void>((resolve, reject) => {
      welcomed = (error) => {
        if (error) reject(error);
        else resolve();
      };
    });
    const connection = await dial({
      ...join,
      handlers: {
        onFrame: (frame) => {
          this.#receive(frame, () => welcomed(null));
        },
        onClose: (error, reason) => {
          welcomed(
            error ?? new ButterflyError('JOIN_REFUSED', `The orchestrator closed the connection: ${reason}`),
          );
          void this.#shutDown(error);
        },
      },
    });
    this.#connection = connection;
    const cancelDeadline = systemClock.after(deadlines.handshakeMs, () => {
      connection.destroy(
        new ButterflyError(
          'TIMEOUT',
          `${join.host}:${join.port} did not answer like an orchestrator; check the address and port.`,
        ),
      );
    });
    connection.send(
      encodeControl({ kind: 'hello', token, worker: { ...identity, dataPort: this.links.port } }),
    );
    try {
      await welcome;
    } finally {
      cancelDeadline();
    }
  }

  #receive(frame: Frame, onWelcome: () => void): void {
    if (frame.type === 'step') {
      this.#stage?.enqueue(decodeStep(frame));
      return;
    }
    if (frame.type === 'fileChunk') {
      this.#remote?.receive(decodeFileChunk(frame));
      return;
    }
    const message = decodeControl(frame);
    switch (message.kind) {
      case 'welcome':
        this.#workerId = message.workerId;
        this.#connection?.setHeartbeat({
          everyMs: message.heartbeatEveryMs,
          silenceMs: message.heartbeatSilenceMs,
        });
        onWelcome();
        return;
      case 'assign':
        this.#wantedEpoch = message.epoch;
        this.#enqueueTurn(() => this.#carryOut(message));
        return;
      case 'unassign':
        this.#wantedEpoch = -1;
        this.#enqueueTurn(() => this.#retire());
        return;
      default:
        throw new ButterflyError('PROTOCOL_INVALID', `An orchestrator does not send "${message.kind}".`);
    }
  }

  #enqueueTurn(work: () => Promise<void>): void {
    // What is under way may wait for a load of an epoch that is no more.
    this.#remote?.fail(new ButterflyError('CANCELLED', 'Another plan replaced this one.'));
    this.#turn = this.#turn.then(work);
  }

  async #carryOut(assign: Assign): Promise<void> {
    const { log } = this.options;
    if (assign.epoch !== this.#wantedEpoch) return;
    await this.#retire();
    const onFailure = (error: ButterflyError): void => this.#fail(assign.epoch, error);
    let stage: EpochStage | null = null;
    // Before loading: the stage before this one may be ready long before, and steps come only when all are.
    this.links.expect({
      epoch: assign.epoch,
      linkToken: assign.linkToken,
      onStep: (step) => stage?.enqueue(step),
      onActivations: (activations) => stage?.receive(activations),
      onLost: onFailure,
    });
    try {
      const { runtime, measured } = await this.#prepare(assign);
      const connection = this.#connection;
      if (!connection) return;
      this.#next = assign.next
        ? await dialNext(assign.next, assign.epoch, assign.linkToken, assign.stageIndex, onFailure)
        : null;
      stage = new EpochStage({
        epoch: assign.epoch,
        runtime,
        next: this.#next,
        orchestrator: connection,
        onFailure,
      });
      this.#stage = stage;
      connection.send(
        encodeControl({
          kind: 'ready',
          epoch: assign.epoch,
          shardBytes: runtime.shardBytes,
          arenaBytes: runtime.arenaBytes,
          residentBytes: process.memoryUsage.rss(),
          stepCurve: measured.curve,
          isBatchInvariant: measured.isBatchInvariant,
        }),
      );
      log.info(
        { epoch: assign.epoch, layers: [assign.layerStart, assign.layerEnd - 1] },
        'The stage is ready.',
      );
    } catch (error) {
      this.#fail(assign.epoch, toButterflyError(error));
    }
  }

  /** The runtime for these layers: the one at hand, or one loaded from the local file or over the network. */
  async #prepare(assign: Assign): Promise<Loaded> {
    const spec = parseModelSpec(assign.model);
    const { layerStart, layerEnd, arenaSlots, cacheType, rowsMax } = assign;
    const key = JSON.stringify([spec.files, layerStart, layerEnd, arenaSlots, cacheType, rowsMax]);
    if (this.#loaded?.key === key) return this.#loaded;
    this.#unload();
    const runtime = new StageRuntime({
      ggml: this.options.ggml,
      spec,
      range: { layerStart, layerEnd },
      threads: this.options.identity.threads,
      arenaSlots,
      cacheType,
      rowsMax,
    });
    try {
      await this.#load(assign.epoch, runtime, spec.files);
      const measured = await runtime.measureSteps(() => this.#ensureWanted(assign.epoch));
      this.#loaded = { key, runtime, measured };
      return this.#loaded;
    } catch (error) {
      runtime[Symbol.dispose]();
      throw error;
    }
  }

  async #load(
    epoch: number,
    runtime: StageRuntime,
    files: ReturnType<typeof parseModelSpec>['files'],
  ): Promise<void> {
    const connection = this.#connection;
    if (!connection) throw new ButterflyError('CONNECTION_CLOSED', 'The orchestrator is gone.');
    const local = this.options.remoteOnly ? null : await LocalSource.open(files);
    if (!local) this.#remote = new RemoteSource(connection, systemClock);
    await using source = local ?? this.#remote ?? new RemoteSource(connection, systemClock);
    const totalBytes = runtime.fileBytes;
    this.options.log.info({ epoch, source: source.kind, totalBytes }, 'Loading the weights.');
    let toldMs = 0;
    const tell = (loadedBytes: number): void => {
      const nowMs = systemClock.nowMs();
      if (nowMs - toldMs < progressEveryMs && loadedBytes < totalBytes) return;
      toldMs = nowMs;
      connection.send(encodeControl({ kind: 'progress', epoch, loadedBytes, totalBytes }));
    };
    try {
      await runtime.load(source, (loadedBytes) => {
        this.#ensureWanted(epoch);
        tell(loadedBytes);
      });
    } finally {
      this.#remote = null;
    }
  }

  #ensureWanted(epoch: number): void {
    if (epoch !== this.#wantedEpoch || !this.#connection?.isOpen)
      throw new ButterflyError('CANCELLED', 'Another plan replaced this one.');
  }

  /**
   * A lost link mostly means a lost neighbour, for which the orchestrator ends the epoch by itself. Only when it does
   * not is it told, because it leaves out whoever reports a failure.
   */
  #fail(epoch: number, error: ButterflyError): void {
    if (!linkErrors.has(error.code)) {
      this.#report(epoch, error);
      return;
    }
    this.#cancelReport();
    this.#cancelReport = systemClock.after(linkGraceMs, () => this.#report(epoch, error));
  }

  #report(epoch: number, error: ButterflyError): void {
    if (epoch !== this.#wantedEpoch) return;
    this.options.log.error({ epoch, code: error.code }, error.message);
    this.#connection?.send(
      encodeControl({ kind: 'failed', epoch, code: error.code, message: error.message }),
    );
  }

  /** Ends the epoch; the weights stay loaded in case that the next one wants the same. */
  async #retire(): Promise<void> {
    this.#cancelReport();
    this.links.expect(null);
    const next = this.#next;
    this.#next = null;
    void next?.close('the epoch is over');
    const stage = this.#stage;
    this.#stage = null;
    await stage?.stop();
  }

  #unload(): void {
    this.#loaded?.runtime[Symbol.dispose]();
    this.#loaded = null;
  }

  async #shutDown(error: ButterflyError | null): Promise<void> {
    this.#wantedEpoch = -1;
    this.#remote?.fail(error ?? new ButterflyError('CONNECTION_CLOSED', 'The orchestrator is gone.'));
    await this.#turn;
    await this.#retire();
    this.#unload();
    await this.links.close();
    this.#resolveClosed(error);
  }
}
