import { Readable } from 'node:stream';
import type { FastifyInstance } from 'fastify';
import type { ApiContext } from './context.js';
import { createApi } from './server.js';

/** The API without a socket: for servers that have one already. */
export interface FetchHandler {
  /**
   * Answers one request, of which only what is behind the host matters. Its signal cancels it, as does whoever cancels the
   * body of the response.
   */
  readonly fetch: (request: Request) => Promise<Response>;
  /** Lets the answers that are under way end, for `deadlines.drainMs`. */
  close(): Promise<void>;
}

/** Bodies of such statuses do not exist, and `Response` takes none. */
const bodiless = new Set([204, 205, 304]);

/**
 * Mounts the API inside any server that speaks `fetch`. Who may ask is that server's business: it stands before this one.
 * Hosts are not looked at either, for the same reason.
 */
export function createFetchHandler(context: ApiContext): FetchHandler {
  const app = createApi(context);
  app.addHook('onRequest', ({ raw }, _reply, done) => {
    // There is no connection that could close, by which the API knows that nobody reads any more.
    raw.once('error', () => raw.socket.emit('close'));
    done();
  });
  return { fetch: (request) => answer(app, request), close: () => app.close() };
}

async function answer(app: FastifyInstance, request: Request): Promise<Response> {
  const { pathname, search } = new URL(request.url);
  const cancelling = new AbortController();
  const cancel = (): void => cancelling.abort();
  const signal = AbortSignal.any([request.signal, cancelling.signal]);
  const payload = request.body ? { payload: Buffer.from(await request.arrayBuffer()) } : {};
  const injected = await app.inject({
    method: request.method,
    url: pathname + search,
    headers: { ...Object.fromEntries(request.headers), host: 'localhost' },
    ...payload,
    payloadAsStream: true,
    signal,
  });
  const headers = new Headers();
  for (const [name, value] of Object.entries(injected.headers))
    for (const each of [value ?? []].flat()) headers.append(name, String(each));
  const stream = injected.stream();
  stream.once('close', () => {
    // Whoever reads no further wants nothing more to be computed.
    if (!stream.readableEnded) cancel();
  });
  const { statusCode: status } = injected;
  if (bodiless.has(status)) {
    stream.resume();
    return new Response(null, { status, headers });
  }
  return new Response(Readable.toWeb(stream) as ReadableStream<Uint8Array>, { status, headers });
}
