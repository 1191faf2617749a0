import { type PlannedStep, Scheduler } from '@butterfly/engine';
import { stateSlotsOf, windowsOf } from '@butterfly/model';
import { greedySampling } from '@butterfly/wire';
import { largestIndex } from '../sampling/blocks.js';
import type { SplitModel } from '../split-model.js';
import { runThrough, tokenStep } from './stages.js';

export interface Question {
  readonly prompt: readonly number[];
  readonly outputTokens: number;
}

/** What came of a question: its tokens, and the logits that each was the largest of. */
export interface Said {
  readonly tokens: number[];
  readonly logits: Buffer[];
  cachedTokens: number;
}

/** A scheduler that decides on the steps of a real model in two stages. */
export class ScheduledRun {
  readonly #scheduler: Scheduler;
  readonly #said = new Map<number, Said>();

  constructor(
    private readonly model: SplitModel,
    sizes: { readonly contextTokensMax: number; readonly arenaSlots: number },
  ) {
    this.#scheduler = new Scheduler({
      ...sizes,
      stages: 2,
      goesAhead: false,
      runningMax: 3,
      stateSlots: stateSlotsOf(model.spec),
      windows: windowsOf(model.spec),
      checkpointTokens: 64,
      guessesMax: 0,
    });
  }

  /** Answers questions that are asked at once. */
  async ask(...questions: readonly Question[]): Promise<Said[]> {
    return this.askWithLoss(Infinity, ...questions);
  }

  /** The same, where all caches are lost once after so many steps. */
  async askWithLoss(stepsBefore: number, ...questions: readonly Question[]): Promise<Said[]> {
    const asked = questions.map((question) => this.#submit(question));
    let steps = 0;
    for (let step = this.#scheduler.nextStep(0); step; step = this.#scheduler.nextStep(0)) {
      await this.#compute(step);
      steps += 1;
      if (steps === stepsBefore) this.#scheduler.rewind();
    }
    return asked;
  }

  #submit({ prompt, outputTokens }: Question): Said {
    const id = this.#said.size;
    const said: Said = { tokens: [], logits: [], cachedTokens: NaN };
    this.#said.set(id, said);
    this.#scheduler.submit({
      id,
      promptTokens: Int32Array.from(prompt),
      outputTokensMax: outputTokens,
      logprobs: null,
      promptLogprobs: null,
      sampling: greedySampling,
      stopTokens: new Set(),
      priority: 0,
      nowMs: 0,
      deadlineMs: 1e9,
    });
    return said;
  }

  async #compute({ stepId, sequences, tokens, copies }: PlannedStep): Promise<void> {
    const logits = await runThrough(this.model.stages, tokenStep(sequences, [...tokens], copies));
    const sampled = sequences.filter(({ sampling }) => sampling !== null);
    const outputs = sampled.map(({ sequenceId }, row) => {
      const ofRow = logits[row] ?? new Float32Array(0);
      this.#said.get(sequenceId)?.logits.push(Buffer.from(ofRow.slice().buffer));
      return { sequenceId, tokens: Int32Array.of(largestIndex(ofRow)) };
    });
    for (const event of this.#scheduler.complete({ stepId, outputs }, 0)) {
      const said = this.#said.get(event.id);
      if (event.kind === 'token') said?.tokens.push(event.token);
      if (event.kind === 'end' && said) said.cachedTokens = event.cachedPromptTokens;
    }
  }
}
