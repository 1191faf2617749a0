import type { ServerResponse } from 'node:http';
import { type Clock, deadlines, limits } from '@butterfly/common';
import type { FastifyReply } from 'fastify';

export interface EventStreamOptions {
  readonly clock: Clock;
  /** Silence before a comment breaks it; 0 for never. */
  readonly keepAliveMs: number;
  /** Called once, when the client reads so slowly that its connection had to be cut. */
  readonly onOverflow: () => void;
}

/**
 * Server-sent events over one response. It opens with the first event, or after two seconds without one: a failure until
 * then can still be an HTTP status, and proxies and clients hear something early. Comments break any silence after that.
 * Events of one turn of the event loop travel in one write.
 */
export class EventStream implements Disposable {
  readonly #reply: FastifyReply;
  readonly #raw: ServerResponse;
  readonly #options: EventStreamOptions;
  #cancelTimer: () => void;
  #lastSentMs = 0;
  #opened = false;
  #pending = '';

  constructor(reply: FastifyReply, options: EventStreamOptions) {
    this.#reply = reply;
    this.#raw = reply.raw;
    this.#options = options;
    const { clock, keepAliveMs } = options;
    const silenceMs = keepAliveMs === 0 ? Infinity : keepAliveMs;
    this.#cancelTimer = clock.after(Math.min(deadlines.streamHeadersMs, silenceMs), () => this.#openEarly());
  }

  /** Whether the status is out. */
  get opened(): boolean {
    return this.#opened;
  }

  /** Sends one event; `data` is without line breaks, as JSON is. */
  send(data: string): void {
    this.#write(`data: ${data}\n\n`);
  }

  /** Ends the response after what was sent. */
  end(): void {
    this.#flush();
    if (!this.#raw.destroyed) this.#raw.end();
  }

  /** No comment comes after this. */
  [Symbol.dispose](): void {
    this.#cancelTimer();
  }

  #write(text: string): void {
    if (!this.#opened) this.#open();
    if (this.#pending === '') process.nextTick(() => this.#flush());
    this.#pending += text;
  }

  #open(): void {
    this.#opened = true;
    this.#reply.hijack();
    for (const [name, value] of Object.entries(this.#reply.getHeaders()))
      if (value !== undefined) this.#raw.setHeader(name, value);
    this.#raw.writeHead(200, {
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-cache',
      // Proxies such as nginx would otherwise collect the stream.
      'x-accel-buffering': 'no',
    });
    this.#cancelTimer();
    this.#lastSentMs = this.#options.clock.nowMs();
    this.#breakSilenceAfter(this.#options.keepAliveMs);
  }

  #openEarly(): void {
    if (this.#raw.destroyed) return;
    this.#open();
    this.#raw.flushHeaders();
  }

  /** One timer at a time, which looks how long ago the last event was: setting one for each event would cost more. */
  #breakSilenceAfter(delayMs: number): void {
    const { clock, keepAliveMs } = this.#options;
    if (keepAliveMs === 0) return;
    this.#cancelTimer = clock.after(delayMs, () => {
      if (this.#raw.destroyed) return;
      const silentMs = clock.nowMs() - this.#lastSentMs;
      const isSilent = silentMs >= keepAliveMs;
      if (isSilent) this.#write(keepAlive);
      this.#breakSilenceAfter(isSilent ? keepAliveMs : keepAliveMs - silentMs);
    });
  }

  #flush(): void {
    const events = this.#pending;
    this.#pending = '';
    if (events === '' || this.#raw.destroyed) return;
    this.#lastSentMs = this.#options.clock.nowMs();
    this.#raw.write(Buffer.from(events));
    if (this.#raw.writableLength <= limits.streamBufferedBytesMax) return;
    this.#raw.destroy();
    this.#options.onOverflow();
  }
}

/** A comment, which clients skip. */
const keepAlive = ': keep-alive\n\n';
