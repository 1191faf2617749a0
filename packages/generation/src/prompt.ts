import { setImmediate as nextTurn } from 'node:timers/promises';
import { ButterflyError } from '@butterfly/common';
import type { PromptText } from '@butterfly/text';
import type { AnsweringModel } from './answering-model.js';
import { type AnswerReading, answerReading, modelSyntax } from './formats/answer-reading.js';
import { infillTokens } from './infill.js';
import { type ChatInput, type InfillInput, type OneInput, usableTools } from './spec.js';

/** Tokenizing blocks the event loop for this many characters at a time: some 10 ms. */
const pieceCharacters = 16 * 1024;
/** A cut splits one token, at worst into its bytes; the longest tokens of ordinary vocabularies have fewer. */
const tokensPerCut = 256;

/** Of the context, what is left for the answer where a gap is filled to no length in particular. */
const infillOutputShare = 4;

/** What the model continues. */
export interface Prompt {
  /** BOS included where the model wants one. */
  readonly tokens: Int32Array;
  /** How the answer is read; null for a text that is continued. */
  readonly reading: AnswerReading | null;
}

/**
 * The prompt of an input.
 * @param field the name of the input in the request, for the words of errors
 * @param outputTokens that are asked for; null for as many as there is room for
 * @throws ButterflyError CONTEXT_EXCEEDED; REQUEST_INVALID for a token that the vocabulary does not have;
 * REQUEST_UNSUPPORTED for tools where it is not known how the model calls them, and for gaps where it fills none; those of `PromptMaker.chatText`
 */
export async function promptOf(
  model: AnsweringModel,
  input: OneInput,
  field: string,
  outputTokens: number | null,
): Promise<Prompt> {
  switch (input.kind) {
    case 'chat': {
      const text = await chatText(model, input);
      const tokens = await tokenize(model, text, field);
      return { tokens, reading: answerReading(model, input, text.value) };
    }
    case 'text':
      return { tokens: await tokenize(model, model.prompts.plainText(input.text), field), reading: null };
    case 'tokens':
      return { tokens: checkedTokens(model, input.tokens, field), reading: null };
    case 'infill':
      return { tokens: await infillPrompt(model, input, field, outputTokens), reading: null };
    default:
      return input satisfies never;
  }
}

/** What a conversation becomes before it is cut into tokens. @throws ButterflyError those of `PromptMaker.chatText` */
export const promptText = async (model: AnsweringModel, input: ChatInput): Promise<string> =>
  (await chatText(model, input)).value;

/** The tokens of a prompt alone; the same errors. */
export const promptTokens = async (
  model: AnsweringModel,
  input: OneInput,
  field: string,
): Promise<Int32Array> => (await promptOf(model, input, field, null)).tokens;

async function chatText(model: AnsweringModel, input: ChatInput): Promise<PromptText> {
  const { messages, toolUse, templateValues: values, continuesLast } = input;
  const tools = usableTools(toolUse);
  const { syntax } = modelSyntax(model);
  if (tools.length > 0 && syntax.calls === null && !syntax.hasChannels)
    throw new ButterflyError(
      'REQUEST_UNSUPPORTED',
      'tools: the chat template of this model has calls in a form that is not known here; start with --chat-template FILE to use another one.',
      { param: 'tools' },
    );
  return model.prompts.chatTextApart(messages, { tools, values, continuesLast });
}

/** Of the files around, the beginning goes where there is no room for them beside the text and its answer. */
async function infillPrompt(
  model: AnsweringModel,
  input: InfillInput,
  field: string,
  outputTokens: number | null,
): Promise<Int32Array> {
  const { contextTokensMax } = model.engine;
  for (const text of [input.prefix, input.suffix, input.begun])
    if (text.length > pieceCharacters) await refuseOverlong(model, text, field);
  const outputRoom = outputTokens ?? Math.floor(contextTokensMax / infillOutputShare);
  return infillTokens(model.vocabulary, input, contextTokensMax - outputRoom);
}

function checkedTokens({ vocabulary }: AnsweringModel, tokens: Int32Array, field: string): Int32Array {
  const unknown = tokens.find((token) => token >= vocabulary.size);
  if (unknown !== undefined)
    throw new ButterflyError(
      'REQUEST_INVALID',
      `${field}: there is no token ${unknown}; the vocabulary ends at ${vocabulary.size - 1}.`,
      { param: field },
    );
  return tokens;
}

/**
 * In the words of OpenAI, since agents shorten their history when they read "maximum context length is N tokens".
 * @param promptTokens null for more than fit, where nobody counted further
 */
export function contextExceeded(
  contextTokensMax: number,
  field: string,
  promptTokens: number | null,
  outputTokens: number,
): ButterflyError {
  const requested =
    promptTokens === null
      ? `your ${field} ${field === 'messages' ? 'have' : 'has'} over ${contextTokensMax} tokens`
      : `you requested ${promptTokens + outputTokens} tokens (${promptTokens} in the ${field}, ${outputTokens} in the completion)`;
  return new ButterflyError(
    'CONTEXT_EXCEEDED',
    `This model's maximum context length is ${contextTokensMax} tokens. However, ${requested}. Please reduce the length of the ${field}.`,
    { param: field },
  );
}

async function tokenize(model: AnsweringModel, text: PromptText, field: string): Promise<Int32Array> {
  if (text.value.length > pieceCharacters) await refuseOverlong(model, text.value, field);
  return model.prompts.tokens(text);
}

/**
 * Counts the tokens of a long text piece by piece, so that others run in between, and stops as soon as it cannot fit.
 * What remains is tokenized whole, since cuts change tokens, in a time that the context bounds and not the body.
 */
async function refuseOverlong(model: AnsweringModel, text: string, field: string): Promise<void> {
  const { contextTokensMax } = model.engine;
  let tokensLeft = contextTokensMax;
  for (let at = 0; at < text.length; at += pieceCharacters) {
    const piece = text.slice(at, at + pieceCharacters);
    const tokens = model.vocabulary.tokenize(piece, { addSpecial: false, parseSpecial: true });
    tokensLeft -= tokens.length - tokensPerCut;
    if (tokensLeft < 0) throw contextExceeded(contextTokensMax, field, null, 0);
    await nextTurn();
  }
}
