import { setImmediate as nextTurn } from 'node:timers/promises';
import { ButterflyError } from '@butterfly/common';
import type { ChatMessage, PromptText } from '@butterfly/text';
import type { ApiContext } from '../context.js';

/** Tokenizing blocks the event loop for this many characters at a time: some 10 ms. */
const pieceCharacters = 16 * 1024;
/** A cut splits one token, at worst into its bytes; the longest tokens of ordinary vocabularies have fewer. */
const tokensPerCut = 256;

/** The field that a prompt comes from. */
export type PromptParam = 'messages' | 'prompt';

/** @throws ButterflyError CONTEXT_EXCEEDED; those of `PromptMaker.chatText` */
export function chatPrompt(context: ApiContext, messages: readonly ChatMessage[]): Promise<Int32Array> {
  return tokenize(context, context.prompts.chatText(messages), 'messages');
}

/** @throws ButterflyError CONTEXT_EXCEEDED; REQUEST_INVALID for a token that the vocabulary does not have. */
export async function textPrompt(context: ApiContext, prompt: string | Int32Array): Promise<Int32Array> {
  if (typeof prompt === 'string') return tokenize(context, context.prompts.plainText(prompt), 'prompt');
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

async function tokenize(context: ApiContext, text: PromptText, param: PromptParam): Promise<Int32Array> {
  if (text.value.length > pieceCharacters) await refuseOverlong(context, text.value, param);
  return context.prompts.tokens(text);
}

/**
 * Counts the tokens of a long text piece by piece, so that others run in between, and stops as soon as it cannot fit.
 * What remains is tokenized whole, since cuts change tokens, in a time that the context bounds and not the body.
 */
async function refuseOverlong(context: ApiContext, text: string, param: PromptParam): Promise<void> {
  let tokensLeft = context.engine.contextTokensMax;
  for (let at = 0; at < text.length; at += pieceCharacters) {
    const piece = text.slice(at, at + pieceCharacters);
    const tokens = context.vocabulary.tokenize(piece, { addSpecial: false, parseSpecial: true });
    tokensLeft -= tokens.length - tokensPerCut;
    if (tokensLeft < 0) throw contextExceeded(context, param, null, 0);
    await nextTurn();
  }
}
