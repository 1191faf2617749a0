import { ButterflyError } from '@butterfly/common';
import type { Generation } from '@butterfly/engine';
import type { Vocabulary } from '@butterfly/ggml';
import { IncrementalDetokenizer, StopMatcher } from '@butterfly/text';
import type { OutputEvent, ScoredToken } from './events.js';
import { scoredToken } from './scored-token.js';

export interface ChoiceEnd {
  readonly outputTokens: number;
  /** Null after a stop text, where the generation is left before it could tell. */
  readonly cachedPromptTokens: number | null;
}

interface ChoiceOptions {
  readonly choice: number;
  readonly vocabulary: Vocabulary;
  readonly stops: readonly string[];
  readonly sink: (event: OutputEvent) => void;
  /** Called once, with the first thing that comes: the prompt is computed. */
  readonly onFirst: () => void;
}

/**
 * Follows one answer to its end: tokens to text, text to events. At a stop text the generation is left, and with that freed.
 * @throws ButterflyError the one of the error event, or CANCELLED.
 */
export async function followChoice(generation: Generation, options: ChoiceOptions): Promise<ChoiceEnd> {
  const { choice, vocabulary, sink } = options;
  const detokenizer = new IncrementalDetokenizer(vocabulary);
  const matcher = new StopMatcher(options.stops);
  const prompt: ScoredToken[] = [];
  let outputTokens = 0;
  let isFirst = true;
  for await (const event of generation) {
    if (event.kind === 'promptToken') {
      prompt.push(scoredToken(vocabulary, event.token, event.logprobs));
      continue;
    }
    if (isFirst && event.kind !== 'error') {
      if (prompt.length > 0) sink({ kind: 'prompt', tokens: prompt });
      options.onFirst();
    }
    isFirst = false;
    switch (event.kind) {
      case 'token': {
        outputTokens++;
        const { text, stop } = matcher.push(detokenizer.push(event.token));
        const { logprobs } = event;
        const scored = logprobs && { tokens: [scoredToken(vocabulary, event.token, logprobs)] };
        sink({ kind: 'text', choice, text, ...scored });
        if (stop === null) break;
        sink({ kind: 'finish', choice, reason: 'stop', stop });
        return { outputTokens, cachedPromptTokens: null };
      }
      case 'end': {
        const { text, stop } = matcher.push(detokenizer.flush());
        sink({ kind: 'text', choice, text: text + matcher.flush() });
        sink({ kind: 'finish', choice, reason: stop === null ? event.reason : 'stop', stop });
        return { outputTokens, cachedPromptTokens: event.cachedPromptTokens };
      }
      case 'error':
        throw event.error;
      default:
        event satisfies never;
    }
  }
  throw new ButterflyError('CANCELLED', 'The request was cancelled before its end.');
}
