import { ButterflyError, type Clock } from '@butterfly/common';
import type { GenerateRequest, Generation } from '@butterfly/engine';
import type { Answering, OutputSink } from './answering.js';
import type { AnsweringModel } from './answering-model.js';
import { type AnswerReader, type ChoiceEnd, ChoiceReader, followChoice } from './choice.js';
import type { OutputEvent } from './events.js';
import type { GenerationSpec } from './spec.js';
import type { Tape } from './tape.js';

interface AnswersOptions {
  readonly model: AnsweringModel;
  readonly spec: GenerationSpec;
  readonly request: GenerateRequest;
  /** What reads the tokens of a choice. */
  readonly newReader: (choice: number, sink: OutputSink) => AnswerReader;
  readonly clock: Clock;
  readonly tape: Tape;
}

/**
 * The candidates of one spec: the first computes the prompt, and the others begin when it is cached. What the tape holds of them
 * already is told again first, and they go on behind it.
 */
export class Answers implements Answering {
  readonly #readers: readonly ChoiceReader[];
  readonly #generations: (Generation | null)[];
  readonly #startMs: number;
  /** Of what the tape held; all of them are told when somebody listens. */
  readonly #told: OutputEvent[] = [];
  #sink: OutputSink = (event) => this.#told.push(event);
  /** Begins the other candidates, once somebody listens. */
  #onFirst: () => void = () => undefined;
  #firstMs: number | null = null;
  #cancelled = false;
  #outputTokens = 0;

  constructor(private readonly options: AnswersOptions) {
    const { spec, clock, tape } = options;
    this.#startMs = clock.nowMs();
    this.#readers = Array.from({ length: spec.candidates }, (_, choice) => this.#newReader(choice));
    for (const line of tape.heard) if (line.kind !== 'input') this.#reader(line.choice).take(line);
    for (const choice of this.#readers.keys()) this.#endFull(choice);
    this.#generations = [this.#submit(0)];
  }

  get promptTokens(): number {
    return this.options.request.promptTokens.length;
  }

  get outputTokens(): number {
    return this.#outputTokens;
  }

  async run(sink: OutputSink): Promise<void> {
    for (const event of this.#told.splice(0)) sink(event);
    this.#sink = sink;
    const ends = await this.#follow();
    const outputTokens = ends.reduce((sum, end) => sum + end.outputTokens, 0);
    const cachedPromptTokens = ends[0]?.cachedPromptTokens ?? null;
    const reasoningTokens = ends.reduce((sum, end) => sum + end.reasoningTokens, 0);
    const usage = { promptTokens: this.promptTokens, outputTokens, reasoningTokens, cachedPromptTokens };
    const totalMs = this.options.clock.nowMs() - this.#startMs;
    const queuedMs = ends[0]?.queuedMs ?? null;
    sink({ kind: 'usage', usage, timing: { queuedMs, firstTokenMs: this.#firstMs ?? totalMs, totalMs } });
  }

  cancel(): void {
    this.#cancelled = true;
    for (const generation of this.#generations) generation?.cancel();
  }

  #newReader(choice: number): ChoiceReader {
    const { model, newReader } = this.options;
    return new ChoiceReader({
      choice,
      vocabulary: model.vocabulary,
      newReader: (sink) => newReader(choice, sink),
      sink: (event) => this.#sink(event),
      onFirst: () => {
        if (choice > 0) return;
        this.#firstMs = this.options.clock.nowMs() - this.#startMs;
        this.#onFirst();
      },
      onToken: () => this.#outputTokens++,
    });
  }

  #reader(choice: number): ChoiceReader {
    const reader = this.#readers[choice];
    if (!reader) throw new ButterflyError('INTERNAL', `There is no choice ${choice}. Please report this.`);
    return reader;
  }

  /** Whoever kept it may have died between its last token and its end. */
  #endFull(choice: number): void {
    const { request, tape } = this.options;
    const { tokens, end } = this.#reader(choice);
    if (end || tokens.length === 0 || tokens.length < request.outputTokensMax) return;
    const line = { kind: 'end', reason: 'length', cachedPromptTokens: 0, queuedMs: null } as const;
    tape.record({ choice, ...line });
    this.#reader(choice).take(line);
  }

  /** Has the engine go on with a choice; null for one that is over. */
  #submit(choice: number): Generation | null {
    const { request, model } = this.options;
    const { end, tokens, hasBegun } = this.#reader(choice);
    if (end) return null;
    return model.engine.submit({
      ...request,
      sampling: { ...request.sampling, seed: (request.sampling.seed + choice) >>> 0 },
      ...(tokens.length === 0 ? {} : { knownOutput: Int32Array.from(tokens) }),
      // The first choice tells of the prompt, and once.
      ...(choice > 0 || hasBegun ? { promptLogprobs: null } : {}),
    });
  }

  /** All choices to their ends. Who fails first ends the others, and what these say then is of no interest. */
  async #follow(): Promise<readonly ChoiceEnd[]> {
    const failures: unknown[] = [];
    const watched = (following: Promise<ChoiceEnd>): Promise<ChoiceEnd | null> =>
      following.catch((error: unknown) => {
        failures.push(error);
        this.cancel();
        return null;
      });
    const others: Promise<ChoiceEnd | null>[] = [];
    this.#onFirst = () => {
      for (let choice = 1; choice < this.#readers.length; choice++) others.push(watched(this.#begin(choice)));
    };
    if (this.#reader(0).hasBegun) this.#onFirst();
    const ends = [await watched(this.#followOne(0)), ...(await Promise.all(others))];
    if (failures.length > 0) throw failures[0];
    return ends.filter((end) => end !== null);
  }

  async #begin(choice: number): Promise<ChoiceEnd> {
    if (this.#cancelled) throw new ButterflyError('CANCELLED', 'The request was cancelled before its end.');
    this.#generations[choice] = this.#submit(choice);
    return this.#followOne(choice);
  }

  async #followOne(choice: number): Promise<ChoiceEnd> {
    const reader = this.#reader(choice);
    if (reader.end) return reader.end;
    const generation = this.#generations[choice];
    if (!generation) throw new ButterflyError('INTERNAL', `Choice ${choice} has not begun.`);
    return followChoice(generation, reader, (line) => this.options.tape.record({ choice, ...line }));
  }
}
