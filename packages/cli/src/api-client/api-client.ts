import { ButterflyError, deadlines, errorCodeOf } from '@butterfly/common';
import { createParser } from 'eventsource-parser';
import { z } from 'zod';
import { serverOrigin } from '../server-url.js';

/** llama-server and vLLM have a number as code. */
const errorSchema = z.object({
  error: z.object({ code: z.union([z.string(), z.number()]).nullish(), message: z.string() }),
});
const modelsSchema = z.object({ data: z.array(z.object({ id: z.string() })) });

/** What a server answered. */
export interface ApiAnswer {
  readonly status: number;
  readonly requestId: string | null;
  readonly body: unknown;
}

/** What a server refused a request for, or ended its stream with: then the status is that of the stream, 200. */
export class ApiRefusal extends ButterflyError {
  /** @param apiCode as the server says it, null where it says none */
  constructor(
    readonly status: number,
    readonly apiCode: string | null,
    message: string,
  ) {
    super(errorCodeOf(apiCode ?? '') ?? 'REQUEST_INVALID', message);
  }
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
    const response = await this.#send('POST', path, body, signal);
    const text = await this.#read(() => response.text());
    return { status: response.status, requestId: response.headers.get('x-request-id'), body: jsonOf(text) };
  }

  /**
   * The ids of the models that the server names.
   * @throws ButterflyError as `post`, and ApiRefusal
   */
  async models(signal?: AbortSignal): Promise<string[]> {
    const response = await this.#send('GET', '/v1/models', undefined, signal);
    const body = jsonOf(await this.#read(() => response.text()));
    const parsed = modelsSchema.safeParse(body);
    if (!response.ok || !parsed.success) throw refusal(body, response.status);
    return parsed.data.data.map(({ id }) => id);
  }

  /**
   * The events of a stream, as they come.
   * @throws ButterflyError as `post`, and ApiRefusal
   */
  async *stream(path: string, body: unknown, signal?: AbortSignal): AsyncGenerator<unknown, void, undefined> {
    const response = await this.#send('POST', path, body, signal);
    const { status } = response;
    if (!response.ok || !response.body)
      throw refusal(jsonOf(await this.#read(() => response.text())), status);
    const events: string[] = [];
    const parser = createParser({ onEvent: ({ data }) => events.push(data) });
    const decoder = new TextDecoder();
    const bytes: ReadableStream<Uint8Array> = response.body;
    const reader = bytes.getReader();
    let isDone = false;
    try {
      for (;;) {
        const { done, value } = await this.#read(() => reader.read());
        if (done)
          throw new ButterflyError('CONNECTION_CLOSED', `${this.#origin} ended the stream before its end.`);
        parser.feed(decoder.decode(value, { stream: true }));
        for (const data of events.splice(0)) {
          isDone = data === '[DONE]';
          if (isDone) return;
          const event = jsonOf(data);
          if (errorSchema.safeParse(event).success) throw refusal(event, status);
          yield event;
        }
      }
    } finally {
      // What was read to its end leaves its connection to the next request.
      if (!isDone) void reader.cancel().catch(() => undefined);
    }
  }

  #send(
    method: 'GET' | 'POST',
    path: string,
    body: unknown,
    signal: AbortSignal | undefined,
  ): Promise<Response> {
    const deadline = AbortSignal.timeout(deadlines.requestMs);
    return this.#read(() =>
      fetch(this.#origin + path, {
        method,
        headers: {
          'content-type': 'application/json',
          ...(this.key === null ? {} : { authorization: `Bearer ${this.key}` }),
        },
        // A key must not follow where anybody points.
        redirect: 'error',
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
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

function refusal(body: unknown, status: number): ApiRefusal {
  const { code, message } = errorSchema.safeParse(body).data?.error ?? {
    code: null,
    message: 'The server answered with what is no answer of its API.',
  };
  return new ApiRefusal(status, code === null || code === undefined ? null : String(code), message);
}

/** Null for what is no JSON. */
function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return null;
  }
}
