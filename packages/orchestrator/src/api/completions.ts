import { ButterflyError, deadlines } from '@butterfly/common';
import type { Clock, Logger } from '@butterfly/common';
import type { Vocabulary } from '@butterfly/ggml';
import { IncrementalDetokenizer, StopMatcher } from '@butterfly/model';
import type { ChatMessage, ChatTemplate } from '@butterfly/model';
import type { Engine, GenerateRequest, Generation } from '../engine/types.js';
import type { FinishReason } from './response-shapes.js';
import type { CompletionOptions } from './schemas.js';

/** What the API serves, and with what. */
export interface ApiContext {
  readonly engine: Engine;
  readonly vocabulary: Vocabulary;
  readonly chatTemplate: ChatTemplate;
  readonly model: {
    readonly id: string;
    /** Seconds since 1970. */
    readonly createdS: number;
  };
  readonly log: Logger;
  readonly clock: Clock;
}

/** @throws ButterflyError REQUEST_UNSUPPORTED or REQUEST_INVALID when the template refuses the messages. */
export function chatPrompt(context: ApiContext, messages: readonly ChatMessage[]): Int32Array {
  return tokenize(context.vocabulary, context.chatTemplate.render(messages, { addGenerationPrompt: true }));
}

/** @throws ButterflyError REQUEST_INVALID for a token that the vocabulary does not have. */
export function textPrompt(context: ApiContext, prompt: string | Int32Array): Int32Array {
  if (typeof prompt === 'string') return tokenize(context.vocabulary, prompt);
  const unknown = prompt.find((token) => token >= context.vocabulary.size);
  if (unknown !== undefined)
    throw new ButterflyError(
      'REQUEST_INVALID',
      `prompt: there is no token ${unknown}; the vocabulary ends at ${context.vocabulary.size - 1}.`,
      { param: 'prompt' },
    );
  return prompt;
}

/** Templates often write BOS themselves, so it is added only where it is missing. */
function tokenize(vocabulary: Vocabulary, text: string): Int32Array {
  const tokens = vocabulary.tokenize(text, { addSpecial: false, parseSpecial: true });
  if (!vocabulary.addsBos || vocabulary.bos === null || tokens[0] === vocabulary.bos) return tokens;
  const withBos = new Int32Array(tokens.length + 1);
  withBos[0] = vocabulary.bos;
  withBos.set(tokens, 1);
  return withBos;
}

/**
 * The request for the engine.
 * @throws ButterflyError CONTEXT_EXCEEDED with the numbers; REQUEST_INVALID for an empty prompt.
 */
export function generateRequest(
  context: ApiContext,
  promptTokens: Int32Array,
  options: CompletionOptions,
  promptParam: 'messages' | 'prompt',
): GenerateRequest {
  const { contextTokensMax } = context.engine;
  const roomTokens = contextTokensMax - promptTokens.length;
  if (promptTokens.length === 0)
    throw new ButterflyError(
      'REQUEST_INVALID',
      `${promptParam}: the prompt is empty; send at least one token.`,
      {
        param: promptParam,
      },
    );
  if (roomTokens < 1)
    throw new ButterflyError(
      'CONTEXT_EXCEEDED',
      `The prompt has ${promptTokens.length} tokens, but prompt and output together may have ${contextTokensMax}; shorten the prompt.`,
      { param: promptParam },
    );
  const outputTokensMax = options.outputTokensMax ?? roomTokens;
  if (outputTokensMax > roomTokens)
    throw new ButterflyError(
      'CONTEXT_EXCEEDED',
      `The prompt has ${promptTokens.length} tokens and ${outputTokensMax} more are asked for, but both together may have ${contextTokensMax}; ask for at most ${roomTokens}.`,
      { param: 'max_tokens' },
    );
  return {
    promptTokens,
    outputTokensMax,
    sampling: options.sampling,
    stopTokens: context.vocabulary.endOfGenerationTokens,
    timeoutMs: deadlines.requestMs,
  };
}

export interface CompletionEnd {
  readonly reason: FinishReason;
  readonly outputTokens: number;
}

/**
 * Follows a generation to its end. `onText` gets the text of each token, which may be empty; at a stop
 * string the generation is left, and with that freed.
 * @throws ButterflyError the one of the error event, or CANCELLED.
 */
export async function runCompletion(
  generation: Generation,
  vocabulary: Vocabulary,
  stops: readonly string[],
  onText: (text: string) => void,
): Promise<CompletionEnd> {
  const detokenizer = new IncrementalDetokenizer(vocabulary);
  const matcher = new StopMatcher(stops);
  let outputTokens = 0;
  for await (const event of generation) {
    switch (event.kind) {
      case 'token': {
        outputTokens++;
        const match = matcher.push(detokenizer.push(event.token));
        onText(match.text);
        if (match.stopped) return { reason: 'stop', outputTokens };
        break;
      }
      case 'end': {
        const match = matcher.push(detokenizer.flush());
        onText(match.text + matcher.flush());
        return { reason: match.stopped ? 'stop' : event.reason, outputTokens };
      }
      case 'error':
        throw event.error;
      default:
        event satisfies never;
    }
  }
  throw new ButterflyError('CANCELLED', 'The request was cancelled before its end.');
}
