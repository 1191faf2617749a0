import { type PlannedStep, Scheduler } from '@butterfly/engine';
import { stateSlotsOf, windowsOf } from '@butterfly/model';
import { type StepSequence, greedySampling } from '@butterfly/wire';
import { largestIndex } from '../sampling/blocks.js';
import type { SplitModel } from '../split-model.js';
import { runThrough, tokenStep } from './stages.js';

export interface Question {
  readonly prompt: readonly number[];
  readonly outputTokens: number;
  /** What it says whatever the logits are, from its first token on; by default the likeliest tokens. */
  readonly text?: readonly number[];
}

/** What came of a question: its tokens, and the logits that each was the largest of. */
export interface Said {
  readonly tokens: number[];
  readonly logits: Buffer[];
  cachedTokens: number;
}

interface RunSizes {
  readonly contextTokensMax: number;
  readonly arenaSlots: number;
  /** None by default; where there are some, rows cost next to nothing. */
  readonly guessesMax?: number;
}

const flatCurve = [1, 512].map((rows) => ({ rows, micros: 1000 + rows }));

/** A scheduler that decides on the steps of a real model in its stages. */
export class ScheduledRun {
  readonly #scheduler: Scheduler;
  readonly #said = new Map<number, Said>();
  readonly #questions = new Map<number, Question>();
  /** Guesses that were right, that were not, and rows that were computed again. */
  readonly counted = { confirmed: 0, refused: 0, repeated: 0 };

  constructor(
    private readonly model: SplitModel,
    { guessesMax = 0, ...sizes }: RunSizes,
  ) {
    this.#scheduler = new Scheduler({
      ...sizes,
      stages: model.stages.length,
      goesAhead: false,
      runningMax: 3,
      stateSlots: stateSlotsOf(model.spec),
      windows: windowsOf(model.spec),
      checkpointTokens: 64,
      guessesMax,
      ...(guessesMax > 0 ? { stepCurves: [flatCurve] } : {}),
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

  #submit(question: Question): Said {
    const { prompt, outputTokens } = question;
    const id = this.#said.size;
    this.#questions.set(id, question);
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
    let row = 0;
    const outputs = sampled.map((sequence) => {
      const rows = logits.slice(row, row + sequence.logitRows);
      row += sequence.logitRows;
      return { sequenceId: sequence.sequenceId, tokens: this.#sample(sequence, rows) };
    });
    for (const event of this.#scheduler.complete({ stepId, outputs }, 0)) {
      const said = this.#said.get(event.id);
      if (event.kind === 'token') said?.tokens.push(event.token);
      if (event.kind === 'end' && said) said.cachedTokens = event.cachedPromptTokens;
    }
  }

  /** The tokens that rows of logits give: guesses as long as they are right, and one more. */
  #sample(sequence: StepSequence, rows: readonly Float32Array[]): Int32Array {
    const { sequenceId, draftTokens, isDecoded, positionStart } = sequence;
    const said = this.#said.get(sequenceId);
    const { prompt, text } = this.#questions.get(sequenceId) ?? { prompt: [] };
    const known = positionStart + sequence.rows - draftTokens.length - prompt.length;
    const tokens: number[] = [];
    for (const logits of rows) {
      said?.logits.push(Buffer.from(logits.slice().buffer));
      const token = text?.[known + tokens.length] ?? largestIndex(logits);
      tokens.push(token);
      if (token !== draftTokens[tokens.length - 1]) break;
    }
    this.counted.confirmed += tokens.length - 1;
    this.counted.refused += rows.length - tokens.length;
    if (isDecoded) this.counted.repeated += sequence.rows - draftTokens.length - 1;
    return Int32Array.from(tokens);
  }
}
