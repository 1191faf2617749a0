import { ButterflyError, deadlines, errorCodeOf } from '@butterfly/common';
import { createParser } from 'eventsource-parser';
import { z } from 'zod';
import { serverOrigin } from '../server-url.js';

const errorSchema = z.object({ error: z.object({ code: z.string().nullish(), message: z.string() }) });

/** What a server answered. */
export interface ApiAnswer {
  readonly status: number;
  readonly requestId: string | null;
  readonly body: unknown;
}

/** Speaks OpenAI's API with a server. */
export class ApiClient {
  readonly #origin: string;

  /**
   * @param key an API key, for a server that needs one
   * @throws ButterflyError CONFIG_INVALID for what is no URL of a server
   */
  constructor(
    url: string,
    private readonly key: string | null,
  ) {
    this.#origin = serverOrigin(url);
  }

  /**
   * Whatever the server says, refusals too.
   * @throws ButterflyError PEER_UNREACHABLE when it says nothing; TIMEOUT after `deadlines.requestMs`; CANCELLED by the signal
   */
  async post(path: string, body: unknown, signal?: AbortSignal): Promise<ApiAnswer> {
    const response = await this.#send(path, body, signal);
    const text = await this.#read(() => response.text());
    return { status: response.status, requestId: response.headers.get('x-request-id'), body: jsonOf(text) };
  }

  /**
   * The events of a stream, as they come.
   * @throws ButterflyError as `post`, and what the server refuses the request for, or ends the stream with
   */
  async *stream(path: string, body: unknown, signal?: AbortSignal): AsyncGenerator<unknown, void, undefined> {
    const response = await this.#send(path, body, signal);
    if (!response.ok || !response.body) throw refusal(jsonOf(await this.#read(() => response.text())));
    const events: string[] = [];
    const parser = createParser({ onEvent: ({ data }) => events.push(data) });
    const decoder = new TextDecoder();
    const bytes: ReadableStream<Uint8Array> = response.body;
    const reader = bytes.getReader();
    for (;;) {
      const { done, value } = await this.#read(() => reader.read());
      if (done)
        throw new ButterflyError('CONNECTION_CLOSED', `${this.#origin} ended the stream before its end.`);
      parser.feed(decoder.decode(value, { stream: true }));
      for (const data of events.splice(0)) {
        if (data === '[DONE]') return;
        const event = jsonOf(data);
        if (errorSchema.safeParse(event).success) throw refusal(event);
        yield event;
      }
    }
  }

  #send(path: string, body: unknown, signal: AbortSignal | undefined): Promise<Response> {
    const deadline = AbortSignal.timeout(deadlines.requestMs);
    return this.#read(() =>
      fetch(this.#origin + path, {
        method: 'POST',
        headers: {
          'content-type': 'application/json',
          ...(this.key === null ? {} : { authorization: `Bearer ${this.key}` }),
        },
        // A key must not follow where anybody points.
        redirect: 'error',
        body: JSON.stringify(body),
        signal: signal ? AbortSignal.any([signal, deadline]) : deadline,
      }),
    );
  }

  async #read<T>(run: () => Promise<T>): Promise<T> {
    try {
      return await run();
    } catch (cause) {
      const name = cause instanceof Error ? cause.name : '';
      if (name === 'AbortError') throw new ButterflyError('CANCELLED', 'The request was stopped.', { cause });
      if (name === 'TimeoutError')
        throw new ButterflyError('TIMEOUT', `${this.#origin} does not answer; look at its log.`, { cause });
      throw new ButterflyError(
        'PEER_UNREACHABLE',
        `No server answers at ${this.#origin}; is "butterfly serve" running there?`,
        { cause },
      );
    }
  }
}

/** What a server refused, as an error of ours. */
export function refusal(body: unknown): ButterflyError {
  const parsed = errorSchema.safeParse(body);
  const { code, message } = parsed.data?.error ?? {
    code: null,
    message: 'The server answered with what is no error of its API.',
  };
  return new ButterflyError(errorCodeOf(code ?? '') ?? 'REQUEST_INVALID', message);
}

/** Null for what is no JSON. */
function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return null;
  }
}
