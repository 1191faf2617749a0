import type { Vocabulary } from '@butterfly/ggml';
import { IncrementalDetokenizer, StopMatcher } from '@butterfly/text';
import type { AnswerReader } from './choice.js';
import type { OutputEvent } from './events.js';
import { AnswerOutput } from './formats/answer-output.js';
import type { Parser } from './formats/parser.js';
import type { AnswerReading } from './formats/answer-reading.js';

interface ReaderOptions {
  readonly choice: number;
  readonly vocabulary: Vocabulary;
  readonly stops: readonly string[];
  readonly sink: (event: OutputEvent) => void;
  /** Null for an answer that is text and nothing else. */
  readonly reading: AnswerReading | null;
  /** Ids of calls whose family gives them none. */
  readonly newCallId: () => string;
}

export function answerReader(options: ReaderOptions): AnswerReader {
  const { reading } = options;
  return reading === null ? new TextReader(options) : new PartsReader(options, reading);
}

class TextReader implements AnswerReader {
  readonly calls = 0;
  readonly #detokenizer: IncrementalDetokenizer;
  readonly #matcher: StopMatcher;
  #stop: string | null = null;

  constructor(private readonly options: ReaderOptions) {
    this.#detokenizer = new IncrementalDetokenizer(options.vocabulary);
    this.#matcher = new StopMatcher(options.stops);
  }

  get stop(): string | null {
    return this.#stop;
  }

  get isOver(): boolean {
    return this.#stop !== null;
  }

  push(token: number): void {
    this.#say(this.#detokenizer.push(token));
  }

  end(): void {
    this.#say(this.#detokenizer.flush());
    this.options.sink({ kind: 'text', choice: this.options.choice, text: this.#matcher.flush() });
  }

  #say(piece: string): void {
    const { text, stop } = this.#matcher.push(piece);
    this.#stop = stop;
    this.options.sink({ kind: 'text', choice: this.options.choice, text });
  }
}

/** Of answers with reasoning and calls in them. */
class PartsReader implements AnswerReader {
  readonly #detokenizer: IncrementalDetokenizer;
  readonly #output: AnswerOutput;
  readonly #parser: Parser;

  constructor(
    { choice, vocabulary, stops, sink, newCallId }: ReaderOptions,
    private readonly reading: AnswerReading,
  ) {
    this.#detokenizer = new IncrementalDetokenizer(vocabulary);
    this.#output = new AnswerOutput({ choice, sink, stops, newCallId });
    this.#parser = reading.newParser(this.#output);
  }

  get stop(): string | null {
    return this.#output.stop;
  }

  get calls(): number {
    return this.#output.calls;
  }

  get isOver(): boolean {
    return this.stop !== null || (this.reading.hasOneCall && this.#parser.callsDone > 0);
  }

  push(token: number): void {
    const marker = this.reading.markerTokens.get(token);
    if (marker === undefined) {
      this.#say(this.#detokenizer.push(token));
      return;
    }
    this.#say(this.#detokenizer.flush());
    this.#parser.mark(marker);
  }

  end(): void {
    this.#say(this.#detokenizer.flush());
    this.#parser.end();
    this.#output.end();
  }

  #say(text: string): void {
    if (text !== '') this.#parser.text(text);
  }
}
