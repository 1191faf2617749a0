import { ButterflyError, limits } from '@butterfly/common';
import {
  AnswerCollector,
  type Answering,
  type OutputEvent,
  type Tape,
  type TapeLine,
} from '@butterfly/generation';
import { publicError, toHttpFailure } from '../http/errors.js';
import { serverSentEvents, type StreamForm } from '../http/open-stream.js';
import type { AnswerJournal } from './answer-journal.js';
import { AnswerLog } from './answer-log.js';
import type { AnswerEncoding, ResponseHead, StreamEncoder } from './dialect.js';
import type { KeptAnswer } from './kept-answer.js';

export interface ResumableAnswerOptions {
  readonly kept: KeptAnswer;
  readonly form: StreamForm;
  /** Whether it is heard as a stream, and not as a whole. */
  readonly isStream: boolean;
  /** Where it is kept too, so that it outlives this process; null for nowhere. */
  readonly journal: AnswerJournal | null;
  /** Nobody listens any more; not called for one that goes on by itself. */
  readonly onLeft: () => void;
  /** It is over, and all that was said is kept. */
  readonly onOver: () => void;
  /** What the client is not told of a failure goes to the log. */
  readonly onFailure: (error: ButterflyError) => void;
}

/** How it stands. */
type State = 'running' | 'done' | 'failed' | 'suspended';

/** An answer that goes on whoever listens, and can be heard again from anywhere. */
export class ResumableAnswer {
  readonly log = new AnswerLog();
  #state: State = 'running';
  #failure: ButterflyError | null = null;
  #endedS: number | null = null;
  #listeners = 0;
  #events = 0;
  #cancel: () => void = () => undefined;

  constructor(private readonly options: ResumableAnswerOptions) {}

  get kept(): KeptAnswer {
    return this.options.kept;
  }

  get form(): StreamForm {
    return this.options.form;
  }

  get isStream(): boolean {
    return this.options.isStream;
  }

  get state(): State {
    return this.#state;
  }

  /** Whether it goes on although nobody listens, as in the background. */
  get goesOnAlone(): boolean {
    return this.kept.handle.kind === 'response';
  }

  /** When it was over, in seconds since 1970; null while it runs. */
  get endedS(): number | null {
    return this.#endedS;
  }

  get listeners(): number {
    return this.#listeners;
  }

  /** What ended it before its end. */
  get failure(): ButterflyError | null {
    return this.#failure;
  }

  /** Of one that is done and no stream. @throws ButterflyError what ended it, CANCELLED */
  whole(): object {
    const json = this.log.part(0);
    if (json !== undefined) return JSON.parse(json) as object;
    throw this.#failure ?? new ButterflyError('CANCELLED', 'The request was cancelled before its end.');
  }

  /** What its engine is heard of, to be recorded. @param heard already, in an earlier life */
  tape(heard: readonly TapeLine[]): Tape {
    return { heard, record: (line) => this.options.journal?.record(line) };
  }

  /** Follows it to its end. */
  async run(encoding: AnswerEncoding, answering: Answering, head: ResponseHead): Promise<void> {
    const { journal } = this.options;
    this.#cancel = () => answering.cancel();
    const encoder = this.isStream ? encoding.stream(head) : null;
    const collector = new AnswerCollector();
    const take = (event: OutputEvent): void => {
      if (this.#state !== 'running' || this.#failure) return;
      if (encoder) this.#say(encoder.encode(event));
      else collector.take(event);
    };
    try {
      this.#say(encoder?.opening?.() ?? '');
      await answering.run((event) => (journal ? journal.whenKept(() => take(event)) : take(event)));
      await journal?.flushed();
      if (this.#failure) throw this.#failure;
      if (!encoder) this.#append(JSON.stringify(encoding.whole(head, collector.whole())));
      this.#over('done');
    } catch (thrown) {
      this.#fail(thrown, encoder);
    }
  }

  /** Somebody listens. @returns what to call when they do no longer */
  listen(): () => void {
    this.#listeners += 1;
    let isListening = true;
    return () => {
      if (!isListening) return;
      isListening = false;
      this.#listeners -= 1;
      if (this.#listeners === 0) this.options.onLeft();
    };
  }

  cancel(): void {
    this.#cancel();
  }

  /** It goes on in another process, from its journal: whoever listens is to ask there. */
  suspend(): void {
    if (this.#state !== 'running') return;
    this.#state = 'suspended';
    this.#cancel();
    this.log.close('cut');
  }

  /** What is kept no longer cannot be told again, so that it must not be told at all. */
  journalFailed(error: ButterflyError): void {
    this.#failure ??= error;
    this.#cancel();
  }

  /** Events get their numbers, by which clients say what they know. */
  #say(text: string): void {
    if (text === '') return;
    if (this.form !== serverSentEvents) {
      this.#append(text);
      return;
    }
    for (const event of text.split('\n\n'))
      if (event !== '') this.#append(`id: ${this.#events++}\n${event}\n\n`);
  }

  #append(part: string): void {
    this.log.append(part);
    if (this.log.bytes <= limits.resumableAnswerBytesMax || this.#failure) return;
    this.#failure = new ButterflyError(
      'REQUEST_TOO_LARGE',
      `The answer has over ${limits.resumableAnswerBytesMax} bytes, more than is kept of one; ask for less with each token, or without a way to resume.`,
    );
    this.#cancel();
  }

  #fail(thrown: unknown, encoder: StreamEncoder | null): void {
    if (this.#state !== 'running') return;
    const { error } = toHttpFailure(this.#failure ?? thrown);
    const shown = publicError(error, this.kept.requestId);
    this.#failure = shown;
    this.options.onFailure(error);
    if (encoder) this.#say(encoder.failure(shown));
    this.#over('failed');
  }

  #over(state: 'done' | 'failed'): void {
    if (this.#state !== 'running') return;
    this.#state = state;
    // With it goes all that the answer was made from.
    this.#cancel = () => undefined;
    this.#endedS = Math.floor(Date.now() / 1000);
    this.log.close('over');
    this.options.onOver();
  }
}
