import { createParser } from 'eventsource-parser';
import { bounds } from './bounds.js';

/** One event of a stream. */
export interface ServerEvent {
  /** `message` where none is named. */
  readonly name: string;
  readonly data: string;
}

/**
 * The events of an answer, as they come.
 * @throws RangeError for an event that is larger than any that is meant for this page; and what reading throws, such as a broken
 * connection
 */
export async function* eventsOf(body: ReadableStream<Uint8Array>): AsyncGenerator<ServerEvent> {
  const events: ServerEvent[] = [];
  const overflows: unknown[] = [];
  const parser = createParser({
    maxBufferSize: bounds.eventCharactersMax,
    onEvent: ({ event: name = 'message', data }) => events.push({ name, data }),
    onError: (error) => error.type === 'max-buffer-size-exceeded' && overflows.push(error),
  });
  const decoder = new TextDecoder();
  const source = body.getReader();
  try {
    for (;;) {
      const { done, value } = await source.read();
      if (done) return;
      parser.feed(decoder.decode(value, { stream: true }));
      yield* events.splice(0);
      if (overflows.length > 0) throw new RangeError('An event has no end.');
    }
  } finally {
    await source.cancel().catch(() => undefined);
  }
}
