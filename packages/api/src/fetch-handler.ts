import { Readable } from 'node:stream';
import type { FastifyInstance } from 'fastify';

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

/** Gives requests to an API that does not listen, and is not to. */
export function fetchHandlerOf(app: FastifyInstance): FetchHandler {
  const calls = new Map<string, Call>();
  let count = 0;
  app.addHook('onRequest', ({ raw }, _reply, done) => {
    const call = calls.get(String(raw.headers[callHeader]));
    if (call) call.hangUp = () => raw.socket.emit('close');
    done();
  });
  const fetch = async (request: Request): Promise<Response> => {
    const id = String(++count);
    const call: Call = { hangUp: () => undefined };
    calls.set(id, call);
    try {
      return await answer(app, request, id, () => call.hangUp());
    } finally {
      calls.delete(id);
    }
  };
  return { fetch, close: () => app.close() };
}

/** By which a hook knows for which call a request is; of nobody else, since it is set last. */
const callHeader = 'x-butterfly-call';

interface Call {
  /** There is no connection that could close, by which the API knows that nobody reads any more: this does as if. */
  hangUp: () => void;
}

async function answer(
  app: FastifyInstance,
  request: Request,
  id: string,
  hangUp: () => void,
): Promise<Response> {
  const { signal } = request;
  const { pathname, search } = new URL(request.url);
  // As it comes, so that the bounds of bodies hold.
  const payload = request.body ? { payload: Readable.fromWeb(request.body) } : {};
  signal.addEventListener('abort', hangUp, { once: true });
  const forget = (): void => signal.removeEventListener('abort', hangUp);
  const injected = await app
    .inject({
      method: request.method,
      url: pathname + search,
      headers: { ...Object.fromEntries(request.headers), host: 'localhost', [callHeader]: id },
      ...payload,
      payloadAsStream: true,
      signal,
    })
    .catch((error: unknown) => {
      forget();
      throw error;
    });
  signal.throwIfAborted();
  const headers = new Headers();
  for (const [name, value] of Object.entries(injected.headers))
    for (const each of [value ?? []].flat()) headers.append(name, String(each));
  const stream = injected.stream();
  stream.once('close', () => {
    forget();
    // Whoever reads no further wants nothing more to be computed.
    if (!stream.readableEnded) hangUp();
  });
  const { statusCode: status } = injected;
  if (bodiless.has(status)) {
    stream.resume();
    return new Response(null, { status, headers });
  }
  return new Response(Readable.toWeb(stream), { status, headers });
}
