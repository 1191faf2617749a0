import { ButterflyError } from '@butterfly/common';
import type { Generation } from '@butterfly/engine';
import type { Vocabulary } from '@butterfly/ggml';
import { type AnswerReader, answerReader } from './answer-reader.js';
import type { FinishReason, OutputEvent, ScoredToken } from './events.js';
import type { AnswerReading } from './formats/answer-reading.js';
import { scoredToken } from './scored-token.js';

export interface ChoiceEnd {
  readonly outputTokens: number;
  /** Those of them in which the model thought. */
  readonly reasoningTokens: number;
  /** Null after a stop text, where the generation is left before it could tell. */
  readonly cachedPromptTokens: number | null;
  /** Until it had a place in the cache; null in the same case. */
  readonly queuedMs: number | null;
}

interface ChoiceOptions {
  readonly choice: number;
  readonly vocabulary: Vocabulary;
  readonly stops: readonly string[];
  /** How it is read; null for plain text. */
  readonly reading: AnswerReading | null;
  readonly sink: (event: OutputEvent) => void;
  /** Called once, with the first thing that comes: the prompt is computed. */
  readonly onFirst: () => void;
  readonly onToken: () => void;
}

/**
 * Follows one answer to its end: tokens to events. At a stop text, or behind its only call, the generation is
 * left, and with that freed.
 * @throws ButterflyError the one of the error event, or CANCELLED.
 */
export async function followChoice(generation: Generation, options: ChoiceOptions): Promise<ChoiceEnd> {
  const { choice, vocabulary, sink } = options;
  // Of the token that is read now: they go out with the text that it completes.
  const scored: ScoredToken[] = [];
  // Tokens since the event before: what they say may be held back until it is decided what it is.
  let undecided = 0;
  let reasoningTokens = 0;
  const tell = (event: OutputEvent): void => {
    if (event.kind === 'reasoning') reasoningTokens += undecided;
    if (event.kind !== 'text' || event.text !== '') undecided = 0;
    sink(event.kind === 'text' && scored.length > 0 ? { ...event, tokens: scored.splice(0) } : event);
  };
  const reader = answerReader({ ...options, sink: tell });
  const prompt: ScoredToken[] = [];
  let outputTokens = 0;
  let isFirst = true;
  for await (const event of generation) {
    if (event.kind === 'promptToken') {
      prompt.push(scoredToken(vocabulary, event.token, event.logprobs));
      continue;
    }
    if (isFirst && event.kind !== 'error') {
      if (prompt.length > 0) sink({ kind: 'prompt', choice, tokens: prompt });
      options.onFirst();
    }
    isFirst = false;
    switch (event.kind) {
      case 'token': {
        outputTokens++;
        options.onToken();
        undecided++;
        if (event.logprobs) scored.push(scoredToken(vocabulary, event.token, event.logprobs));
        reader.push(event.token);
        if (scored.length > 0) tell({ kind: 'text', choice, text: '' });
        if (!reader.isOver) break;
        sink({ kind: 'finish', choice, reason: reasonOf(reader, 'stop'), stop: reader.stop });
        return { outputTokens, reasoningTokens, cachedPromptTokens: null, queuedMs: null };
      }
      case 'end': {
        reader.end();
        sink({ kind: 'finish', choice, reason: reasonOf(reader, event.reason), stop: reader.stop });
        const { cachedPromptTokens, timing } = event;
        return { outputTokens, reasoningTokens, cachedPromptTokens, queuedMs: timing.queuedMs };
      }
      case 'error':
        throw event.error;
      default:
        event satisfies never;
    }
  }
  throw new ButterflyError('CANCELLED', 'The request was cancelled before its end.');
}

/** A text that was cut off is that, whatever was called in it; a stop text ends before any call that would follow. */
function reasonOf({ stop, calls }: AnswerReader, ended: 'stop' | 'length'): FinishReason {
  if (stop !== null) return 'stop';
  return ended === 'stop' && calls > 0 ? 'toolCalls' : ended;
}
