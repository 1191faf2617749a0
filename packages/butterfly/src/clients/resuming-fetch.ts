import { randomUUID } from 'node:crypto';
import { setTimeout as wait } from 'node:timers/promises';
import { deadlines } from '@butterfly/common';

/** How answers are resumed. */
export interface ResumingOptions {
  /** What asks; by default that of the system. */
  readonly fetch?: typeof fetch;
  /** How long a server may be gone before its answer is given up; by default as long as it keeps it. */
  readonly goneMs?: number;
}

const firstWaitMs = 100;
const longestWaitMs = 2_000;
/** Of a server that stops, or of a proxy before one that is gone. */
const comesBack: readonly number[] = [502, 503, 504];

/**
 * A `fetch` for clients of any kind, whose answers survive lost connections, and the end of the server where it has a journal and is started
 * again: each POST gets an `Idempotency-Key`, and is sent again with that when its connection breaks, behind the last event that came
 * as a whole. Who reads it sees one answer. Who leaves it before its end, or aborts, ends it.
 */
export function resumingFetch({
  fetch: ask = fetch,
  goneMs = deadlines.resumeGraceMs,
}: ResumingOptions = {}): typeof fetch {
  return async (...asked) => {
    const request = new Request(...asked);
    if (request.method !== 'POST') return ask(request);
    const body = await request.arrayBuffer();
    const headers = new Headers(request.headers);
    // The answer of a conversation is for whoever looks at it next, and is left to go on.
    const isConversation = headers.has('x-conversation-id');
    if (!isConversation && !headers.has('idempotency-key')) headers.set('idempotency-key', randomUUID());
    const { url, signal, redirect } = request;
    const send = (last: string | null): Promise<Response> => {
      const sent = new Headers(headers);
      if (last !== null) sent.set('last-event-id', last);
      return ask(url, { method: 'POST', headers: sent, body, signal, redirect });
    };
    // Its connection alone would let it run on for a while.
    const leave = (): void => {
      const stream = url.replace(/\/v1\/.*$/, '/v1/stream');
      if (stream !== url && !isConversation)
        ask(stream, { method: 'DELETE', headers, redirect }).catch(() => undefined);
    };
    const asking: Asking = { send, signal, goneMs };
    const first = await send(null).catch((error: unknown) => {
      if (isUnreachable(error)) throw error;
      return askedAgain(null, asking, error);
    });
    const isStream = first.headers.get('content-type')?.startsWith('text/event-stream') ?? false;
    if (!first.ok || !first.body) return first;
    const { status, statusText, headers: answered } = first;
    const parts = isStream ? events(first, asking) : wholeText(first, asking);
    return new Response(ReadableStream.from(untilLeft(parts, leave)), {
      status,
      statusText,
      headers: answered,
    });
  };
}

interface Asking {
  readonly send: (last: string | null) => Promise<Response>;
  readonly signal: AbortSignal;
  readonly goneMs: number;
}

/** The same, telling who leaves before the end. */
async function* untilLeft<T>(parts: AsyncIterable<T>, leave: () => void): AsyncGenerator<T, void, undefined> {
  let isOver = false;
  try {
    yield* parts;
    isOver = true;
  } finally {
    if (!isOver) leave();
  }
}

/** Whole events alone, so that what goes on begins with the next one. */
async function* events(first: Response, asking: Asking): AsyncGenerator<Uint8Array, void, undefined> {
  const encoder = new TextEncoder();
  let response = first;
  let last: string | null = null;
  for (;;) {
    let rest = '';
    const decoder = new TextDecoder();
    try {
      for await (const bytes of response.body ?? []) {
        rest += decoder.decode(bytes as Uint8Array, { stream: true });
        const end = rest.lastIndexOf('\n\n');
        if (end === -1) continue;
        const whole = rest.slice(0, end + 2);
        rest = rest.slice(end + 2);
        last = [...whole.matchAll(/^id: ?(.*)$/gm)].at(-1)?.[1] ?? last;
        yield encoder.encode(whole);
      }
      if (rest !== '') yield encoder.encode(rest);
      return;
    } catch (error) {
      response = await askedAgain(last, asking, error);
    }
  }
}

async function* wholeText(first: Response, asking: Asking): AsyncGenerator<Uint8Array, void, undefined> {
  let response = first;
  for (;;) {
    try {
      yield new Uint8Array(await response.arrayBuffer());
      return;
    } catch (error) {
      response = await askedAgain(null, asking, error);
    }
  }
}

/** Nobody was ever there; a server that broke off before its first word may come back. */
function isUnreachable(error: unknown): boolean {
  const { code } = ((error as { cause?: unknown } | null)?.cause ?? {}) as { code?: unknown };
  return code !== 'UND_ERR_SOCKET' && code !== 'ECONNRESET' && code !== 'EPIPE';
}

/** Asks until somebody answers. @throws the error where nobody does in time, or the answer is not there any more */
async function askedAgain(
  last: string | null,
  { send, signal, goneMs }: Asking,
  error: unknown,
): Promise<Response> {
  const endMs = performance.now() + goneMs;
  for (let waitMs = firstWaitMs; ; waitMs = Math.min(longestWaitMs, waitMs * 2)) {
    if (signal.aborted || performance.now() > endMs) throw error;
    await wait(waitMs, undefined, { signal });
    const response = await send(last).catch(() => null);
    if (response?.ok) return response;
    await response?.body?.cancel();
    if (response && !comesBack.includes(response.status)) throw error;
  }
}
