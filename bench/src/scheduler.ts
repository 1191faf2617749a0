import { percentile } from '@butterfly/common';
import { type PlannedStep, Scheduler, type SchedulerConfig } from '@butterfly/engine';
import { greedySampling } from '@butterfly/wire';
import { chatLengths, trafficOf, type LoadRequest } from './load/traffic.js';
import { printTable, writeResult } from './report.js';

const sequences = 10_000;
const vocabulary = 32_000;
/** Requests that wait while others run: the queue is never empty, and never full. */
const waitingMax = 1000;
/** Those of one topic share a system prompt of this many tokens. */
const topics = { count: 8, tokens: 200 } as const;
/** One in so many sequences repeats itself, so that guesses are made for it. */
const parrots = { oneIn: 8, phraseTokens: 12 } as const;

interface SchedulerCase {
  readonly stages: number;
  readonly runningMax: number;
  /** Short prompts and long outputs, so that all live at once; measured over so many steps, once all run. */
  readonly crowdedSteps?: number;
}

const cases: readonly SchedulerCase[] = [
  { stages: 1, runningMax: 256 },
  { stages: 4, runningMax: 256 },
  { stages: 16, runningMax: 256 },
  { stages: 16, runningMax: 4000, crowdedSteps: 10_000 },
];

/** Milliseconds of each call. */
interface Calls {
  readonly nextStep: number[];
  readonly complete: number[];
}

/** What stands for workers: answers the oldest step with tokens of its own. */
class InstantPipeline {
  calls: Calls = { nextStep: [], complete: [] };
  rows = 0;
  copiedSlots = 0;
  runningAtMost = 0;
  readonly #scheduler: Scheduler;
  readonly #inFlight: PlannedStep[] = [];
  readonly #requests: readonly LoadRequest[];
  #submitted = 0;
  #ended = 0;
  #tokens = 0;

  constructor(config: SchedulerConfig, requests: readonly LoadRequest[]) {
    this.#scheduler = new Scheduler(config);
    this.#requests = requests;
  }

  /** Until all requests have ended. */
  run(): void {
    this.#runUntil(() => this.#ended === this.#requests.length);
  }

  /** Until so many run at once, and then so many steps, which alone count. */
  runCrowded(running: number, steps: number): void {
    this.#runUntil(() => this.runningAtMost === running);
    this.calls = { nextStep: [], complete: [] };
    this.#runUntil(() => this.calls.nextStep.length >= steps);
  }

  #runUntil(isDone: () => boolean): void {
    while (!isDone()) {
      this.#submit();
      while (this.#nextStep());
      this.runningAtMost = Math.max(this.runningAtMost, this.#scheduler.stats().running);
      this.#complete();
    }
  }

  #submit(): void {
    for (; this.#scheduler.stats().waiting < waitingMax; this.#submitted += 1) {
      const request = this.#requests[this.#submitted];
      if (request === undefined) return;
      this.#scheduler.submit({
        id: this.#submitted,
        promptTokens: promptOf(request, this.#submitted),
        outputTokensMax: request.outputTokens,
        logprobs: null,
        promptLogprobs: null,
        sampling: greedySampling,
        stopTokens: new Set(),
        priority: 0,
        nowMs: this.#submitted,
        deadlineMs: Infinity,
      });
    }
  }

  #nextStep(): boolean {
    const start = performance.now();
    const step = this.#scheduler.nextStep(this.#submitted);
    // A call that finds the pipeline full costs next to nothing and would only make the others look better.
    if (step === null) return false;
    this.calls.nextStep.push(performance.now() - start);
    this.#inFlight.push(step);
    this.rows += step.tokens.length;
    for (const { slots } of step.copies) this.copiedSlots += slots;
    return true;
  }

  #complete(): void {
    const step = this.#inFlight.shift();
    if (step === undefined) throw new Error('nothing is in flight, and yet some have not ended');
    const outputs = step.sequences
      .filter(({ sampling }) => sampling !== null)
      .map(({ sequenceId, positionStart, rows, draftTokens }) => ({
        sequenceId,
        tokens: this.#sample(sequenceId, positionStart + rows - draftTokens.length, draftTokens),
      }));
    const start = performance.now();
    const events = this.#scheduler.complete({ stepId: step.stepId, outputs }, this.#submitted);
    this.calls.complete.push(performance.now() - start);
    for (const { kind } of events) if (kind === 'end') this.#ended += 1;
  }

  /** Guesses as long as they are right, and one token more. */
  #sample(id: number, position: number, guesses: Int32Array): Int32Array {
    const tokens: number[] = [];
    for (let row = 0; row <= guesses.length; row += 1) {
      tokens.push(this.#token(id, position + row));
      if (tokens[row] !== guesses[row]) break;
    }
    return Int32Array.from(tokens);
  }

  #token(id: number, position: number): number {
    if (id % parrots.oneIn === 0) return position % parrots.phraseTokens;
    this.#tokens = (Math.imul(this.#tokens, 1_103_515_245) + 12_345) >>> 0;
    return (this.#tokens >>> 8) % vocabulary;
  }
}

function crowded(prompt: LoadRequest['prompt']): LoadRequest {
  return { prompt: prompt.slice(0, 16), outputTokens: 1500 };
}

function promptOf({ prompt }: LoadRequest, id: number): Int32Array {
  const topic = id % (2 * topics.count);
  const own = typeof prompt === 'string' ? [] : prompt;
  const shared =
    topic < topics.count ? Array.from({ length: topics.tokens }, (_, i) => topic * 1000 + i) : [];
  return Int32Array.from([...shared, ...own]);
}

/** The real scheduler with pipelines that answer at once: what one step costs the orchestrator. */
export function benchScheduler(): Promise<void> {
  const tokens = [topics.count * 1000, vocabulary] as const;
  const requests = trafficOf({ key: 'scheduler', requests: sequences, ...chatLengths, tokens });
  // The first run only warms the compiler up.
  measure({ stages: 4, runningMax: 256 }, requests.slice(0, sequences / 10));
  const results = cases.map((each) => measure(each, requests));
  printTable(
    `The scheduler alone: ${sequences} sequences of chat-like lengths, milliseconds of a call (to reach: 1)`,
    [
      'stages',
      'running',
      'steps',
      'next p50',
      'p99',
      'max',
      'over 1',
      'complete p50',
      'p99',
      'max',
      'steps/s',
    ],
    results.map(({ stages, runningAtMost, steps, nextStep, complete, slowShare, stepsPerSecond }) => [
      ...[stages, runningAtMost, steps].map(String),
      ...[nextStep.p50, nextStep.p99, nextStep.max].map((millis) => millis.toFixed(3)),
      `${(100 * slowShare).toFixed(2)}%`,
      ...[complete.p50, complete.p99, complete.max].map((millis) => millis.toFixed(3)),
      stepsPerSecond.toFixed(0),
    ]),
  );
  writeResult('scheduler', { sequences, results });
  return Promise.resolve();
}

interface SchedulerFigures extends SchedulerCase {
  readonly steps: number;
  readonly nextStep: CallFigures;
  readonly complete: CallFigures;
  readonly stepsPerSecond: number;
  /** Share of the calls of `nextStep` that took longer than a millisecond. */
  readonly slowShare: number;
  /** Slots of the arena that stages are told to copy, for shared prefixes and to make room, for each row computed. */
  readonly copiedSlotsPerRow: number;
  /** Sequences that held a region at once. */
  readonly runningAtMost: number;
}

/** Milliseconds. */
interface CallFigures {
  readonly mean: number;
  readonly p50: number;
  readonly p99: number;
  readonly p999: number;
  readonly max: number;
}

function measure(
  { stages, runningMax, crowdedSteps }: SchedulerCase,
  requests: readonly LoadRequest[],
): SchedulerFigures {
  const pipeline = new InstantPipeline(
    { contextTokensMax: 4096, arenaSlots: Math.max(2 ** 18, 1792 * runningMax), stages, runningMax },
    crowdedSteps === undefined ? requests : requests.map(({ prompt }) => crowded(prompt)),
  );
  if (crowdedSteps === undefined) pipeline.run();
  else pipeline.runCrowded(runningMax, crowdedSteps);
  const [nextStep, complete] = [figuresOf(pipeline.calls.nextStep), figuresOf(pipeline.calls.complete)];
  const steps = pipeline.calls.nextStep.length;
  return {
    stages,
    runningMax,
    steps,
    nextStep,
    complete,
    stepsPerSecond: 1000 / (nextStep.mean + complete.mean),
    slowShare: pipeline.calls.nextStep.filter((millis) => millis > 1).length / steps,
    copiedSlotsPerRow: pipeline.copiedSlots / pipeline.rows,
    runningAtMost: pipeline.runningAtMost,
  };
}

function figuresOf(millis: readonly number[]): CallFigures {
  const [p50 = NaN, p99 = NaN, p999 = NaN, max = NaN] = [50, 99, 99.9, 100].map((at) =>
    percentile(millis, at),
  );
  return { mean: millis.reduce((sum, each) => sum + each, 0) / millis.length, p50, p99, p999, max };
}
