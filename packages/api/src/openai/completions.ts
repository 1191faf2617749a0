import { ButterflyError } from '@butterfly/common';
import type { GenerateRequest, Generation } from '@butterfly/engine';
import type { Vocabulary } from '@butterfly/ggml';
import { IncrementalDetokenizer, StopMatcher } from '@butterfly/text';
import type { ApiContext } from '../context.js';
import { contextExceeded, type PromptParam } from './prompt.js';
import type { FinishReason } from './response-shapes.js';
import type { CompletionOptions } from './schemas.js';

const noTokens: ReadonlySet<number> = new Set();

/**
 * The request for the engine. More output than there is room for is as much as there is room for: that the answer ended
 * by its length tells.
 * @throws ButterflyError CONTEXT_EXCEEDED with the numbers; REQUEST_INVALID for an empty prompt.
 */
export function generateRequest(
  context: ApiContext,
  promptTokens: Int32Array,
  options: CompletionOptions,
  promptParam: PromptParam,
): GenerateRequest {
  const roomTokens = context.engine.contextTokensMax - promptTokens.length;
  if (promptTokens.length === 0)
    throw new ButterflyError(
      'REQUEST_INVALID',
      `${promptParam}: the prompt is empty; send at least one token.`,
      {
        param: promptParam,
      },
    );
  if (roomTokens < 1)
    throw contextExceeded(context, promptParam, promptTokens.length, options.outputTokensMax ?? 1);
  const outputTokensMax = Math.min(options.outputTokensMax ?? roomTokens, roomTokens);
  return {
    promptTokens,
    outputTokensMax,
    logprobs: null,
    promptLogprobs: null,
    sampling: options.sampling,
    stopTokens: options.ignoreEos ? noTokens : context.vocabulary.endOfGenerationTokens,
    priority: options.priority,
    timeoutMs: options.timeoutMs,
  };
}

export interface CompletionEnd {
  readonly reason: FinishReason;
  readonly outputTokens: number;
  /** Null after a stop string, where the generation is left before it could tell. */
  readonly cachedPromptTokens: number | null;
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
        if (match.stopped) return { reason: 'stop', outputTokens, cachedPromptTokens: null };
        break;
      }
      // Nobody asks for them yet.
      case 'promptToken':
        break;
      case 'end': {
        const match = matcher.push(detokenizer.flush());
        onText(match.text + matcher.flush());
        const { reason, cachedPromptTokens } = event;
        return { reason: match.stopped ? 'stop' : reason, outputTokens, cachedPromptTokens };
      }
      case 'error':
        throw event.error;
      default:
        event satisfies never;
    }
  }
  throw new ButterflyError('CANCELLED', 'The request was cancelled before its end.');
}
