import { setImmediate as nextTurn } from 'node:timers/promises';
import { ButterflyError } from '@butterfly/common';
import type { Vocabulary } from '@butterfly/ggml';
import type { ChatMessage } from '@butterfly/model';
import type { ApiContext } from './completions.js';

/** Tokenizing blocks the event loop for this many characters at a time: some 10 ms. */
const pieceCharacters = 16 * 1024;
/** A cut splits one token, at worst into its bytes; the longest tokens of ordinary vocabularies have fewer. */
const tokensPerCut = 256;

/** The field that a prompt comes from. */
export type PromptParam = 'messages' | 'prompt';

/** @throws ButterflyError CONTEXT_EXCEEDED; REQUEST_UNSUPPORTED or REQUEST_INVALID when the template refuses. */
export function chatPrompt(context: ApiContext, messages: readonly ChatMessage[]): Promise<Int32Array> {
  return tokenize(context, context.chatTemplate.render(messages, { addGenerationPrompt: true }), 'messages');
}

/** @throws ButterflyError CONTEXT_EXCEEDED; REQUEST_INVALID for a token that the vocabulary does not have. */
export async function textPrompt(context: ApiContext, prompt: string | Int32Array): Promise<Int32Array> {
  if (typeof prompt === 'string') return tokenize(context, prompt, 'prompt');
  const unknown = prompt.find((token) => token >= context.vocabulary.size);
  if (unknown !== undefined)
    throw new ButterflyError(
      'REQUEST_INVALID',
      `prompt: there is no token ${unknown}; the vocabulary ends at ${context.vocabulary.size - 1}.`,
      { param: 'prompt' },
    );
  return prompt;
}

/**
 * In the words of OpenAI, since agents shorten their history when they read "maximum context length is N tokens".
 * @param promptTokens null for more than fit, where nobody counted further
 */
export function contextExceeded(
  context: ApiContext,
  param: PromptParam,
  promptTokens: number | null,
  outputTokens: number,
): ButterflyError {
  const { contextTokensMax } = context.engine;
  const requested =
    promptTokens === null
      ? `your ${param} ${param === 'messages' ? 'have' : 'has'} over ${contextTokensMax} tokens`
      : `you requested ${promptTokens + outputTokens} tokens (${promptTokens} in the ${param}, ${outputTokens} in the completion)`;
  return new ButterflyError(
    'CONTEXT_EXCEEDED',
    `This model's maximum context length is ${contextTokensMax} tokens. However, ${requested}. Please reduce the length of the ${param}.`,
    { param },
  );
}

/** Templates often write BOS themselves, so it is added only where it is missing. */
async function tokenize(context: ApiContext, text: string, param: PromptParam): Promise<Int32Array> {
  if (text.length > pieceCharacters) await refuseOverlong(context, text, param);
  const { vocabulary } = context;
  const tokens = tokensOf(vocabulary, text);
  if (!vocabulary.addsBos || vocabulary.bos === null || tokens[0] === vocabulary.bos) return tokens;
  const withBos = new Int32Array(tokens.length + 1);
  withBos[0] = vocabulary.bos;
  withBos.set(tokens, 1);
  return withBos;
}

const tokensOf = (vocabulary: Vocabulary, text: string): Int32Array =>
  vocabulary.tokenize(text, { addSpecial: false, parseSpecial: true });

/**
 * Counts the tokens of a long text piece by piece, so that others run in between, and stops as soon as it cannot fit.
 * What remains is tokenized whole, since cuts change tokens, in a time that the context bounds and not the body.
 */
async function refuseOverlong(context: ApiContext, text: string, param: PromptParam): Promise<void> {
  let tokensLeft = context.engine.contextTokensMax;
  for (let at = 0; at < text.length; at += pieceCharacters) {
    tokensLeft -= tokensOf(context.vocabulary, text.slice(at, at + pieceCharacters)).length - tokensPerCut;
    if (tokensLeft < 0) throw contextExceeded(context, param, null, 0);
    await nextTurn();
  }
}
