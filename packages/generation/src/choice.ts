import { ButterflyError } from '@butterfly/common';
import type { GenerateEvent, Generation } from '@butterfly/engine';
import type { Vocabulary } from '@butterfly/ggml';
import type { OutputSink } from './answering.js';
import type { FinishReason, OutputEvent, ScoredToken } from './events.js';
import { scoredToken } from './scored-token.js';
import type { HeardLine } from './tape.js';

/** Turns the tokens of one answer into its events. */
export interface AnswerReader {
  push(token: number): void;
  /** Nothing comes any more. */
  end(): void;
  /** The stop text that ended the answer. */
  readonly stop: string | null;
  /** Calls of tools that began. */
  readonly calls: number;
  /** Whether the answer is over although the model would go on. */
  readonly isOver: boolean;
}

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
  /** What reads its tokens, and gives what they say to this sink. */
  readonly newReader: (sink: OutputSink) => AnswerReader;
  readonly sink: OutputSink;
  /** Called once, with the first thing that comes: the prompt is computed. */
  readonly onFirst: () => void;
  readonly onToken: () => void;
}

/** Turns what is heard of one choice into its events, at once; what went in decides what comes out. */
export class ChoiceReader {
  readonly #reader: AnswerReader;
  readonly #tokens: number[] = [];
  /** Of the token that is read now: they go out with the text that it completes. */
  readonly #scored: ScoredToken[] = [];
  /** Tokens since the event before: what they say may be held back until it is decided what it is. */
  #undecided = 0;
  #reasoningTokens = 0;
  #isFirst = true;
  #end: ChoiceEnd | null = null;

  constructor(private readonly options: ChoiceOptions) {
    this.#reader = options.newReader((event) => this.#tell(event));
  }

  /** What was said so far, but for what ended it. */
  get tokens(): readonly number[] {
    return this.#tokens;
  }

  /** Whether its prompt is computed, and told of where it is. */
  get hasBegun(): boolean {
    return !this.#isFirst;
  }

  /** How it ended; null while it goes on. */
  get end(): ChoiceEnd | null {
    return this.#end;
  }

  take(line: HeardLine): void {
    const { choice, vocabulary, sink } = this.options;
    if (line.kind === 'prompt') {
      const tokens = line.tokens.map(({ token, logprobs }) => scoredToken(vocabulary, token, logprobs));
      sink({ kind: 'prompt', choice, tokens });
    }
    if (this.#isFirst) this.options.onFirst();
    this.#isFirst = false;
    switch (line.kind) {
      case 'prompt':
        return;
      case 'token':
        this.#take(line);
        if (this.#reader.isOver) this.#finish('stop', { cachedPromptTokens: null, queuedMs: null });
        return;
      case 'end':
        this.#reader.end();
        this.#finish(line.reason, line);
        return;
      default:
        line satisfies never;
    }
  }

  #take({ token, logprobs }: Extract<HeardLine, { readonly kind: 'token' }>): void {
    this.#tokens.push(token);
    this.options.onToken();
    this.#undecided++;
    if (logprobs) this.#scored.push(scoredToken(this.options.vocabulary, token, logprobs));
    this.#reader.push(token);
    if (this.#scored.length > 0) this.#tell({ kind: 'text', choice: this.options.choice, text: '' });
  }

  #tell(event: OutputEvent): void {
    if (event.kind === 'reasoning') this.#reasoningTokens += this.#undecided;
    if (event.kind !== 'text' || event.text !== '') this.#undecided = 0;
    const isScored = event.kind === 'text' && this.#scored.length > 0;
    this.options.sink(isScored ? { ...event, tokens: this.#scored.splice(0) } : event);
  }

  #finish(
    ended: 'stop' | 'length',
    { cachedPromptTokens, queuedMs }: Pick<ChoiceEnd, 'cachedPromptTokens' | 'queuedMs'>,
  ): void {
    const { choice, sink } = this.options;
    const reason = reasonOf(this.#reader, ended);
    sink({ kind: 'finish', choice, reason, stop: this.#reader.stop });
    const outputTokens = this.#tokens.length;
    this.#end = { outputTokens, reasoningTokens: this.#reasoningTokens, cachedPromptTokens, queuedMs };
  }
}

/**
 * Follows one answer to its end. At a stop text, or behind its only call, the generation is left, and with that freed.
 * @param record hears each line before the reader does
 * @throws ButterflyError the one of the error event, or CANCELLED.
 */
export async function followChoice(
  generation: Generation,
  reader: ChoiceReader,
  record: (line: HeardLine) => void,
): Promise<ChoiceEnd> {
  const take = (line: HeardLine): void => {
    record(line);
    reader.take(line);
  };
  const prompt: Extract<HeardLine, { readonly kind: 'prompt' }>['tokens'][number][] = [];
  for await (const event of generation) {
    if (event.kind === 'error') throw event.error;
    if (event.kind === 'promptToken') {
      prompt.push({ token: event.token, logprobs: event.logprobs });
      continue;
    }
    if (prompt.length > 0) take({ kind: 'prompt', tokens: prompt.splice(0) });
    take(heardLine(event));
    if (reader.end) return reader.end;
  }
  throw new ButterflyError('CANCELLED', 'The request was cancelled before its end.');
}

function heardLine(event: Extract<GenerateEvent, { readonly kind: 'token' | 'end' }>): HeardLine {
  if (event.kind === 'token') return { kind: 'token', token: event.token, logprobs: event.logprobs };
  const { kind, reason, cachedPromptTokens, timing } = event;
  return { kind, reason, cachedPromptTokens, queuedMs: timing.queuedMs };
}

/** A text that was cut off is that, whatever was called in it; a stop text ends before any call that would follow. */
function reasonOf({ stop, calls }: AnswerReader, ended: 'stop' | 'length'): FinishReason {
  if (stop !== null) return 'stop';
  return ended === 'stop' && calls > 0 ? 'toolCalls' : ended;
}
