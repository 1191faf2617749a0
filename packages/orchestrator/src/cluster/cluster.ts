import { randomBytes } from 'node:crypto';
import type { Socket } from 'node:net';
import {
  ButterflyError,
  Connection,
  deadlines,
  decodeControl,
  decodeStepResult,
  encodeControl,
  encodeStep,
  isErrorCode,
  limits,
  listen,
  toButterflyError,
  type Clock,
  type ControlMessage,
  type ControlMessageOf,
  type Frame,
  type Listener,
  type Logger,
  type StepResult,
  type WorkerIdentity,
} from '@butterfly/common';
import type { ModelSpec } from '@butterfly/model';
import type { PlannedStep } from '../engine/scheduler-types.js';
import { admit } from './admission.js';
import {
  Controller,
  type ControllerAction,
  type ControllerConfig,
  type ControllerEvent,
  type EpochPlan,
  type Member,
} from './controller.js';
import { FileServer } from './file-server.js';
import type { Plan } from './planner.js';

export interface ClusterOptions {
  readonly host: string;
  /** 0 lets the system choose. */
  readonly port: number;
  /** Workers must show it; null lets everybody in who can reach the port. */
  readonly token: string | null;
  readonly spec: ModelSpec;
  readonly arenaSlots: number;
  readonly rowsMax: number;
  readonly controller: ControllerConfig;
  readonly clock: Clock;
  readonly log: Logger;
}

/** What the engine hears from the pipeline. */
export interface PipelineHandlers {
  onLive(current: EpochPlan): void;
  /** The epoch is over; steps under way are lost. */
  onDown(): void;
  onResult(result: StepResult): void;
}

/** What a worker tells about a stage that it holds. */
export interface StageReport {
  readonly shardBytes: number;
  readonly arenaBytes: number;
  readonly residentBytes: number;
}

interface WorkerLink {
  readonly workerId: string;
  readonly identity: WorkerIdentity;
  readonly connection: Connection;
  readonly remoteHost: string;
  /** The address of this machine that the worker dialled. */
  readonly localHost: string;
  loadedBytes: number;
  totalBytes: number;
  report: StageReport | null;
}

/** A worker as the outside sees it. */
export interface WorkerView {
  readonly workerId: string;
  readonly name: string;
  readonly threads: number;
  readonly layers: readonly [first: number, last: number] | null;
  readonly loadedBytes: number;
  readonly totalBytes: number;
  readonly report: StageReport | null;
}

const tickMs = 100;
/** Step ids of canaries are above those of the scheduler, which count from 0. */
const canaryStepId = 0xffff_ffff;

/** The workers, the plan in force and the way of steps through it. Sockets feed the controller; its actions are carried out here. */
export class Cluster {
  readonly #workers = new Map<string, WorkerLink>();
  readonly #controller: Controller;
  readonly #files: FileServer;
  #listener: Listener | null = null;
  #handlers: PipelineHandlers | null = null;
  #live: { readonly current: EpochPlan; readonly first: WorkerLink } | null = null;
  #nextWorker = 1;
  #trouble: ButterflyError | null = null;
  #cancelTick: () => void = () => undefined;
  #closed = false;

  private constructor(private readonly options: ClusterOptions) {
    const { controller } = options;
    this.#controller = new Controller({ ...controller, plan: (members) => this.#plan(members) });
    this.#files = new FileServer(options.spec.files);
  }

  /** Listens for workers. @throws ButterflyError PORT_IN_USE, ADDRESS_INVALID */
  static async start(options: ClusterOptions): Promise<Cluster> {
    const cluster = new Cluster(options);
    cluster.#listener = await listen({
      host: options.host,
      port: options.port,
      onConnection: (socket) => cluster.#accept(socket),
    });
    cluster.#scheduleTick();
    return cluster;
  }

  get port(): number {
    return this.#listener?.port ?? 0;
  }

  get isLive(): boolean {
    return this.#live !== null;
  }

  describe(): string {
    return this.#controller.describe();
  }

  get plan(): EpochPlan | null {
    return this.#controller.current;
  }

  workers(): WorkerView[] {
    return [...this.#workers.values()].map((worker) => {
      const stage = this.plan?.plan.stages.find(({ workerId }) => workerId === worker.workerId);
      return {
        workerId: worker.workerId,
        name: worker.identity.name,
        threads: worker.identity.threads,
        layers: stage ? [stage.layerStart, stage.layerEnd - 1] : null,
        loadedBytes: worker.loadedBytes,
        totalBytes: worker.totalBytes,
        report: worker.report,
      };
    });
  }

  /** Why the last plan could not be made or carried out; null when there is a newer one. */
  get trouble(): ButterflyError | null {
    return this.#trouble;
  }

  attach(handlers: PipelineHandlers): void {
    this.#handlers = handlers;
  }

  /** Sends a step to the first stage. Does nothing without a live plan: the engine has been told. */
  send(step: PlannedStep): void {
    if (!this.#live) return;
    const { tokens } = step;
    this.#live.first.connection.send(
      encodeStep({
        epoch: this.#live.current.epoch,
        stepId: step.stepId,
        copies: step.copies,
        sequences: step.sequences,
        stageMicros: [],
        payload: new Uint8Array(tokens.buffer, tokens.byteOffset, tokens.byteLength),
      }),
    );
  }

  /** A step missed its deadline: the epoch is given up. */
  stalled(): void {
    if (this.#live) this.#handle({ kind: 'stalled', epoch: this.#live.current.epoch });
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#cancelTick();
    await Promise.all(
      [...this.#workers.values()].map(({ connection }) => connection.close('the orchestrator stops')),
    );
    await this.#listener?.close();
    await this.#files.close();
  }

  #accept(socket: Socket): void {
    let worker: WorkerLink | null = null;
    const connection: Connection = new Connection(socket, {
      clock: this.options.clock,
      handlers: {
        onFrame: (frame) => {
          if (worker) this.#receive(worker, frame);
          else {
            worker = this.#greet(connection, decodeControl(frame), socket);
            cancelDeadline();
          }
        },
        onClose: (error, reason) => {
          cancelDeadline();
          if (worker) this.#left(worker, reason);
          else
            this.options.log.warn(
              { peer: connection.peer, code: error?.code },
              `A peer left before it joined: ${reason}`,
            );
        },
      },
    });
    const cancelDeadline = this.options.clock.after(deadlines.handshakeMs, () => {
      connection.fail(new ButterflyError('TIMEOUT', `No hello came within ${deadlines.handshakeMs} ms.`));
    });
  }

  #greet(connection: Connection, message: ControlMessage, socket: Socket): WorkerLink {
    if (message.kind !== 'hello')
      throw new ButterflyError(
        'PROTOCOL_INVALID',
        `A worker began with "${message.kind}" instead of "hello".`,
      );
    admit(this.options.token, message.token, this.#workers.size);
    const workerId = `w${this.#nextWorker++}`;
    const identity = message.worker;
    const worker: WorkerLink = {
      workerId,
      identity,
      connection,
      remoteHost: plainAddress(socket.remoteAddress),
      localHost: plainAddress(socket.localAddress),
      loadedBytes: 0,
      totalBytes: 0,
      report: null,
    };
    this.#workers.set(workerId, worker);
    connection.send(
      encodeControl({
        kind: 'welcome',
        workerId,
        heartbeatEveryMs: deadlines.heartbeatEveryMs,
        heartbeatSilenceMs: deadlines.heartbeatSilenceMs,
      }),
    );
    const { name, memoryBytes, weightBytesPerSecond, threads } = identity;
    this.options.log.info({ workerId, name, threads, memoryBytes, weightBytesPerSecond }, 'A worker joined.');
    this.#handle({ kind: 'joined', member: { workerId, name, memoryBytes, weightBytesPerSecond } });
    return worker;
  }

  #left(worker: WorkerLink, reason: string): void {
    this.#workers.delete(worker.workerId);
    if (this.#closed) return;
    this.options.log.warn(
      { workerId: worker.workerId, name: worker.identity.name },
      `A worker left: ${reason}`,
    );
    this.#handle({ kind: 'left', workerId: worker.workerId });
  }

  #receive(worker: WorkerLink, frame: Frame): void {
    if (frame.type === 'result') {
      this.#result(decodeStepResult(frame));
      return;
    }
    const message = decodeControl(frame);
    const { workerId } = worker;
    switch (message.kind) {
      case 'progress':
        worker.loadedBytes = message.loadedBytes;
        worker.totalBytes = message.totalBytes;
        this.#handle({ kind: 'progress', workerId, epoch: message.epoch });
        return;
      case 'ready':
        worker.report = message;
        worker.loadedBytes = worker.totalBytes;
        this.#handle({ kind: 'ready', workerId, epoch: message.epoch });
        return;
      case 'failed': {
        const code = isErrorCode(message.code) ? message.code : 'INTERNAL';
        const error = new ButterflyError(code, message.message);
        this.options.log.error({ workerId, code }, message.message);
        if (message.epoch === this.plan?.epoch) this.#trouble = error;
        this.#handle({ kind: 'failed', workerId, epoch: message.epoch, error });
        return;
      }
      case 'fetch':
        this.#serveFile(worker, message);
        return;
      default:
        throw new ButterflyError('PROTOCOL_INVALID', `A worker does not send "${message.kind}".`);
    }
  }

  #serveFile(worker: WorkerLink, message: ControlMessageOf<'fetch'>): void {
    this.#files.serve(worker.connection, message).catch((error: unknown) => {
      worker.connection.fail(toButterflyError(error));
    });
  }

  #result(result: StepResult): void {
    if (result.epoch !== this.#controller.current?.epoch) return;
    if (result.stepId === canaryStepId) this.#handle({ kind: 'canaryPassed', epoch: result.epoch });
    else this.#handlers?.onResult(result);
  }

  #plan(members: readonly Member[]): Plan {
    try {
      const plan = this.options.controller.plan(members);
      this.#trouble = null;
      return plan;
    } catch (error) {
      this.#trouble = toButterflyError(error);
      throw error;
    }
  }

  #handle(event: ControllerEvent): void {
    if (this.#closed) return;
    for (const action of this.#controller.handle(event, this.options.clock.nowMs())) this.#carryOut(action);
  }

  #carryOut(action: ControllerAction): void {
    switch (action.kind) {
      case 'assign':
        this.#assign(action.current);
        return;
      case 'retire':
        this.#live = null;
        this.#handlers?.onDown();
        for (const { workerId } of action.current.plan.stages)
          this.#workers
            .get(workerId)
            ?.connection.send(encodeControl({ kind: 'unassign', epoch: action.current.epoch }));
        return;
      case 'canary':
        this.#canary(action.current);
        return;
      case 'live': {
        const first = this.#workers.get(action.current.plan.stages[0]?.workerId ?? '');
        if (!first) return;
        this.#live = { current: action.current, first };
        this.options.log.info(
          { epoch: action.current.epoch, stages: action.current.plan.stages },
          'The plan is live.',
        );
        this.#handlers?.onLive(action.current);
        return;
      }
      case 'drop':
        this.#workers.get(action.workerId)?.connection.fail(action.error);
        return;
      default:
        action satisfies never;
    }
  }

  /** Tells the later stages first, so that they expect their links when the earlier ones dial. */
  #assign({ epoch, plan }: EpochPlan): void {
    const { spec, arenaSlots, rowsMax } = this.options;
    const linkToken = randomBytes(16).toString('hex');
    for (const [index, stage] of [...plan.stages.entries()].reverse()) {
      const worker = this.#workers.get(stage.workerId);
      if (!worker) continue;
      worker.report = null;
      const following = plan.stages[index + 1];
      const next = following ? this.#workers.get(following.workerId) : undefined;
      worker.connection.send(
        encodeControl({
          kind: 'assign',
          epoch,
          stageIndex: index,
          stageCount: plan.stages.length,
          layerStart: stage.layerStart,
          layerEnd: stage.layerEnd,
          model: spec,
          arenaSlots,
          rowsMax,
          next: next
            ? { host: addressFor(worker, next), port: next.identity.dataPort, workerId: next.workerId }
            : null,
          linkToken,
        }),
      );
    }
  }

  /** One token at the start of the arena; whatever it leaves there is overwritten. It also warms every stage up. */
  #canary({ epoch, plan }: EpochPlan): void {
    const first = this.#workers.get(plan.stages[0]?.workerId ?? '');
    first?.connection.send(
      encodeStep({
        epoch,
        stepId: canaryStepId,
        copies: [],
        sequences: [
          {
            sequenceId: 0,
            regionStart: 0,
            regionSlots: this.options.arenaSlots,
            positionStart: 0,
            rows: 1,
            logitRows: 1,
            sampling: null,
            recentTokens: new Int32Array(0),
          },
        ],
        stageMicros: [],
        payload: new Uint8Array(4),
      }),
    );
  }

  #scheduleTick(): void {
    this.#cancelTick = this.options.clock.after(tickMs, () => {
      this.#handle({ kind: 'tick' });
      if (!this.#closed) this.#scheduleTick();
    });
  }
}

function plainAddress(address: string | undefined): string {
  return (address ?? '127.0.0.1').replace(/^::ffff:/, '');
}

function isLoopback(address: string): boolean {
  return address === '::1' || address.startsWith('127.');
}

/** Where `from` reaches `to`: a worker on this very machine is seen from elsewhere under this machine's address. */
function addressFor(from: WorkerLink, to: WorkerLink): string {
  return isLoopback(to.remoteHost) && !isLoopback(from.remoteHost) ? from.localHost : to.remoteHost;
}

/** Rows of one step when nothing else is asked for, as llama.cpp's default batch. */
export const defaultRowsMax = Math.min(512, limits.stepRowsMax);
