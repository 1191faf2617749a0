import { greedySampling } from '@butterfly/wire';
import { Scheduler } from '../scheduler/scheduler.js';
import type {
  PlannedStep,
  SchedulerConfig,
  SchedulerEvent,
  SchedulerRequest,
} from '../scheduler/scheduler-types.js';

/** The next token after what is known of a sequence. */
export type ScriptedModel = (known: readonly number[], id: number) => number;

/** Tokens that occur nowhere else, so that nothing repeats: `count` of them from `first` on. */
export function tokensFrom(first: number, count: number): number[] {
  return Array.from({ length: count }, (_, index) => first + index);
}

/** A scheduler whose steps are answered by a model that is a plain function. */
export class ScriptedRun {
  readonly scheduler: Scheduler;
  nowMs = 0;
  readonly #known = new Map<number, number[]>();

  constructor(
    config: SchedulerConfig,
    private readonly model: ScriptedModel = (known) => 1_000_000 + known.length,
  ) {
    this.scheduler = new Scheduler(config);
  }

  submit(id: number, promptTokens: readonly number[], options: Partial<SchedulerRequest> = {}): void {
    this.scheduler.submit({
      id,
      promptTokens: Int32Array.from(promptTokens),
      outputTokensMax: 16,
      logprobs: null,
      promptLogprobs: null,
      sampling: greedySampling,
      stopTokens: new Set(),
      priority: 0,
      nowMs: this.nowMs,
      deadlineMs: this.nowMs + 1e9,
      ...options,
    });
    this.#known.set(id, [...promptTokens]);
  }

  /** Prompt and output so far. */
  known(id: number): readonly number[] {
    return this.#known.get(id) ?? [];
  }

  form(): PlannedStep {
    const step = this.scheduler.nextStep(this.nowMs);
    if (step === null) throw new Error('there should be a step');
    return step;
  }

  /** Answers a step the way the last stage does: guesses as long as they are right, and one token more. */
  answer(step: PlannedStep): SchedulerEvent[] {
    const outputs = step.sequences
      .filter(({ sampling }) => sampling !== null)
      .map(({ sequenceId, draftTokens }) => {
        const known = [...this.known(sequenceId)];
        const tokens: number[] = [];
        for (let row = 0; row <= draftTokens.length; row += 1) {
          const token = this.model(known, sequenceId);
          tokens.push(token);
          known.push(token);
          if (token !== draftTokens[row]) break;
        }
        return { sequenceId, tokens: Int32Array.from(tokens) };
      });
    const events = this.scheduler.complete({ stepId: step.stepId, outputs }, this.nowMs);
    for (const event of events) if (event.kind === 'token') this.#known.get(event.id)?.push(event.token);
    return events;
  }

  /** Forms a step and answers it at once. */
  step(): { readonly step: PlannedStep; readonly events: readonly SchedulerEvent[] } {
    const step = this.form();
    return { step, events: this.answer(step) };
  }

  /** Steps, each answered at once, until nothing is left to do. */
  finish(): { readonly steps: readonly PlannedStep[]; readonly events: readonly SchedulerEvent[] } {
    const steps: PlannedStep[] = [];
    const events: SchedulerEvent[] = [];
    for (let step = this.scheduler.nextStep(this.nowMs); step; step = this.scheduler.nextStep(this.nowMs)) {
      steps.push(step);
      events.push(...this.answer(step));
    }
    return { steps, events };
  }
}
