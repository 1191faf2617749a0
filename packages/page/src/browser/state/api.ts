import { times } from './bounds.js';

/** What the server refused, in its own words. */
export class ApiFailure extends Error {
  constructor(
    /** Of HTTP; 0 where no answer came. */
    readonly status: number,
    readonly code: string,
    message: string,
  ) {
    super(message);
  }

  /** Whether a key could help. */
  get isDenied(): boolean {
    return this.status === 401 || this.status === 403;
  }
}

/** Whatever was thrown, in words for a person. */
export function failureOf(thrown: unknown): ApiFailure {
  if (thrown instanceof ApiFailure) return thrown;
  const isTimeout = thrown instanceof DOMException && thrown.name === 'TimeoutError';
  return new ApiFailure(
    0,
    isTimeout ? 'TIMEOUT' : 'UNREACHABLE',
    isTimeout ? 'The server did not answer in time.' : 'The server cannot be reached.',
  );
}

async function refusalOf(response: Response): Promise<ApiFailure> {
  const code = response.headers.get('x-butterfly-code') ?? `HTTP ${response.status}`;
  const body: unknown = await response.json().catch(() => null);
  const { error } = (body ?? {}) as { readonly error?: { readonly message?: unknown } };
  const message =
    typeof error?.message === 'string' ? error.message : `The server answered ${response.status}.`;
  return new ApiFailure(response.status, code, message);
}

/** The server that this page came from, asked with a key where there is one. */
export class Api {
  constructor(private readonly key: () => string | null) {}

  /** @throws ApiFailure */
  async ask(path: string, init: RequestInit = {}): Promise<Response> {
    const key = this.key();
    let response: Response;
    try {
      response = await fetch(path, {
        ...init,
        cache: 'no-store',
        credentials: 'omit',
        headers: {
          ...(init.body === undefined ? {} : { 'content-type': 'application/json' }),
          ...(key === null ? {} : { authorization: `Bearer ${key}` }),
        },
      });
    } catch (thrown) {
      if (thrown instanceof DOMException && thrown.name === 'AbortError') throw thrown;
      throw failureOf(thrown);
    }
    if (!response.ok) throw await refusalOf(response);
    return response;
  }

  /** @throws ApiFailure */
  async get<T>(path: string): Promise<T> {
    const response = await this.ask(path, { signal: AbortSignal.timeout(times.answerMax) });
    return (await response.json()) as T;
  }

  /** @throws ApiFailure */
  async post<T>(path: string, body: unknown = {}, timeoutMs: number = times.answerMax): Promise<T> {
    const signal = AbortSignal.timeout(timeoutMs);
    const response = await this.ask(path, { method: 'POST', body: JSON.stringify(body), signal });
    return (await response.json()) as T;
  }
}
