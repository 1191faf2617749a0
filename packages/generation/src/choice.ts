import { ButterflyError } from '@butterfly/common';
import type { Generation } from '@butterfly/engine';
import type { Vocabulary } from '@butterfly/ggml';
import { IncrementalDetokenizer, StopMatcher } from '@butterfly/text';
import type { OutputEvent } from './events.js';

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
  let outputTokens = 0;
  let isFirst = true;
  for await (const event of generation) {
    if (isFirst && event.kind !== 'error') options.onFirst();
    isFirst = false;
    switch (event.kind) {
      case 'token': {
        outputTokens++;
        const { text, stop } = matcher.push(detokenizer.push(event.token));
        sink({ kind: 'text', choice, text });
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
