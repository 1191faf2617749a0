import { ButterflyError, type Clock } from '@butterfly/common';
import type { GenerateRequest } from '@butterfly/engine';
import { dryBreakers } from '@butterfly/text';
import type { DrySampling } from '@butterfly/wire';
import { answerReader } from './answer-reader.js';
import type { Answering, OutputSink } from './answering.js';
import type { AnsweringModel } from './answering-model.js';
import { Answers } from './answers.js';
import { BestAnswers } from './best-answers.js';
import { type AnswerReading, modelSyntax } from './formats/answer-reading.js';
import type { AnswerReader } from './choice.js';
import { callIds } from './formats/call-ids.js';
import { answerConstraint } from './formats/call-constraint.js';
import { engineConstraint } from './formats/engine-constraint.js';
import { plainSyntax } from './formats/syntax.js';
import { type Prompt, contextExceeded, promptOf } from './prompt.js';
import { type GenerationSpec, type InfillInput, type OneInput, type PlainInput, noTools } from './spec.js';
import { SeveralAnswers } from './several-answers.js';
import { noTape, type Tape, tapeOfInput } from './tape.js';

const noTokens: ReadonlySet<number> = new Set();

/** Hears how many tokens some answers may take at most, their prompt included, before anything is computed; may refuse them. */
export type Charge = (tokens: number, answers: number) => void;

const freely: Charge = () => undefined;

/** What whoever starts an answer may have a hand in. */
export interface StartOptions {
  /** Called once for each input; what it throws ends all of them. By default everything is free. */
  readonly charge?: Charge;
  /** Where the answer is kept, with what was heard of it already; by default nowhere. */
  readonly tape?: Tape;
}

/**
 * Makes the prompt and hands it to the engine, with what is known of the answer already.
 * @throws ButterflyError CONTEXT_EXCEEDED with the numbers; REQUEST_INVALID for an empty prompt; QUEUE_FULL;
 * CLUSTER_NOT_READY; those of `promptOf`
 */
export async function startAnswer(
  model: AnsweringModel,
  spec: GenerationSpec,
  clock: Clock,
  { charge = freely, tape = noTape }: StartOptions = {},
): Promise<Answering> {
  const { input } = spec;
  return input.kind === 'several'
    ? startSeveral({ model, spec, clock, charge, tape }, input.inputs)
    : startOne({ model, spec: { ...spec, input }, clock, charge, tape });
}

/** A spec with one thing to continue. */
type OneSpec = GenerationSpec & { readonly input: OneInput };

/** What it takes to start an answer. */
interface Start<T extends GenerationSpec> {
  readonly model: AnsweringModel;
  readonly spec: T;
  readonly clock: Clock;
  readonly charge: Charge;
  readonly tape: Tape;
}

async function startOne({ model, spec, clock, charge, tape }: Start<OneSpec>): Promise<Answering> {
  const prompt = await keptPrompt(model, spec, tape);
  const sampling = { ...spec.sampling, dry: await drySampling(model, spec.dry) };
  const request = { ...engineRequest(model, { ...spec, sampling }, prompt), ...heldTo(model, spec, prompt) };
  const { choices, candidates, logprobs } = spec;
  const answers = Math.max(choices, candidates);
  charge(prompt.tokens.length + answers * request.outputTokensMax, answers);
  const newReader = (choice: number, sink: OutputSink): AnswerReader =>
    answerReader({
      ...{ choice, vocabulary: model.vocabulary, stops: spec.stops, reading: prompt.reading, sink },
      newCallId: callIds(spec.requestId, choice),
    });
  const ofAll = (told: GenerateRequest): Answers =>
    new Answers({ model, spec, request: told, newReader, clock, tape });
  if (candidates <= choices) return ofAll(request);
  const all = ofAll({ ...request, logprobs: logprobs ?? 0 });
  return new BestAnswers(all, { choices, tellsTokens: logprobs !== null });
}

/** The tokens that an answer began with stay its own, even where its template would say something else by now, as of the date. */
async function keptPrompt(model: AnsweringModel, spec: OneSpec, tape: Tape): Promise<Prompt> {
  const prompt = await promptOf(model, spec.input, spec.inputField, spec.outputTokensMax);
  const kept = tape.heard.find((line) => line.kind === 'input');
  if (kept) return { ...prompt, tokens: kept.tokens };
  tape.record({ kind: 'input', input: 0, tokens: prompt.tokens });
  return prompt;
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
  const { spec, tape } = start;
  const candidates = Math.max(spec.choices, spec.candidates);
  const parts: Answering[] = [];
  try {
    for (const [index, input] of inputs.entries())
      parts.push(
        await startOne({
          ...start,
          spec: { ...spec, input },
          tape: tapeOfInput(tape, index, candidates),
        }),
      );
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
