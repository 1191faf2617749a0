import { ButterflyError, limits } from '@butterfly/common';
import { createParser } from 'eventsource-parser';

/** One of server-sent events. */
export interface ServerEvent {
  /** `message` where none is named. */
  readonly kind: string;
  readonly data: string;
}

/**
 * Events of a stream, as they come.
 * @throws ButterflyError PROTOCOL_INVALID for one that does not end
 */
export async function* serverEvents(body: AsyncIterable<Uint8Array>): AsyncGenerator<ServerEvent> {
  const events: ServerEvent[] = [];
  const overflows: unknown[] = [];
  const parser = createParser({
    maxBufferSize: limits.requestBodyBytesMax,
    onEvent: ({ event: kind = 'message', data }) => events.push({ kind, data }),
    onError: (error) => error.type === 'max-buffer-size-exceeded' && overflows.push(error),
  });
  const decoder = new TextDecoder();
  for await (const bytes of body) {
    parser.feed(decoder.decode(bytes, { stream: true }));
    yield* events.splice(0);
    if (overflows.length > 0)
      throw new ButterflyError(
        'PROTOCOL_INVALID',
        'An event of the server does not end; is it a Butterfly server of this version?',
      );
  }
}
