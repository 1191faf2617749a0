import { ButterflyError, deadlines, errorCodeOf } from '@butterfly/common';
import type { ClusterDescription } from '@butterfly/orchestrator';
import { z } from 'zod';
import { serverOrigin } from '../server-url.js';
import { clusterSchema } from './cluster-schema.js';
import { type ModelDescription, modelSchema, modelsSchema } from './models-schema.js';

const errorSchema = z.object({ error: z.object({ code: z.string(), message: z.string() }) });
/** When the clock of this machine showed what, and the server's between that; in ms since 1970. */
export interface ClockReading {
  readonly askedMs: number;
  readonly answeredMs: number;
  /** Cut to whole seconds; null of a server that does not tell. */
  readonly serverMs: number | null;
}

/** What a server answered, and when. */
interface Answer<T> {
  readonly value: T;
  readonly clocks: ClockReading;
}

const workerSchema = z.object({ workerId: z.string() });

interface RawAnswer {
  readonly status: number;
  readonly body: unknown;
  readonly clocks: ClockReading;
}

/** Asks a running `butterfly serve` about its cluster. */
export class ClusterClient {
  readonly #origin: string;

  /**
   * @param token the API key of an administrator or the join token, of which a server on another machine asks for one
   * @throws ButterflyError CONFIG_INVALID for what is no URL of a server
   */
  constructor(
    url: string,
    private readonly token: string | null,
  ) {
    this.#origin = serverOrigin(url);
  }

  /** @throws ButterflyError PEER_UNREACHABLE, ACCESS_DENIED, PROTOCOL_INVALID, TIMEOUT */
  async describe(): Promise<ClusterDescription> {
    return (await this.describeWithClocks()).value;
  }

  /** The same, with what tells how far the clocks of both machines are apart. @throws ButterflyError as `describe` */
  async describeWithClocks(): Promise<Answer<ClusterDescription>> {
    return this.#ask('GET', '/cluster', clusterSchema);
  }

  /** Begins to empty a worker, and gives its id. @throws ButterflyError as `describe`, and what the server refuses it for */
  async drain(name: string): Promise<string> {
    const path = `/cluster/workers/${encodeURIComponent(name)}/drain`;
    return (await this.#ask('POST', path, workerSchema)).value.workerId;
  }

  /** Cuts a worker off for good, and gives its id. @throws ButterflyError as `describe`, and what the server refuses it for */
  async revoke(name: string): Promise<string> {
    const path = `/cluster/workers/${encodeURIComponent(name)}/revoke`;
    return (await this.#ask('POST', path, workerSchema)).value.workerId;
  }

  /** @throws ButterflyError as `describe` */
  async models(): Promise<readonly ModelDescription[]> {
    return (await this.#ask('GET', '/models', modelsSchema)).value.models;
  }

  /** Loads a model, and waits for that. @throws ButterflyError as `describe`, and what it cannot be loaded for */
  async load(model: string): Promise<ModelDescription> {
    return (await this.#ask('POST', '/models/load', modelSchema, { model })).value;
  }

  /** Unloads a model, and waits for that. @throws ButterflyError as `describe` */
  async unload(model: string): Promise<ModelDescription> {
    return (await this.#ask('POST', '/models/unload', modelSchema, { model })).value;
  }

  /** What a path of those who run a cluster answers, as it is. @throws ButterflyError as `describe` */
  async read(path: string): Promise<Readonly<Record<string, unknown>>> {
    return (await this.#ask('GET', path, z.record(z.string(), z.unknown()))).value;
  }

  /**
   * The bytes of an answer that goes on, for as long as the signal lets them: whoever reads them watches for silence.
   * @throws ButterflyError as `describe`, without TIMEOUT
   */
  async open(path: string, signal: AbortSignal): Promise<AsyncIterable<Uint8Array>> {
    const response = await fetch(this.#origin + path, { ...this.#usual, signal }).catch((cause: unknown) => {
      throw this.#unreachable(cause);
    });
    if (!response.ok) {
      const body: unknown = await response.json().catch(() => null);
      throw refusal(body) ?? this.#foreign(`status ${response.status}`);
    }
    if (!response.body) throw this.#foreign('no body');
    return response.body;
  }

  get #usual(): { readonly headers: Record<string, string>; readonly redirect: 'error' } {
    const headers: Record<string, string> =
      this.token === null ? {} : { authorization: `Bearer ${this.token}` };
    // A token must not follow where anybody points.
    return { headers, redirect: 'error' };
  }

  #unreachable(cause: unknown): ButterflyError {
    return new ButterflyError(
      'PEER_UNREACHABLE',
      `No server answers at ${this.#origin}; is "butterfly serve" running there? Else give its address with --url.`,
      { cause },
    );
  }

  /** @param sent as JSON; whoever sends something waits for work to be done */
  async #ask<T>(
    method: 'GET' | 'POST',
    path: string,
    schema: z.ZodType<T>,
    sent: object | null = null,
  ): Promise<Answer<T>> {
    const { status, body, clocks } = await this.#fetch(method, path, sent);
    if (status >= 400) throw refusal(body) ?? this.#foreign(`status ${status}`);
    const parsed = schema.safeParse(body);
    if (parsed.success) return { value: parsed.data, clocks };
    throw this.#foreign(
      `${parsed.error.issues[0]?.path.join('.') ?? 'answer'}: ${parsed.error.issues[0]?.message ?? ''}`,
    );
  }

  async #fetch(method: string, path: string, sent: object | null): Promise<RawAnswer> {
    try {
      const askedMs = Date.now();
      const response = await fetch(this.#origin + path, {
        ...this.#usual,
        method,
        ...(sent && {
          headers: { ...this.#usual.headers, 'content-type': 'application/json' },
          body: JSON.stringify(sent),
        }),
        signal: AbortSignal.timeout(sent ? deadlines.requestMs : deadlines.fetchMs),
      });
      const answeredMs = Date.now();
      const serverMs = Date.parse(response.headers.get('date') ?? '');
      const clocks = { askedMs, answeredMs, serverMs: Number.isNaN(serverMs) ? null : serverMs };
      return { status: response.status, body: await response.json(), clocks };
    } catch (cause) {
      if (cause instanceof SyntaxError) throw this.#foreign('no JSON');
      if (cause instanceof DOMException && cause.name === 'TimeoutError')
        throw new ButterflyError('TIMEOUT', `${this.#origin} does not answer; look at its log.`, { cause });
      throw this.#unreachable(cause);
    }
  }

  #foreign(detail: string): ButterflyError {
    return new ButterflyError(
      'PROTOCOL_INVALID',
      `${this.#origin} is no Butterfly server of this version (${detail}); check --url, or upgrade the older side.`,
    );
  }
}

function refusal(body: unknown): ButterflyError | null {
  const parsed = errorSchema.safeParse(body);
  const { code, message } = parsed.data?.error ?? { code: '', message: '' };
  const known = errorCodeOf(code);
  return known === null ? null : new ButterflyError(known, message);
}
