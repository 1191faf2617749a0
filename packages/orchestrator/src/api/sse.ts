import type { ServerResponse } from 'node:http';
import { limits } from '@butterfly/common';
import type { FastifyReply } from 'fastify';

/**
 * Server-sent events over one response. Nothing is sent before the first event, so that a failure until
 * then can still be an HTTP status. Events of one turn of the event loop travel in one write.
 */
export class EventStream {
  readonly #reply: FastifyReply;
  readonly #raw: ServerResponse;
  readonly #onOverflow: () => void;
  #opened = false;
  #pending = '';

  /** @param onOverflow called once, when the client reads so slowly that its connection had to be cut. */
  constructor(reply: FastifyReply, onOverflow: () => void) {
    this.#reply = reply;
    this.#raw = reply.raw;
    this.#onOverflow = onOverflow;
  }

  get opened(): boolean {
    return this.#opened;
  }

  /** Sends one event; `data` is without line breaks, as JSON is. */
  send(data: string): void {
    if (!this.#opened) this.#open();
    if (this.#pending === '') process.nextTick(() => this.#flush());
    this.#pending += `data: ${data}\n\n`;
  }

  /** Ends the response after what was sent. */
  end(): void {
    this.#flush();
    if (!this.#raw.destroyed) this.#raw.end();
  }

  #open(): void {
    this.#opened = true;
    this.#reply.hijack();
    this.#raw.writeHead(200, {
      'x-request-id': this.#reply.request.id,
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-cache',
      // Proxies such as nginx would otherwise collect the stream.
      'x-accel-buffering': 'no',
    });
  }

  #flush(): void {
    const events = this.#pending;
    this.#pending = '';
    if (events === '' || this.#raw.destroyed) return;
    this.#raw.write(Buffer.from(events));
    if (this.#raw.writableLength <= limits.streamBufferedBytesMax) return;
    this.#raw.destroy();
    this.#onOverflow();
  }
}
