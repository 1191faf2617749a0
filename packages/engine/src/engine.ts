import {
  ButterflyError,
  type Clock,
  type Observer,
  type SequenceEnd,
  type StepTime,
} from '@butterfly/common';
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
import { noNumbers, tokensOf } from './sequence-events.js';
import { StepsUnderWay } from './steps-under-way.js';
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
const tickMs = 100;

/** What of a request is told when it begins. */
interface Begun {
  readonly promptTokens: Int32Array;
  readonly requestId?: string | null | undefined;
  readonly constraintId?: number;
}

interface Request {
  /** Tells whoever reads its events; those of the other kind of request do not come. */
  readonly push: (event: GenerateEvent | EmbedEvent) => void;
  readonly isConstrained: boolean;
  /** Null for what no client asked for. */
  readonly requestId: string | null;
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
  /** Number of the replica that it is, from 1. */
  readonly replica: number;
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

/**
 * Requests, scheduler and step loop of one pipeline: the only place that turns scheduler decisions into steps and results
 * into tokens. Results and submissions come in as calls; each runs the scheduler at once and sends what can be sent.
 */
export class PipelineEngine {
  readonly #scheduler: Scheduler;
  /** The same whatever plan is live. */
  readonly #bounds: ReturnType<typeof checkedConfig>;
  readonly #requests = new Map<number, Request>();
  readonly #underWay = new StepsUnderWay();
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
    const request = this.#begin(id, asked, (event) => {
      if (event.kind !== 'embedding') stream.push(event);
    });
    return stream;
  }

  /** @throws ButterflyError QUEUE_FULL, CONTEXT_EXCEEDED, REQUEST_UNSUPPORTED */
  embed({ tokens, pooling, priority, tenant, requestId, timeoutMs }: EmbedRequest): Embedding {
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
    const request = this.#begin(id, { promptTokens: tokens, requestId }, (event) => {
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

  #begin(
    id: number,
    { promptTokens, requestId = null, constraintId }: Begun,
    push: Request['push'],
  ): Request {
    const isConstrained = constraintId !== undefined;
    const request: Request = { push, isConstrained, requestId, engine: this, rewinds: 0 };
    this.#requests.set(id, request);
    const { length } = promptTokens;
    this.options.observe({ kind: 'sequenceQueued', sequenceId: id, requestId, promptTokens: length });
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
    const done = this.#underWay.done(result, this.options.replica, nowMs);
    const events = this.#scheduler.complete(result, nowMs);
    this.options.ledger.speed.observe(events, nowMs);
    const completeMicros = (this.options.clock.nowMs() - nowMs) * 1000;
    // The next step leaves before the tokens of this one are told.
    this.#pump();
    if (done) this.options.observe({ ...done, completeMicros });
    this.#tell(events, nowMs);
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
    this.#underWay.clear();
    for (const id of touched) {
      const request = this.#requests.get(id);
      if (!request || ++request.rewinds < rewindsWithoutTokenMax) continue;
      this.#scheduler.cancel(id);
      this.#end(
        id,
        'lost',
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
      const stopped = new ButterflyError('CANCELLED', 'The server was stopped before this request was done.');
      this.#end(id, 'cancelled', stopped);
    }
    this.#cancelTick();
    this.#guesser?.close();
  }

  /** Its client wants no more of it. */
  #abandon(id: number): void {
    this.#scheduler.cancel(id);
    this.#forget(id, 'cancelled');
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
      const { length: rows } = step.tokens;
      const lapMicros = this.#scheduler.lapMicros(rows) + pipeline.linksMicros(rows);
      this.#underWay.add(step, nowMs, clock.nowMs(), lapMicros);
    }
  }

  #tell(events: readonly SchedulerEvent[], nowMs: number): void {
    for (const [sequenceId, tokens] of tokensOf(events))
      this.options.observe({ kind: 'tokensCame', sequenceId, tokens });
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
          this.#forget(event.id, event.reason, event.cachedPromptTokens);
          break;
        case 'embedding':
          request.push({ kind: 'embedding', vector: event.vector, timing: event.timing });
          this.options.ledger.ends.ended(nowMs);
          this.#forget(event.id, 'embedding', 0);
          break;
        case 'expired':
          this.#end(event.id, 'expired', this.#expiry());
          break;
        case 'failed':
          this.#tellOfNumbers(event.id, request.requestId);
          this.#end(event.id, 'failed', noNumbers(request.isConstrained));
          break;
        default:
          event satisfies never;
      }
    }
  }

  #tellOfNumbers(sequenceId: number, requestId: string | null): void {
    this.options.observe({ kind: 'numbersFailed', sequenceId, requestId });
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

  #end(id: number, reason: SequenceEnd, error: ButterflyError): void {
    this.#requests.get(id)?.push({ kind: 'error', error });
    this.#forget(id, reason);
  }

  #forget(id: number, reason: SequenceEnd, cachedPromptTokens: number | null = null): void {
    this.#guesser?.forget(id);
    if (!this.#requests.delete(id)) return;
    this.options.observe({ kind: 'sequenceEnded', sequenceId: id, reason, cachedPromptTokens });
    if (this.isIdle) this.options.onIdle?.();
  }

  #scheduleTick(): () => void {
    return this.options.clock.after(tickMs, () => {
      const nowMs = this.options.clock.nowMs();
      this.#tell(this.#scheduler.expire(nowMs), nowMs);
      const waitedMs = this.#underWay.lateMs(nowMs);
      if (waitedMs !== null) {
        this.options.observe({ kind: 'stepStalled', waitedMs });
        this.options.pipeline.stalled();
      }
      this.#cancelTick = this.#scheduleTick();
    });
  }
}
