import { ButterflyError, type Clock } from '@butterfly/common';
import type { GenerateRequest, Generation } from '@butterfly/engine';
import { dryBreakers } from '@butterfly/text';
import type { DrySampling } from '@butterfly/wire';
import type { Answering, OutputSink } from './answering.js';
import type { AnsweringModel } from './answering-model.js';
import { BestAnswers } from './best-answers.js';
import { followChoice, type ChoiceEnd } from './choice.js';
import { type AnswerReading, modelSyntax } from './formats/answer-reading.js';
import { answerConstraint } from './formats/call-constraint.js';
import { engineConstraint } from './formats/engine-constraint.js';
import { plainSyntax } from './formats/syntax.js';
import { type Prompt, contextExceeded, promptOf } from './prompt.js';
import { type GenerationSpec, type InfillInput, type OneInput, type PlainInput, noTools } from './spec.js';
import { SeveralAnswers } from './several-answers.js';

const noTokens: ReadonlySet<number> = new Set();

/** Hears how many tokens some answers may take at most, their prompt included, before anything is computed; may refuse them. */
export type Charge = (tokens: number, answers: number) => void;

const freely: Charge = () => undefined;

/**
 * Makes the prompt and hands it to the engine.
 * @param charge called once for each input; what it throws ends all of them
 * @throws ButterflyError CONTEXT_EXCEEDED with the numbers; REQUEST_INVALID for an empty prompt; QUEUE_FULL;
 * CLUSTER_NOT_READY; those of `promptOf`
 */
export async function startAnswer(
  model: AnsweringModel,
  spec: GenerationSpec,
  clock: Clock,
  charge: Charge = freely,
): Promise<Answering> {
  const { input } = spec;
  return input.kind === 'several'
    ? startSeveral({ model, spec, clock, charge }, input.inputs)
    : startOne({ model, spec: { ...spec, input }, clock, charge });
}

/** A spec with one thing to continue. */
type OneSpec = GenerationSpec & { readonly input: OneInput };

/** What it takes to start an answer. */
interface Start<T extends GenerationSpec> {
  readonly model: AnsweringModel;
  readonly spec: T;
  readonly clock: Clock;
  readonly charge: Charge;
}

async function startOne({ model, spec, clock, charge }: Start<OneSpec>): Promise<Answering> {
  const prompt = await promptOf(model, spec.input, spec.inputField, spec.outputTokensMax);
  const sampling = { ...spec.sampling, dry: await drySampling(model, spec.dry) };
  const request = { ...engineRequest(model, { ...spec, sampling }, prompt), ...heldTo(model, spec, prompt) };
  const { choices, candidates, logprobs } = spec;
  const answers = Math.max(choices, candidates);
  charge(prompt.tokens.length + answers * request.outputTokensMax, answers);
  const ofAll = (told: GenerateRequest): Answers =>
    new Answers({ model, spec, request: told, reading: prompt.reading, clock });
  if (candidates <= choices) return ofAll(request);
  const all = ofAll({ ...request, logprobs: logprobs ?? 0 });
  return new BestAnswers(all, { choices, tellsTokens: logprobs !== null });
}

async function drySampling(
  { vocabulary }: AnsweringModel,
  dry: GenerationSpec['dry'],
): Promise<DrySampling | null> {
  return dry && { ...dry, breakers: await dryBreakers(vocabulary, dry.breakers) };
}

/**
 * More output than there is room for is as much as there is room for: that the answer ended by its length tells.
 */
function engineRequest(
  { engine, vocabulary }: AnsweringModel,
  spec: GenerationSpec,
  { tokens, reading }: Prompt,
): GenerateRequest {
  const { outputTokensMax: asked, inputField, sampling, logprobs, promptLogprobs, ignoreEos } = spec;
  const { contextTokensMax } = engine;
  const roomTokens = contextTokensMax - tokens.length;
  if (tokens.length === 0)
    throw new ButterflyError(
      'REQUEST_INVALID',
      `${inputField}: the prompt is empty; send at least one token.`,
      { param: inputField },
    );
  if (roomTokens < Math.min(1, asked ?? 1))
    throw contextExceeded(contextTokensMax, inputField, tokens.length, asked ?? 1);
  return {
    promptTokens: tokens,
    outputTokensMax: Math.min(asked ?? roomTokens, roomTokens),
    sampling,
    logprobs,
    promptLogprobs,
    stopTokens: ignoreEos ? noTokens : endsOf(vocabulary.endOfGenerationTokens, reading),
    priority: spec.priority,
    tenant: spec.tenant,
    requestId: spec.requestId,
    timeoutMs: spec.timeoutMs,
  };
}

function endsOf(known: ReadonlySet<number>, reading: AnswerReading | null): ReadonlySet<number> {
  const more = reading?.endTokens ?? [];
  return more.every((token) => known.has(token)) ? known : new Set([...known, ...more]);
}

/** Those that began are freed where one of them is refused. */
async function startSeveral(
  start: Start<GenerationSpec>,
  inputs: readonly (PlainInput | InfillInput)[],
): Promise<Answering> {
  const { spec } = start;
  const parts: Answering[] = [];
  try {
    for (const input of inputs) parts.push(await startOne({ ...start, spec: { ...spec, input } }));
  } catch (error) {
    for (const part of parts) part.cancel();
    throw error;
  }
  return new SeveralAnswers(parts, spec.choices);
}

/** What the answer must be like: its format, or the calls that it makes. */
function heldTo(
  model: AnsweringModel,
  { input, format }: OneSpec,
  { reading }: Prompt,
): Pick<GenerateRequest, 'constraint'> {
  const { syntax, textlessTokens } = modelSyntax(model);
  const wanted =
    input.kind === 'chat'
      ? answerConstraint(syntax, input.toolUse, format)
      : answerConstraint(plainSyntax, noTools, format);
  const constraint = engineConstraint(wanted, {
    isThinking: reading?.isThinking ?? false,
    specialTokens: textlessTokens,
  });
  return constraint === undefined ? {} : { constraint };
}

interface AnswersOptions {
  readonly model: AnsweringModel;
  readonly spec: GenerationSpec;
  readonly request: GenerateRequest;
  readonly reading: AnswerReading | null;
  readonly clock: Clock;
}

/** The candidates of one spec: the first computes the prompt, and the others begin when it is cached. */
class Answers implements Answering {
  readonly #generations: Generation[];
  readonly #startMs: number;
  #firstMs: number | null = null;
  #cancelled = false;
  #outputTokens = 0;

  constructor(private readonly options: AnswersOptions) {
    this.#startMs = options.clock.nowMs();
    this.#generations = [options.model.engine.submit(options.request)];
  }

  get promptTokens(): number {
    return this.options.request.promptTokens.length;
  }

  get outputTokens(): number {
    return this.#outputTokens;
  }

  async run(sink: OutputSink): Promise<void> {
    const ends = await this.#follow(sink);
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
    for (const generation of this.#generations) generation.cancel();
  }

  /** All choices to their ends. Who fails first ends the others, and what these say then is of no interest. */
  async #follow(sink: OutputSink): Promise<readonly ChoiceEnd[]> {
    const failures: unknown[] = [];
    const watched = (following: Promise<ChoiceEnd>): Promise<ChoiceEnd | null> =>
      following.catch((error: unknown) => {
        failures.push(error);
        this.cancel();
        return null;
      });
    const others: Promise<ChoiceEnd | null>[] = [];
    const first = this.#followOne(0, sink, () => {
      this.#firstMs = this.options.clock.nowMs() - this.#startMs;
      for (let choice = 1; choice < this.options.spec.candidates; choice++)
        others.push(watched(this.#begin(choice, sink)));
    });
    const ends = [await watched(first), ...(await Promise.all(others))];
    if (failures.length > 0) throw failures[0];
    return ends.filter((end) => end !== null);
  }

  async #begin(choice: number, sink: OutputSink): Promise<ChoiceEnd> {
    if (this.#cancelled) throw new ButterflyError('CANCELLED', 'The request was cancelled before its end.');
    const { sampling } = this.options.request;
    const seed = (sampling.seed + choice) >>> 0;
    this.#generations[choice] = this.options.model.engine.submit({
      ...this.options.request,
      sampling: { ...sampling, seed },
      // The first choice tells of the prompt.
      promptLogprobs: null,
    });
    return this.#followOne(choice, sink, () => undefined);
  }

  #followOne(choice: number, sink: OutputSink, onFirst: () => void): Promise<ChoiceEnd> {
    const generation = this.#generations[choice];
    if (!generation) throw new ButterflyError('INTERNAL', `Choice ${choice} has not begun.`);
    const { model, reading } = this.options;
    const { vocabulary } = model;
    return followChoice(generation, {
      choice,
      vocabulary,
      stops: this.options.spec.stops,
      reading,
      sink,
      onFirst,
      onToken: () => this.#outputTokens++,
    });
  }
}
