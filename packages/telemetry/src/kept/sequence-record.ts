import { type EventOf, limits, type SequenceEnd, type StepPart } from '@butterfly/common';
import type { RequestSpan, SpanStage } from '../view/request-view.js';
import type { PlanInForce } from './plans-in-force.js';

type Changeable<T> = { -readonly [K in keyof T]: T[K] };
type Span = Changeable<Omit<RequestSpan, 'stages'>> & { stages: Changeable<SpanStage>[] };

/** What a step did for one sequence, and where. */
export interface ComputedPart {
  readonly part: StepPart;
  readonly step: EventOf<'stepDone'>;
  readonly plan: PlanInForce | null;
}

/** Going back by more than this without the end of a plan means that the sequence lost its place to another one. */
const stepBackTokensMax = 64;

/** One prompt with its answer, as the spans of its life. Times are on the clock of whoever calls. */
export class SequenceRecord {
  readonly spans: Span[] = [];
  /** Whether tokens of its answer came, since it was last interrupted. */
  #isAnswering = false;
  end: SequenceEnd | null = null;
  /** Position behind the last token that was computed. */
  #computed = 0;
  /** Up to where tokens are computed again. */
  #replayTo = 0;
  replica = 0;

  constructor(
    private readonly sequence: number,
    private readonly promptTokens: number,
    private readonly arrivedMs: number,
    nowMs: number,
  ) {
    this.#open('queue', nowMs);
  }

  /** What it does now. */
  get state(): 'queued' | 'prefill' | 'decode' | 'recovering' {
    const kind = this.spans.at(-1)?.kind;
    switch (kind) {
      case 'decode':
        return 'decode';
      case 'recovery':
      case 'replay':
        return this.#isAnswering ? 'decode' : 'recovering';
      case 'prefill':
        return this.#isAnswering ? 'decode' : 'prefill';
      default:
        return 'queued';
    }
  }

  /** @returns how many tokens of its prompt were computed, not counting again */
  computed({ part, step, plan }: ComputedPart, nowMs: number): number {
    const { positionStart, rows, guesses } = part;
    const startedMs = nowMs - step.elapsedMicros / 1000;
    this.replica = step.replica;
    if (positionStart + stepBackTokensMax < this.#computed && this.#replayTo < this.#computed) {
      this.#open('pushedOut', this.#lastEndMs(), 'Others needed its place in the cache.');
      this.#replayTo = this.#computed;
    }
    const kind =
      positionStart < this.#replayTo ? 'replay' : positionStart < this.promptTokens ? 'prefill' : 'decode';
    const span = this.#spanOf(kind, startedMs, step.replica, plan);
    span.endMs = this.#since(nowMs);
    span.steps += 1;
    span.tokens += rows - guesses;
    addStages(span, step, plan);
    const end = positionStart + rows - guesses;
    const fresh = Math.max(0, Math.min(end, this.promptTokens) - Math.max(positionStart, this.#computed));
    this.#computed = Math.max(this.#computed, end);
    this.#bound();
    return kind === 'prefill' ? fresh : 0;
  }

  /** The plan that it ran in is over; false where nothing was computed yet. */
  interrupted(words: string, nowMs: number): boolean {
    if (this.#computed === 0) return false;
    this.#replayTo = this.#computed;
    this.#isAnswering = false;
    this.#close(nowMs);
    this.#open('recovery', nowMs, words);
    return true;
  }

  came(): void {
    this.#isAnswering = true;
  }

  ended(reason: SequenceEnd, nowMs: number): void {
    this.end = reason;
    this.#close(nowMs);
  }

  /** Decoding in one plan is one span, parts of prompts are one each. A recovery lasts until there is news. */
  #spanOf(kind: RequestSpan['kind'], startedMs: number, replica: number, plan: PlanInForce | null): Span {
    const last = this.spans.at(-1);
    const epoch = plan?.epoch ?? null;
    if (kind === 'decode' && last?.kind === 'decode' && last.epoch === epoch && last.replica === replica)
      return last;
    this.#close(startedMs);
    if (kind !== 'replay') for (const span of this.spans) span.endMs ??= this.#since(startedMs);
    const span = this.#open(kind, startedMs);
    span.epoch = epoch;
    span.replica = replica;
    return span;
  }

  #open(kind: RequestSpan['kind'], nowMs: number, words: string | null = null): Span {
    const span: Span = {
      ...{ kind, sequence: this.sequence, startMs: this.#since(nowMs), endMs: null, tokens: 0, steps: 0 },
      ...{ epoch: null, replica: null, stages: [], words },
    };
    this.spans.push(span);
    return span;
  }

  /** Ends what goes on; a recovery goes on beside what it computes again. */
  #close(nowMs: number): void {
    const last = this.spans.at(-1);
    if (last && (last.kind !== 'recovery' || this.end !== null)) last.endMs ??= this.#since(nowMs);
    if (this.end !== null) for (const span of this.spans) span.endMs ??= this.#since(nowMs);
  }

  #lastEndMs(): number {
    return this.arrivedMs + (this.spans.at(-1)?.endMs ?? 0);
  }

  #since(nowMs: number): number {
    return Math.max(0, nowMs - this.arrivedMs);
  }

  /** Joins the two oldest neighbours of one kind where there are too many spans. */
  #bound(): void {
    if (this.spans.length <= limits.requestSpansMax) return;
    const at = this.spans.findIndex((span, index) => span.kind === this.spans[index + 1]?.kind);
    const [first, second] = at === -1 ? [] : this.spans.slice(at, at + 2);
    if (first && second) this.spans.splice(at, 2, joined(first, second));
    else this.spans.shift();
  }
}

function addStages(span: Span, { stageTimes }: EventOf<'stepDone'>, plan: PlanInForce | null): void {
  for (const [index, { computeMicros, hostMicros }] of stageTimes.entries()) {
    const stage = plan?.stages[index];
    if (!stage) continue;
    const kept = (span.stages[index] ??= { ...stage, computeMs: 0, hostMs: 0 });
    kept.computeMs += computeMicros / 1000;
    kept.hostMs += hostMicros / 1000;
  }
}

function joined(first: Span, second: Span): Span {
  const isOnePlan = first.epoch === second.epoch && first.replica === second.replica;
  return {
    ...first,
    endMs: second.endMs,
    tokens: first.tokens + second.tokens,
    steps: first.steps + second.steps,
    // Of several plans, what the last one took is told.
    ...(isOnePlan ? {} : { epoch: second.epoch, replica: second.replica }),
    stages: isOnePlan
      ? second.stages.map((stage, index) => ({
          ...stage,
          computeMs: stage.computeMs + (first.stages[index]?.computeMs ?? 0),
          hostMs: stage.hostMs + (first.stages[index]?.hostMs ?? 0),
        }))
      : second.stages,
  };
}
