import type { ButterflyError } from '@butterfly/common';
import type { FinishReason, OutputEvent, Usage, WholeAnswer } from '@butterfly/generation';
import type { AnswerEncoding, ResponseHead, StreamEncoder } from '../answers/dialect.js';
import { serverSentEvents } from '../http/open-stream.js';
import { newItemId, type ResponseObject } from './items.js';
import { type NewEvent, OutputItems } from './output-items.js';
import type { ResponseWatcher } from './recall.js';
import { type RequestEcho, responseObject, type ResponseState } from './response-object.js';

interface EncodingOptions {
  readonly echo: RequestEcho;
  readonly watcher: ResponseWatcher;
  /** Whether thoughts come in a form too in which they can be sent back. */
  readonly sealsReasoning: boolean;
}

/** `/v1/responses` */
export const responsesEncoding = (options: EncodingOptions): AnswerEncoding => {
  const { watcher } = options;
  let writer: ResponseWriter | null = null;
  const writerOf = (head: ResponseHead) => (writer ??= new ResponseWriter(head, options));
  return {
    form: serverSentEvents,
    newId: () => newItemId('resp'),
    begun: (head, cancel) => watcher.begun(head.id, () => writerOf(head).soFar(), cancel),
    whole: (head, answer) => wholeResponse(writerOf(head), answer),
    stream: (head) => new ResponseStream(writerOf(head)),
  };
};

/** One response in making: its items and how far it is. */
class ResponseWriter {
  readonly #items: OutputItems;
  #reason: FinishReason = 'stop';

  constructor(
    private readonly head: ResponseHead,
    private readonly options: EncodingOptions,
  ) {
    this.#items = new OutputItems(head.id, options.sealsReasoning);
  }

  soFar(): ResponseObject {
    return this.#response({ kind: 'inProgress' });
  }

  /** @returns what the stream says of it */
  take(event: Exclude<OutputEvent, { readonly kind: 'usage' }>): readonly NewEvent[] {
    if (event.kind === 'finish') this.#reason = event.reason;
    return this.#items.take(event);
  }

  end(usage: Usage): ResponseObject {
    const kind = this.#reason === 'length' ? 'incomplete' : 'completed';
    return this.#ended({ kind, usage, completedS: Math.floor(Date.now() / 1000) });
  }

  fail(error: ButterflyError): ResponseObject {
    return this.#ended({ kind: error.code === 'CANCELLED' ? 'cancelled' : 'failed', error });
  }

  #ended(state: ResponseState): ResponseObject {
    const response = this.#response(state);
    this.options.watcher.ended(response);
    return response;
  }

  #response(state: ResponseState): ResponseObject {
    const items = this.#items.items(state.kind === 'inProgress' ? 'in_progress' : 'incomplete');
    return responseObject(this.head, this.options.echo, state, items);
  }
}

/** The same steps as those of a stream, which nobody is told of. */
function wholeResponse(writer: ResponseWriter, { choices, usage }: WholeAnswer): ResponseObject {
  for (const [choice, { text, reasoning, toolCalls, reason, stop }] of choices.entries()) {
    writer.take({ kind: 'reasoning', choice, text: reasoning });
    writer.take({ kind: 'text', choice, text });
    for (const [call, { id, name, arguments: json }] of toolCalls.entries()) {
      writer.take({ kind: 'toolStart', choice, call, id, name });
      writer.take({ kind: 'toolArguments', choice, call, text: json });
    }
    writer.take({ kind: 'finish', choice, reason, stop });
  }
  return writer.end(usage);
}

/** Numbers the events, and sees to it that the stream ends with one that says how the response ended. */
class ResponseStream implements StreamEncoder {
  #sequence = 0;

  constructor(private readonly writer: ResponseWriter) {}

  opening(): string {
    if (this.#sequence > 0) return '';
    const response = this.writer.soFar();
    return this.#texts([
      { type: 'response.created', response },
      { type: 'response.in_progress', response },
    ]);
  }

  encode(event: OutputEvent): string {
    const opening = this.opening();
    if (event.kind !== 'usage') return opening + this.#texts(this.writer.take(event));
    const response = this.writer.end(event.usage);
    return opening + this.#texts([{ type: `response.${response.status}`, response }]);
  }

  /** First as `error`, which some clients look for alone, then as the end that every stream has. */
  failure(error: ButterflyError): string {
    const { code, message, param, kind } = error;
    return (
      this.opening() +
      this.#texts([
        { type: 'error', code: kind.apiCode ?? code, message, param: param ?? null },
        { type: 'response.failed', response: this.writer.fail(error) },
      ])
    );
  }

  #texts(events: readonly NewEvent[]): string {
    return events.map((event) => this.#text(event)).join('');
  }

  #text(event: NewEvent): string {
    return `event: ${event.type}\ndata: ${JSON.stringify({ ...event, sequence_number: this.#sequence++ })}\n\n`;
  }
}
