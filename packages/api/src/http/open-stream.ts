import type { ServerResponse } from 'node:http';
import { type Clock, deadlines, limits } from '@butterfly/common';
import type { FastifyReply } from 'fastify';

/** What a stream is made of on the wire. */
export interface StreamForm {
  readonly contentType: string;
  /** What breaks a silence without saying anything; empty where the form has no such thing. */
  readonly keepAlive: string;
}

/** Server-sent events, where a comment breaks a silence: clients skip it. */
export const serverSentEvents: StreamForm = {
  contentType: 'text/event-stream; charset=utf-8',
  keepAlive: ': keep-alive\n\n',
};

export interface OpenStreamOptions {
  readonly clock: Clock;
  /** Silence before a comment breaks it; 0 for never. */
  readonly keepAliveMs: number;
  /** What is said where the stream opens before its first part; empty for the headers alone. */
  readonly opening: () => string;
  /** Called once, when the client reads so slowly that its connection had to be cut. */
  readonly onOverflow: () => void;
}

/**
 * A response that is written as its parts come. It opens with the first part, or after two seconds without one: a failure
 * until then can still be an HTTP status, and proxies and clients hear something early. Silences are broken after that,
 * where the form can. Parts of one turn of the event loop travel in one write.
 */
export class OpenStream implements Disposable {
  readonly #reply: FastifyReply;
  readonly #raw: ServerResponse;
  readonly #form: StreamForm;
  readonly #options: OpenStreamOptions;
  #cancelTimer: () => void;
  #lastSentMs = 0;
  #opened = false;
  #pending = '';

  constructor(reply: FastifyReply, form: StreamForm, options: OpenStreamOptions) {
    this.#reply = reply;
    this.#raw = reply.raw;
    this.#form = form;
    this.#options = options;
    const { clock, keepAliveMs } = options;
    const silenceMs = keepAliveMs === 0 ? Infinity : keepAliveMs;
    this.#cancelTimer = clock.after(Math.min(deadlines.streamHeadersMs, silenceMs), () => this.#openEarly());
  }

  /** Whether the status is out. */
  get opened(): boolean {
    return this.#opened;
  }

  /** Sends one part as it is; an empty one opens nothing. */
  send(part: string): void {
    if (part !== '') this.#write(part);
  }

  /** The same for bytes, which may begin or end within a character. */
  sendBytes(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    if (!this.#opened) this.#open();
    this.#flush();
    this.#lastSentMs = this.#options.clock.nowMs();
    if (!this.#raw.destroyed) this.#raw.write(bytes);
  }

  /** Resolves when the client has read most of what was sent, or is gone. */
  async taken(): Promise<void> {
    this.#flush();
    const raw = this.#raw;
    if (raw.destroyed || !raw.writableNeedDrain) return;
    await new Promise<void>((resolve) => {
      const settle = (): void => {
        raw.off('drain', settle).off('close', settle);
        resolve();
      };
      raw.on('drain', settle).on('close', settle);
    });
  }

  /** Opens it, though nothing is to be said yet. */
  open(): void {
    if (!this.#opened) this.#openEarly();
  }

  /** Cuts the connection: what comes is not the end. */
  cut(): void {
    this.#pending = '';
    this.#raw.destroy();
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
      'content-type': this.#form.contentType,
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
    const opening = this.#options.opening();
    if (opening === '') this.#raw.flushHeaders();
    else this.#write(opening);
  }

  /** One timer at a time, which looks how long ago the last event was: setting one for each event would cost more. */
  #breakSilenceAfter(delayMs: number): void {
    const { clock, keepAliveMs } = this.#options;
    const { keepAlive } = this.#form;
    if (keepAliveMs === 0 || keepAlive === '') return;
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
