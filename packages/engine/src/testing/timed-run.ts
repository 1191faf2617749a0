import { StepCurve, type StepTime } from '@butterfly/common';
import type { WantedGuesses } from '../guesses/wanted-guesses.js';
import type { PlannedStep, SchedulerConfig } from '../scheduler/scheduler-types.js';
import { randomSource } from './fake-pipeline.js';
import { ScriptedRun } from './scripted-run.js';

/** What a simulated pipeline takes, and the draft that guesses for it. */
export interface Timed {
  readonly stages: number;
  /** From each process to the next, the orchestrator among them. */
  readonly hopMs: number;
  /** Of a step in each stage. */
  readonly curve: readonly StepTime[];
  /** Of all sequences at once. */
  readonly sequences: number;
  readonly outputTokens: number;
  readonly draft: {
    readonly startMs: number;
    readonly eachMs: number;
    /** How often a guess is right once all before it were; in a hundred. */
    readonly right: number;
    /** Of a hundred questions, how many it never answers. */
    readonly lost?: number;
  } | null;
  readonly config?: Partial<SchedulerConfig>;
}

export interface TimedOutcome {
  readonly tokensPerSecond: number;
  readonly asked: number;
  readonly missed: number;
  readonly tokensPerStep: number;
}

const promptTokens = 8;

/** Runs texts that never repeat through a pipeline in simulated time. */
export function timedRun(timed: Timed): TimedOutcome {
  const { stages, sequences, outputTokens, draft, curve } = timed;
  const config = {
    contextTokensMax: promptTokens + outputTokens,
    arenaSlots: (promptTokens + outputTokens + 256) * sequences,
    stages,
    goesAhead: true,
    runningMax: sequences,
    stepCurves: Array.from({ length: stages }, () => curve),
    draftTokensMax: draft ? 4096 : 0,
    ...timed.config,
  };
  const run = new ScriptedRun(config, nextToken);
  for (let id = 0; id < sequences; id += 1)
    run.submit(
      id,
      Array.from({ length: promptTokens }, (_, index) => 100_000 * (id + 1) + index),
      { outputTokensMax: outputTokens },
    );
  return new Timeline(run, timed).run();
}

/** No token comes twice. */
function nextToken(known: readonly number[], id: number): number {
  return 100_000 * (id + 1) + known.length;
}

class Timeline {
  readonly #events: { readonly atMs: number; readonly act: () => void }[] = [];
  readonly #curve: StepCurve;
  readonly #freeMs: number[];
  /** When the last stage has sampled a step. */
  readonly #sampledMs = new Map<number, number>();
  readonly #random = randomSource(7);
  #steps = 0;
  #tokens = 0;

  constructor(
    private readonly run_: ScriptedRun,
    private readonly timed: Timed,
  ) {
    this.#curve = new StepCurve(timed.curve);
    this.#freeMs = Array.from({ length: timed.stages }, () => 0);
  }

  run(): TimedOutcome {
    const run = this.run_;
    this.#pump();
    for (let next = this.#pop(); next; next = this.#pop()) {
      run.nowMs = Math.max(run.nowMs, next.atMs);
      next.act();
      this.#pump();
    }
    const { asked, missed } = run.scheduler.drafting.figures;
    return {
      tokensPerSecond: (1000 * this.#tokens) / run.nowMs,
      asked,
      missed,
      tokensPerStep: this.#tokens / this.#steps,
    };
  }

  #pop(): { readonly atMs: number; readonly act: () => void } | undefined {
    const at = this.#events.reduce(
      (best, { atMs }, index) => (atMs < (this.#events[best]?.atMs ?? Infinity) ? index : best),
      0,
    );
    return this.#events.splice(at, 1)[0];
  }

  #pump(): void {
    const { scheduler, nowMs } = this.run_;
    this.#ask(scheduler.drafting.wanted(nowMs));
    for (let step = scheduler.nextStep(nowMs); step; step = scheduler.nextStep(nowMs)) this.#send(step);
    this.#ask(scheduler.drafting.wanted(nowMs));
    const { dueMs } = scheduler.drafting;
    const isLooked = this.#events.some(({ atMs }) => atMs === dueMs);
    if (dueMs !== null && !isLooked) this.#events.push({ atMs: dueMs, act: () => undefined });
  }

  #ask(wanted: readonly WantedGuesses[]): void {
    const { draft } = this.timed;
    if (!draft) return;
    const run = this.run_;
    for (const { sequenceId, known, count } of wanted) {
      if (this.#random.below(100) < (draft.lost ?? 0)) continue;
      const atMs = run.nowMs + draft.startMs + draft.eachMs * count;
      const tokens = Int32Array.from({ length: count }, (_, index) =>
        this.#random.below(100) < draft.right
          ? nextToken(Array.from({ length: known.length + index }), sequenceId)
          : 1,
      );
      this.#events.push({
        atMs,
        act: () => run.scheduler.drafting.guessed(sequenceId, known.length, tokens, run.nowMs),
      });
    }
  }

  /** Stages take steps in order, so that the way of each is known once it is sent. */
  #send(step: PlannedStep): void {
    const { hopMs, stages } = this.timed;
    const micros = this.#curve.micros(step.tokens.length);
    const back = Math.max(0, ...step.tokens.map((token) => (token < 0 ? -token : 0)));
    const sampledMs = back > 0 ? (this.#sampledMs.get(step.stepId - back) ?? NaN) : 0;
    let atMs = Math.max(this.run_.nowMs + hopMs, sampledMs + (stages > 1 ? hopMs : 0));
    for (let stage = 0; stage < stages; stage += 1) {
      if (stage > 0) atMs += hopMs;
      atMs = Math.max(atMs, this.#freeMs[stage] ?? 0) + micros / 1000;
      this.#freeMs[stage] = atMs;
    }
    this.#sampledMs.set(step.stepId, atMs);
    this.#steps += 1;
    this.#events.push({
      atMs: atMs + hopMs,
      act: () => {
        this.#tokens += this.run_.answer(step).filter(({ kind }) => kind === 'token').length;
      },
    });
  }
}
