import { bounds } from './bounds.js';

/** One event of a stream. */
export interface ServerEvent {
  /** `message` where none is named. */
  readonly name: string;
  readonly data: string;
}

/**
 * Reads server-sent events out of pieces of text, cut anywhere.
 * Format: https://html.spec.whatwg.org/multipage/server-sent-events.html
 */
export class EventReader {
  #rest = '';
  #name = '';
  #data: string[] = [];

  /** @throws RangeError for an event that is larger than any that is meant for this page */
  push(text: string): ServerEvent[] {
    const lines = (this.#rest + text).split(/\r\n|\n|\r(?!$)/);
    this.#rest = lines.pop() ?? '';
    if (this.#rest.length > bounds.eventCharactersMax) throw new RangeError('An event has no end.');
    const events: ServerEvent[] = [];
    for (const line of lines) {
      if (line !== '') {
        this.#field(line);
        continue;
      }
      if (this.#data.length > 0) events.push({ name: this.#name || 'message', data: this.#data.join('\n') });
      this.#name = '';
      this.#data = [];
    }
    return events;
  }

  #field(line: string): void {
    const [, field = '', value = ''] = /^([^:]*)(?:: ?([\s\S]*))?$/.exec(line) ?? [];
    if (field === 'event') this.#name = value;
    if (field === 'data') this.#data.push(value);
  }
}

/** The events of an answer, as they come. @throws what reading throws, such as a broken connection */
export async function* eventsOf(body: ReadableStream<Uint8Array>): AsyncGenerator<ServerEvent> {
  const reader = new EventReader();
  const decoder = new TextDecoder();
  const source = body.getReader();
  try {
    for (;;) {
      const { done, value } = await source.read();
      if (done) return;
      yield* reader.push(decoder.decode(value, { stream: true }));
    }
  } finally {
    await source.cancel().catch(() => undefined);
  }
}
