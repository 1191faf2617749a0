import { ButterflyError, type Clock, type Observer, type StepTime, deadlines } from '@butterfly/common';
import type { PlanStage } from '@butterfly/planning';
import { type Pooling, type StepResult, greedySampling } from '@butterfly/wire';
import { DraftGuesser, type DraftModel } from './draft-guesser.js';
import { EmbeddingStream, GenerationStream } from './generation.js';
import type { EngineLedger } from './ledger.js';
import type { DraftFigures } from './guesses/wanted-guesses.js';
import { checkSubmission, textTokensMax } from './scheduler/request-checks.js';
import { checkedConfig } from './scheduler/scheduler-checks.js';
import type { Sequence } from './scheduler/scheduler-sequence.js';
import { Scheduler } from './scheduler/scheduler.js';
import type {
  PlannedStep,
  SchedulerConfig,
  SchedulerEvent,
  SchedulerStats,
} from './scheduler/scheduler-types.js';
import type {
  EmbedEvent,
  EmbedRequest,
  Embedding,
  EngineModel,
  GenerateEvent,
  GenerateRequest,
  Generation,
} from './types.js';

/** What a stage says of itself. */
export interface StageMeasurement {
  /** Times of steps, rows ascending. */
  readonly stepCurve: readonly StepTime[];
  /** Whether a row has the same numbers to the last bit whatever else is in its step. */
  readonly isBatchInvariant: boolean;
}

/** The pipeline as the engine drives it. */
export interface Pipeline {
  readonly isLive: boolean;
  send(step: PlannedStep): void;
  /** What is known of the time that a step of so many rows is on its way between stages. */
  linksMicros(rows: number): number;
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
  /** Tells whoever reads its events; those of the other kind of request do not come. */
  readonly push: (event: GenerateEvent | EmbedEvent) => void;
  readonly isConstrained: boolean;
  /** Where it runs or waits now. */
  engine: PipelineEngine;
  rewinds: number;
}

/** A request between two engines: its stream, and all that is known of its sequence. */
export interface MovedRequest {
  readonly sequence: Sequence;
  readonly request: Request;
}

export interface PipelineEngineOptions {
  readonly pipeline: Pipeline;
  readonly scheduler: SchedulerConfig;
  /** Shared by all engines between which requests may move. */
  readonly ledger: EngineLedger;
  readonly clock: Clock;
  readonly observe: Observer;
  /** Another model that guesses, with its context in `scheduler.draftTokensMax`; by default there is none. */
  readonly draft?: DraftModel | undefined;
  /** Whether another worker is to compute the steps of the next request too; by default none is. */
  readonly isToVerify?: () => boolean;
  /** The last request is gone. */
  readonly onIdle?: () => void;
}

/** A step under way. */
interface Sent {
  readonly sentMs: number;
  readonly deadlineMs: number;
  readonly rows: number;
  readonly scheduleMicros: number;
}

/**
 * Requests, scheduler and step loop of one pipeline: the only place that turns scheduler decisions into steps and results
 * into tokens. Results and submissions come in as calls; each runs the scheduler at once and sends what can be sent.
 */
export class PipelineEngine {
  readonly #scheduler: Scheduler;
  /** The same whatever plan is live. */
  readonly #bounds: ReturnType<typeof checkedConfig>;
  readonly #requests = new Map<number, Request>();
  readonly #sent = new Map<number, Sent>();
  readonly #guesser: DraftGuesser | null;
  #cancelTick: () => void;

  constructor(private readonly options: PipelineEngineOptions) {
    this.#scheduler = new Scheduler(options.scheduler, options.ledger.shares);
    this.#bounds = checkedConfig(options.scheduler);
    const { draft, clock } = options;
    const { drafting } = this.#scheduler;
    this.#guesser = draft ? new DraftGuesser(draft, drafting, clock, () => this.#pump()) : null;
    this.#cancelTick = this.#scheduleTick();
  }

  /** Whether no request runs or waits. */
  get isIdle(): boolean {
    return this.#requests.size === 0;
  }

  stats(): SchedulerStats {
    return this.#scheduler.stats();
  }

  /** What became of guesses of another model. */
  draftFigures(): DraftFigures {
    return this.#scheduler.drafting.figures;
  }

  /** How many tokens of this prompt need not be computed here. */
  cachedTokens(promptTokens: Int32Array): number {
    return this.#scheduler.cachedTokens(promptTokens);
  }

  /** @throws ButterflyError CONTEXT_EXCEEDED, REQUEST_INVALID, REQUEST_UNSUPPORTED */
  check(asked: Omit<GenerateRequest, 'constraint'>): void {
    checkSubmission(asked, this.#bounds);
  }

  /** @throws ButterflyError QUEUE_FULL, CONTEXT_EXCEEDED, REQUEST_INVALID, REQUEST_UNSUPPORTED */
  submit(asked: Omit<GenerateRequest, 'constraint'> & { readonly constraintId?: number }): Generation {
    const id = this.options.ledger.nextId();
    const nowMs = this.options.clock.nowMs();
    const isVerified = this.options.isToVerify?.() ?? false;
    this.#scheduler.submit({ ...asked, id, isVerified, nowMs, deadlineMs: nowMs + asked.timeoutMs });
    const stream = new GenerationStream(() => request.engine.#abandon(id));
    const isConstrained = asked.constraintId !== undefined;
    const request = this.#begin(id, isConstrained, (event) => {
      if (event.kind !== 'embedding') stream.push(event);
    });
    return stream;
  }

  /** @throws ButterflyError QUEUE_FULL, CONTEXT_EXCEEDED, REQUEST_UNSUPPORTED */
  embed({ tokens, pooling, priority, tenant, timeoutMs }: EmbedRequest): Embedding {
    const id = this.options.ledger.nextId();
    const nowMs = this.options.clock.nowMs();
    this.#scheduler.submit({
      id,
      promptTokens: tokens,
      outputTokensMax: 0,
      sampling: greedySampling,
      logprobs: null,
      promptLogprobs: null,
      stopTokens: new Set(),
      pooling: pooling ?? this.model.usualPooling,
      priority,
      tenant,
      nowMs,
      deadlineMs: nowMs + timeoutMs,
    });
    const stream = new EmbeddingStream(() => request.engine.#abandon(id));
    const request = this.#begin(id, false, (event) => {
      if (event.kind === 'embedding' || event.kind === 'error') stream.push(event);
    });
    return stream;
  }

  /** What may be asked of the model. */
  get model(): EngineModel {
    return this.#bounds.model;
  }

  /** Tokens of the longest text whose embedding is pooled so. */
  embeddingTokensMax(pooling: Pooling | null = null): number {
    return textTokensMax(pooling ?? this.model.usualPooling, this.#bounds);
  }

  #begin(id: number, isConstrained: boolean, push: Request['push']): Request {
    const request: Request = { push, isConstrained, engine: this, rewinds: 0 };
    this.#requests.set(id, request);
    this.#pump();
    return request;
  }

  /** Gives away all requests, or those that wait, as `adopt` takes them: their streams go on elsewhere. */
  release(which: 'all' | 'waiting'): MovedRequest[] {
    return this.#scheduler.release(which).flatMap((sequence) => {
      const request = this.#requests.get(sequence.id);
      this.#requests.delete(sequence.id);
      this.#guesser?.forget(sequence.id);
      return request ? [{ sequence, request }] : [];
    });
  }

  /** Takes a request of another engine over. It was accepted once, so it is not refused now; `resume` goes on with it. */
  adopt({ sequence, request }: MovedRequest): void {
    request.engine = this;
    this.#requests.set(sequence.id, request);
    this.#scheduler.adopt(sequence);
  }

  /** Goes on with what was adopted. */
  resume(): void {
    this.#pump();
  }

  onResult(result: StepResult): void {
    const nowMs = this.options.clock.nowMs();
    const sent = this.#sent.get(result.stepId);
    this.#sent.delete(result.stepId);
    const events = this.#scheduler.complete(result, nowMs);
    this.options.ledger.speed.observe(events, nowMs);
    const completeMicros = (this.options.clock.nowMs() - nowMs) * 1000;
    // The next step leaves before the tokens of this one are told.
    this.#pump();
    this.#tell(events, nowMs);
    if (!sent) return;
    const { rows, scheduleMicros } = sent;
    const { stageTimes } = result;
    this.options.observe({ kind: 'stepDone', rows, stageTimes, scheduleMicros, completeMicros });
  }

  /** A plan of these stages is live, which measured this of themselves. */
  onLive(stages: readonly Pick<PlanStage, 'isRelayed'>[], measured: readonly StageMeasurement[]): void {
    const { scheduler } = this.options;
    this.#scheduler.reconfigure({
      ...scheduler,
      stages: stages.length,
      goesAhead: stages[0]?.isRelayed === false,
      stepCurves: measured.map(({ stepCurve }) => stepCurve),
      // A guess must never change what is said: rows that are verified together must be what they are alone.
      ...(measured.every(({ isBatchInvariant }) => isBatchInvariant) ? {} : { guessesMax: 0 }),
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

  /** Ends what runs or waits with an error, and all timers. */
  close(): void {
    for (const id of [...this.#requests.keys()]) {
      this.#scheduler.cancel(id);
      this.#end(id, new ButterflyError('CANCELLED', 'The server was stopped before this request was done.'));
    }
    this.#cancelTick();
    this.#guesser?.close();
  }

  /** Its client wants no more of it. */
  #abandon(id: number): void {
    this.#scheduler.cancel(id);
    this.#forget(id);
    this.#pump();
  }

  #pump(): void {
    if (!this.options.pipeline.isLive) return;
    this.#guesser?.ask();
    this.#send();
    this.#guesser?.ask();
  }

  #send(): void {
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
        scheduleMicros: (sentMs - nowMs) * 1000,
      });
    }
  }

  /** Steps before it in the pipeline are paid for too: no more than there are stages. */
  #stepDeadlineMs(rows: number): number {
    const lapMicros = this.#scheduler.lapMicros(rows) + this.options.pipeline.linksMicros(rows);
    const lapsMs = ((1 + this.#sent.size) * lapMicros) / 1000;
    return Math.min(deadlines.stepMs, stepGraceMs + stepTimesMax * lapsMs);
  }

  #tell(events: readonly SchedulerEvent[], nowMs: number): void {
    for (const event of events) {
      const request = this.#requests.get(event.id);
      if (!request) continue;
      switch (event.kind) {
        case 'token':
          request.rewinds = 0;
          request.push({
            kind: 'token',
            token: event.token,
            ...(event.logprobs && { logprobs: event.logprobs }),
          });
          break;
        case 'promptToken':
          request.rewinds = 0;
          request.push({ kind: 'promptToken', token: event.token, logprobs: event.logprobs });
          break;
        case 'end':
          request.push({
            kind: 'end',
            reason: event.reason,
            timing: event.timing,
            cachedPromptTokens: event.cachedPromptTokens,
          });
          this.options.ledger.ends.ended(nowMs);
          this.#forget(event.id);
          break;
        case 'embedding':
          request.push({ kind: 'embedding', vector: event.vector, timing: event.timing });
          this.options.ledger.ends.ended(nowMs);
          this.#forget(event.id);
          break;
        case 'expired':
          this.#end(event.id, this.#expiry());
          break;
        case 'failed':
          this.options.observe({ kind: 'numbersFailed', sequenceId: event.id });
          this.#end(
            event.id,
            new ButterflyError(
              'COMPUTE_FAILED',
              request.isConstrained
                ? 'The model gives no numbers for this request (NaN or infinity in its computation), or none of its tokens goes on with the constraint; check both, or ask otherwise.'
                : 'The model gives no numbers for this request (NaN or infinity in its computation); check the model file, or ask otherwise.',
            ),
          );
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
    this.#requests.get(id)?.push({ kind: 'error', error });
    this.#forget(id);
  }

  #forget(id: number): void {
    this.#guesser?.forget(id);
    if (this.#requests.delete(id) && this.isIdle) this.options.onIdle?.();
  }

  #scheduleTick(): () => void {
    return this.options.clock.after(tickMs, () => {
      const nowMs = this.options.clock.nowMs();
      this.#tell(this.#scheduler.expire(nowMs), nowMs);
      const oldest = this.#sent.values().next().value;
      if (oldest && nowMs > oldest.deadlineMs) {
        this.options.observe({ kind: 'stepStalled', waitedMs: nowMs - oldest.sentMs });
        this.options.pipeline.stalled();
      }
      this.#cancelTick = this.#scheduleTick();
    });
  }
}
