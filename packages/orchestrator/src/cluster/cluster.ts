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
} from '@butterfly/common';
import type { ModelSpec } from '@butterfly/model';
import type { PlannedStep } from '../engine/scheduler-types.js';
import { admit } from './admission.js';
import { assignments, canaryStep, canaryStepId } from './assignments.js';
import {
  Controller,
  type ControllerAction,
  type ControllerConfig,
  type ControllerEvent,
  type EpochPlan,
} from './controller.js';
import { FileServer } from './file-server.js';
import {
  createWorkerLink,
  viewOf,
  type StageReport,
  type WorkerLink,
  type WorkerView,
} from './worker-link.js';

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
  /** With what each stage measured of itself. */
  onLive(current: EpochPlan, reports: readonly StageReport[]): void;
  /** The epoch is over; steps under way are lost. */
  onDown(): void;
  onResult(result: StepResult): void;
}

const tickMs = 100;

/** The workers, the plan in force and the way of steps through it. Sockets feed the controller; its actions are carried out here. */
export class Cluster {
  readonly #workers = new Map<string, WorkerLink>();
  readonly #controller: Controller;
  readonly #files: FileServer;
  #listener: Listener | null = null;
  #handlers: PipelineHandlers | null = null;
  #live: { readonly current: EpochPlan; readonly first: WorkerLink } | null = null;
  #nextWorker = 1;
  #cancelTick: () => void = () => undefined;
  #closed = false;

  private constructor(private readonly options: ClusterOptions) {
    this.#controller = new Controller(options.controller);
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
    return [...this.#workers.values()].map((worker) => viewOf(worker, this.plan));
  }

  /** Why the last plan could not be made or carried out; null when there is a newer one. */
  get trouble(): ButterflyError | null {
    return this.#controller.trouble;
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
        stageTimes: [],
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
    const worker = createWorkerLink(workerId, identity, connection, socket);
    this.#workers.set(workerId, worker);
    connection.send(
      encodeControl({
        kind: 'welcome',
        workerId,
        heartbeatEveryMs: deadlines.heartbeatEveryMs,
        heartbeatSilenceMs: deadlines.heartbeatSilenceMs,
      }),
    );
    const { name, memoryBytes, weightBytesPerSecond, attentionMicros, threads } = identity;
    const member = { workerId, name, memoryBytes, weightBytesPerSecond, attentionMicros };
    this.options.log.info({ ...member, threads }, 'A worker joined.');
    this.#handle({ kind: 'joined', member });
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

  #handle(event: ControllerEvent): void {
    if (this.#closed) return;
    for (const action of this.#controller.handle(event, this.options.clock.nowMs())) this.#carryOut(action);
  }

  #carryOut(action: ControllerAction): void {
    switch (action.kind) {
      case 'assign':
        for (const { worker, message } of assignments(
          action.current,
          this.#workers,
          this.options,
          randomBytes(16).toString('hex'),
        )) {
          worker.report = null;
          worker.connection.send(encodeControl(message));
        }
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
        this.#first(action.current)?.connection.send(
          encodeStep(canaryStep(action.current.epoch, this.options.arenaSlots)),
        );
        return;
      case 'live': {
        const first = this.#first(action.current);
        if (!first) return;
        this.#live = { current: action.current, first };
        this.options.log.info(
          { epoch: action.current.epoch, stages: action.current.plan.stages },
          'The plan is live.',
        );
        this.#handlers?.onLive(action.current, this.#reports(action.current));
        return;
      }
      case 'drop':
        this.#workers.get(action.workerId)?.connection.fail(action.error);
        return;
      default:
        action satisfies never;
    }
  }

  #reports({ plan }: EpochPlan): StageReport[] {
    return plan.stages.flatMap(({ workerId }) => {
      const report = this.#workers.get(workerId)?.report;
      return report ? [report] : [];
    });
  }

  #first({ plan }: EpochPlan): WorkerLink | undefined {
    return this.#workers.get(plan.stages[0]?.workerId ?? '');
  }

  #scheduleTick(): void {
    this.#cancelTick = this.options.clock.after(tickMs, () => {
      this.#handle({ kind: 'tick' });
      if (!this.#closed) this.#scheduleTick();
    });
  }
}

/** Rows of one step when nothing else is asked for, as llama.cpp's default batch. */
export const defaultRowsMax = Math.min(512, limits.stepRowsMax);
