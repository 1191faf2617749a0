import {
  ButterflyError,
  deadlines,
  type Clock,
  type Logger,
  type StageTime,
  type StepResult,
} from '@butterfly/common';
import type { EpochPlan } from '../cluster/controller-types.js';
import type { StageReport } from '../cluster/worker-link.js';
import { EndRate } from './end-rate.js';
import { EventStream } from './generation.js';
import { MeasuredSpeed, type SpeedFigures } from './measured-speed.js';
import { Scheduler } from './scheduler.js';
import type { PlannedStep, SchedulerConfig, SchedulerEvent } from './scheduler-types.js';
import type { Engine, EngineStatus, GenerateRequest, Generation } from './types.js';

/** The pipeline as the engine drives it. */
export interface Pipeline {
  readonly isLive: boolean;
  send(step: PlannedStep): void;
  /** A step missed its deadline. */
  stalled(): void;
  describe(): string;
}

/** A sequence whose steps saw this many epochs end without a token between is given up: it may be what ends them. */
const rewindsWithoutTokenMax = 5;
/** A step that takes so many times as long as predicted hangs; and anything may take the grace. */
const stepTimesMax = 20;
const stepGraceMs = 5_000;
const tickMs = 100;

interface Request {
  readonly stream: EventStream;
  rewinds: number;
}

/** Where one step spent its time, for `--profile` and the demo. */
export interface StepTrace {
  readonly rows: number;
  readonly sequences: number;
  /** From beginning to form the step to having its result. */
  readonly totalMs: number;
  readonly stageTimes: readonly StageTime[];
  /** Forming the step and handing it to the socket. */
  readonly scheduleMicros: number;
  /** Taking the result in, without what the next step takes. */
  readonly completeMicros: number;
}

/** A step under way. */
interface Sent {
  readonly sentMs: number;
  readonly deadlineMs: number;
  readonly rows: number;
  readonly sequences: number;
  readonly scheduleMicros: number;
}

/**
 * Requests, scheduler and step loop: the only place that turns scheduler decisions into steps and results into tokens.
 * Results and submissions come in as calls; each runs the scheduler at once and sends what can be sent.
 */
export class PipelineEngine implements Engine {
  readonly #scheduler: Scheduler;
  readonly #requests = new Map<number, Request>();
  readonly #sent = new Map<number, Sent>();
  readonly #ends: EndRate;
  readonly #speed = new MeasuredSpeed();
  #nextId = 1;
  #accepting = true;
  #cancelTick: () => void;
  #onIdle: (() => void) | null = null;

  constructor(
    private readonly options: {
      readonly pipeline: Pipeline;
      readonly scheduler: SchedulerConfig;
      readonly clock: Clock;
      readonly log: Logger;
      readonly onStep?: (trace: StepTrace) => void;
    },
  ) {
    this.#scheduler = new Scheduler(options.scheduler);
    this.#ends = new EndRate(options.clock.nowMs());
    this.#cancelTick = this.#scheduleTick();
  }

  get contextTokensMax(): number {
    return this.options.scheduler.contextTokensMax;
  }

  status(): EngineStatus {
    const { running, waiting } = this.#scheduler.stats();
    return {
      ready: this.#accepting && this.options.pipeline.isLive,
      detail: this.options.pipeline.describe(),
      running,
      queued: waiting,
      retryAfterMs: this.#ends.expectedWaitMs(),
    };
  }

  /** Whether no request runs or waits. */
  get isIdle(): boolean {
    return this.#requests.size === 0;
  }

  /** What came out within the last minute; null when nothing did. */
  measured(): SpeedFigures | null {
    return this.#speed.figures(this.options.clock.nowMs());
  }

  submit(request: GenerateRequest): Generation {
    if (!this.#accepting)
      throw new ButterflyError(
        'CLUSTER_NOT_READY',
        'The server is shutting down; send the request to another one.',
      );
    const id = this.#nextId++;
    const nowMs = this.options.clock.nowMs();
    this.#scheduler.submit({ ...request, id, nowMs, deadlineMs: nowMs + request.timeoutMs });
    const stream = new EventStream(() => {
      this.#scheduler.cancel(id);
      this.#forget(id);
      this.#pump();
    });
    this.#requests.set(id, { stream, rewinds: 0 });
    this.#pump();
    return stream;
  }

  onResult(result: StepResult): void {
    const nowMs = this.options.clock.nowMs();
    const sent = this.#sent.get(result.stepId);
    this.#sent.delete(result.stepId);
    const events = this.#scheduler.complete(result, nowMs);
    this.#speed.observe(events, nowMs);
    const completeMicros = (this.options.clock.nowMs() - nowMs) * 1000;
    // The next step leaves before the tokens of this one are told.
    this.#pump();
    this.#tell(events, nowMs);
    if (sent && this.options.onStep) {
      const { sentMs, rows, sequences, scheduleMicros } = sent;
      const { stageTimes } = result;
      const trace = { rows, sequences, scheduleMicros };
      this.options.onStep({ ...trace, totalMs: nowMs - sentMs, stageTimes, completeMicros });
    }
  }

  /** A plan is live, with stages that measured this of themselves. */
  onLive({ plan }: EpochPlan, reports: readonly Pick<StageReport, 'stepCurve' | 'isBatchInvariant'>[]): void {
    const { scheduler } = this.options;
    this.#scheduler.reconfigure({
      ...scheduler,
      stages: plan.stages.length,
      stepCurves: reports.map(({ stepCurve }) => stepCurve),
      // A guess must never change what is said: rows that are verified together must be what they are alone.
      ...(reports.every(({ isBatchInvariant }) => isBatchInvariant) ? {} : { guessesMax: 0 }),
    });
    this.#pump();
  }

  /** What was computed is gone with the epoch; known tokens stay known and are computed again. */
  onDown(): void {
    const touched = this.#scheduler.rewind();
    this.#sent.clear();
    for (const id of touched) {
      const request = this.#requests.get(id);
      if (!request || ++request.rewinds < rewindsWithoutTokenMax) continue;
      this.#scheduler.cancel(id);
      this.#end(
        id,
        new ButterflyError(
          'WORKER_LOST',
          `Workers were lost ${request.rewinds} times while this request ran; it was given up.`,
        ),
      );
    }
  }

  /** Takes no more requests and waits for those that run, at most this long; the rest ends with an error. */
  async drain(timeoutMs: number): Promise<void> {
    this.#accepting = false;
    if (this.#requests.size > 0) {
      await new Promise<void>((resolve) => {
        const cancelDeadline = this.options.clock.after(timeoutMs, resolve);
        this.#onIdle = () => {
          cancelDeadline();
          resolve();
        };
      });
    }
    for (const id of [...this.#requests.keys()]) {
      this.#scheduler.cancel(id);
      this.#end(id, new ButterflyError('CANCELLED', 'The server was stopped before this request was done.'));
    }
    this.#cancelTick();
  }

  #pump(): void {
    const { pipeline, clock } = this.options;
    while (pipeline.isLive) {
      const nowMs = clock.nowMs();
      const step = this.#scheduler.nextStep(nowMs);
      if (!step) return;
      pipeline.send(step);
      const sentMs = clock.nowMs();
      const rows = step.tokens.length;
      this.#sent.set(step.stepId, {
        sentMs: nowMs,
        deadlineMs: nowMs + this.#stepDeadlineMs(rows),
        rows,
        sequences: step.sequences.length,
        scheduleMicros: (sentMs - nowMs) * 1000,
      });
    }
  }

  /** Steps before it in the pipeline are paid for too: no more than there are stages. */
  #stepDeadlineMs(rows: number): number {
    const lapsMs = ((1 + this.#sent.size) * this.#scheduler.lapMicros(rows)) / 1000;
    return Math.min(deadlines.stepMs, stepGraceMs + stepTimesMax * lapsMs);
  }

  #tell(events: readonly SchedulerEvent[], nowMs: number): void {
    for (const event of events) {
      const request = this.#requests.get(event.id);
      if (!request) continue;
      switch (event.kind) {
        case 'token':
          request.rewinds = 0;
          request.stream.push({ kind: 'token', token: event.token });
          break;
        case 'end':
          request.stream.push({
            kind: 'end',
            reason: event.reason,
            timing: event.timing,
            cachedPromptTokens: event.cachedPromptTokens,
          });
          this.#ends.ended(nowMs);
          this.#forget(event.id);
          break;
        case 'expired':
          this.#end(event.id, this.#expiry());
          break;
        default:
          event satisfies never;
      }
    }
  }

  #expiry(): ButterflyError {
    return this.options.pipeline.isLive
      ? new ButterflyError(
          'TIMEOUT',
          'The request reached its deadline; ask for fewer tokens or add workers.',
        )
      : new ButterflyError(
          'CLUSTER_NOT_READY',
          `The request waited until its deadline: ${this.options.pipeline.describe()}.`,
        );
  }

  #end(id: number, error: ButterflyError): void {
    this.#requests.get(id)?.stream.push({ kind: 'error', error });
    this.#forget(id);
  }

  #forget(id: number): void {
    this.#requests.delete(id);
    if (this.#requests.size === 0) this.#onIdle?.();
  }

  #scheduleTick(): () => void {
    return this.options.clock.after(tickMs, () => {
      const nowMs = this.options.clock.nowMs();
      this.#tell(this.#scheduler.expire(nowMs), nowMs);
      const oldest = this.#sent.values().next().value;
      if (oldest && nowMs > oldest.deadlineMs) {
        this.options.log.error({ waitedMs: nowMs - oldest.sentMs }, 'A step missed its deadline.');
        this.options.pipeline.stalled();
      }
      this.#cancelTick = this.#scheduleTick();
    });
  }
}
