import { randomUUID } from 'node:crypto';
import { METHODS } from 'node:http';
import type { Server as SecureServer } from 'node:https';
import type { Socket } from 'node:net';
import { ButterflyError, deadlines, limits } from '@butterfly/common';
import { listenError } from '@butterfly/wire';
import Fastify from 'fastify';
import type { FastifyInstance, FastifyReply, FastifyRequest, FastifyServerOptions } from 'fastify';
import { Gate } from './access/gate.js';
import { letIn } from './access/let-in.js';
import { boundBodies } from './http/body-budget.js';
import { boundConnections, type ConnectionBounds, usualBounds } from './http/connection-bounds.js';
import { cutUnreadAnswers } from './http/unread-answers.js';
import { ResumableAnswers } from './answers/resumable-answers.js';
import type { ApiContext } from './context.js';
import { type FetchHandler, fetchHandlerOf } from './fetch-handler.js';
import { errorShape } from './error-shapes.js';
import { letPagesAsk } from './http/cors.js';
import { HttpRefusal, publicError, toHttpFailure } from './http/errors.js';
import { hostName, hostRefusal } from './http/host-check.js';
import { pathOf } from './http/path.js';
import { readBodiesAsJson } from './http/json-body.js';
import { type CertificateFiles, type SecureTexts, ServedCertificate } from './http/served-certificate.js';
import { onResponseOver, OpenResponses } from './http/open-responses.js';
import { errorBody } from './openai/error-body.js';
import { addRoutes } from './routes.js';

/**
 * The OpenAI-style HTTP API. It does not listen yet: the caller does, and closes it. `close` lets the
 * answers that are under way end, for `deadlines.drainMs`, and then cuts every connection.
 * @param secure what proves the server over TLS; null for none
 */
export function createApi(
  context: ApiContext,
  secure: SecureTexts | null = null,
  bounds: ConnectionBounds = usualBounds,
  resumables = new ResumableAnswers(context),
): FastifyInstance {
  const failWith = (thrown: unknown, request: FastifyRequest, reply: FastifyReply) =>
    sendFailure(context, thrown, request, reply);
  const app = openServer(secure, bounds, {
    logger: false,
    genReqId: () => `req_${randomUUID().replaceAll('-', '')}`,
    bodyLimit: limits.requestBodyBytesMax,
    routerOptions: { maxParamLength: 1024, ignoreTrailingSlash: true, ignoreDuplicateSlashes: true },
    requestTimeout: bounds.requestArrivalMs,
    keepAliveTimeout: bounds.idleConnectionMs,
    // Nothing moves on a connection while a request waits, so silence is cut only after the request's own deadline.
    connectionTimeout: deadlines.requestMs + deadlines.drainMs,
    // While closing it is the engine that refuses, in the shape of all errors.
    return503OnClosing: false,
    // Connections without a request would else hold up the closing; `preClose` waits for the others.
    forceCloseConnections: true,
    clientErrorHandler: refuseMalformedHttp,
    frameworkErrors: (thrown, request, reply) => void failWith(thrown, request, reply),
  });
  for (const method of METHODS) if (!app.supportedMethods.includes(method)) app.addHttpMethod(method);
  boundBodies(app);
  readBodiesAsJson(app, Math.max(...context.models.list().map(({ contextTokens }) => contextTokens)));
  keepAnswers(app, resumables);
  const openResponses = watchResponses(app, context, bounds);
  app.addHook('onRequest', (request, _reply, done) => {
    done(hostRefusal(app, request, context.http.hostNames) ?? undefined);
  });
  app.addHook('preClose', () => openResponses.drained(context.clock, deadlines.drainMs));
  app.setErrorHandler(failWith);
  app.setNotFoundHandler((request) => {
    throw noSuchRoute(request);
  });
  letPagesAsk(app, context.http.corsOrigins);
  // After the headers for pages are set, so that they can read every refusal.
  app.after(() => {
    // Before the body is read: whatever it holds, the path is what is wrong.
    app.addHook('onRequest', (request, _reply, done) => {
      done(request.is404 ? noSuchRoute(request) : undefined);
    });
    letIn(app, new Gate(context.access, context.clock), context.observe);
    addRoutes(app, { ...context, resumables });
  });
  return app;
}

/** Goes on with the answers of an earlier process once it listens, and leaves its own to the next one before it closes. */
function keepAnswers(app: FastifyInstance, resumables: ResumableAnswers): void {
  app.addHook('onListen', (done) => {
    resumables.restore();
    done();
  });
  app.addHook('preClose', () => resumables.suspend());
  app.addHook('onClose', (_app, done) => {
    resumables.close();
    done();
  });
}

/** Gives each request its id, and follows its response until it is out, or nobody reads it. */
function watchResponses(
  app: FastifyInstance,
  { clock, observe }: ApiContext,
  bounds: ConnectionBounds,
): OpenResponses {
  const openResponses = new OpenResponses();
  app.addHook('onRequest', (request, reply, done) => {
    const refusal = openResponses.add(request, reply.raw);
    reply.header('x-request-id', request.id);
    onResponseOver(request, reply.raw, () => {
      const { method, id: requestId, routeOptions } = request;
      const route = request.is404 ? null : (routeOptions.url ?? null);
      const { statusCode: status, elapsedTime: elapsedMs } = reply;
      observe({ kind: 'responseSent', requestId, method, route, status, elapsedMs });
    });
    done(refusal ?? undefined);
  });
  let stop: () => void = () => undefined;
  app.addHook('onListen', (done) => {
    stop = cutUnreadAnswers({
      ...bounds,
      clock,
      open: () => openResponses.all,
      onCut: (requestId) => observe({ kind: 'readerTooSlow', requestId }),
    });
    done();
  });
  app.addHook('onClose', (_app, done) => {
    stop();
    done();
  });
  return openResponses;
}

/** Over HTTP in the clear, or over TLS 1.2 and newer. */
function openServer(
  secure: SecureTexts | null,
  bounds: ConnectionBounds,
  options: FastifyServerOptions,
): FastifyInstance {
  const http = {
    // Node would refuse a request without host without a word; we say what is missing.
    requireHostHeader: false,
    headersTimeout: bounds.requestHeadersMs,
    connectionsCheckingInterval: bounds.lookedAtEveryMs,
  };
  if (secure === null) {
    const app = Fastify({ ...options, http });
    boundConnections(app.server, bounds, (refusal) => rawAnswer(429, 'Too Many Requests', refusal));
    return app;
  }
  const handshakeTimeout = deadlines.handshakeMs;
  const https = { ...secure, ...http, handshakeTimeout, minVersion: 'TLSv1.2' as const };
  // The same but for the class of its server, which nobody here asks for.
  const app = Fastify({ ...options, https } as FastifyServerOptions);
  // Before a handshake there is no way to say why.
  boundConnections(app.server, bounds, () => '');
  return app;
}

/** When a client that was refused for a full queue should come back, in the whole seconds that HTTP has. */
function retryAfterS({ models }: ApiContext): number {
  return Math.max(1, Math.ceil(models.status().retryAfterMs / 1000));
}

function noSuchRoute(request: FastifyRequest): ButterflyError {
  return new ButterflyError(
    'NOT_FOUND',
    `There is nothing at ${request.method} ${pathOf(request.url)}; paths of the API begin with /v1, see docs/api.md.`,
  );
}

function sendFailure(
  context: ApiContext,
  thrown: unknown,
  request: FastifyRequest,
  reply: FastifyReply,
): FastifyReply {
  const { error, status, headers } = toHttpFailure(thrown);
  const { id: requestId, method, url } = request;
  context.observe({ kind: 'requestFailed', requestId, method, path: pathOf(url), status, error });
  if (error.code === 'UNAUTHENTICATED') reply.header('www-authenticate', 'Bearer');
  if (error.code === 'QUEUE_FULL') reply.header('retry-after', retryAfterS(context));
  return reply
    .code(status)
    .headers(headers)
    .send(errorShape(url, publicError(error, requestId), status, requestId));
}

/** Answers bytes that are not HTTP, or too slow: there is no request yet, so this is written by hand. */
function refuseMalformedHttp(thrown: Error & { readonly code?: string }, socket: Socket): void {
  if (thrown.code === 'ECONNRESET' || socket.destroyed) return;
  const [status, reason, what] =
    thrown.code === 'ERR_HTTP_REQUEST_TIMEOUT'
      ? [408, 'Request Timeout', 'The request did not arrive in time; send it again.']
      : thrown.code === 'HPE_HEADER_OVERFLOW'
        ? [431, 'Request Header Fields Too Large', 'The headers are too large; send fewer.']
        : [400, 'Bad Request', 'This is not an HTTP request; send HTTP/1.1.'];
  if (socket.writable) socket.write(rawAnswer(status, reason, new HttpRefusal(status, what)));
  socket.destroy(thrown);
}

/** A whole response for whom there is no request. */
function rawAnswer(status: number, reason: string, thrown: ButterflyError): string {
  const { error, headers } = toHttpFailure(thrown);
  const body = JSON.stringify(errorBody(error));
  const fields = Object.entries({
    'content-type': 'application/json',
    'content-length': String(body.length),
    connection: 'close',
    ...(status === 429 ? { 'retry-after': '1' } : {}),
    ...headers,
  }).map(([name, value]) => `${name}: ${value}`);
  return [`HTTP/1.1 ${status} ${reason}`, ...fields, '', body].join('\r\n');
}

/**
 * Mounts the API inside any server that speaks `fetch`. Who may ask is that server's business: it stands before this one.
 * Hosts are not looked at either, for the same reason.
 */
export function createFetchHandler(context: ApiContext): FetchHandler {
  return fetchHandlerOf(createApi(context));
}

/** The HTTP API while it listens. */
export interface ListeningApi {
  readonly port: number;
  /** When its certificate ends, in milliseconds since 1970; null without one. Of those that replace it an event tells. */
  readonly certificateEndsMs: number | null;
  /** Leaves the answers that a journal keeps to the server that comes next; their clients are to ask that one. */
  suspend(): Promise<void>;
  /** Lets the answers that are under way end, for `deadlines.drainMs`, and then cuts every connection. */
  close(): Promise<void>;
}

/**
 * Offers what the context has over HTTP.
 * @param address port 0 lets the system choose
 * @throws ButterflyError PORT_IN_USE, ADDRESS_INVALID; CONFIG_INVALID for a certificate that cannot be used
 */
export async function startApi(
  context: ApiContext,
  address: { readonly host: string; readonly port: number; readonly tls?: CertificateFiles | undefined },
): Promise<ListeningApi> {
  const { host, port: wantedPort, tls } = address;
  const certificate = tls ? await ServedCertificate.open(tls) : null;
  const names = [host, ...context.http.hostNames].map(hostName);
  const named = { ...context, http: { ...context.http, hostNames: names } };
  const resumables = new ResumableAnswers(named);
  const api = createApi(named, certificate?.texts, usualBounds, resumables);
  try {
    await api.listen({ host, port: wantedPort });
  } catch (cause) {
    await api.close();
    throw listenError(host, wantedPort, cause);
  }
  const stopFollowing = certificate?.follow(
    api.server as unknown as SecureServer,
    context.clock,
    context.observe,
  );
  const bound = api.server.address();
  const port = typeof bound === 'object' && bound ? bound.port : wantedPort;
  return {
    port,
    certificateEndsMs: certificate?.endsMs ?? null,
    suspend: () => resumables.suspend(),
    close: async () => {
      stopFollowing?.();
      await api.close();
    },
  };
}
