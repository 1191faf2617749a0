import type { Observer, TraceContext } from '@butterfly/common';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { onResponseOver } from '../http/open-responses.js';
import { isBelow } from '../http/path.js';
import type { Gate, RateListener } from './gate.js';
import { anthropicRateHeaders, openaiRateHeaders } from './rate-headers.js';
import { shownKey } from './shown-key.js';
import { rememberVisit, Visit } from './visit.js';

/** Who may ask: everybody, whoever has a key, or an administrator, whom the route itself knows. */
export type RouteAccess = 'everybody' | 'key' | 'administrator';

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Where nothing is said, a key is needed. */
    readonly access?: RouteAccess;
  }
}

/** Asks who each request is from before its body is read, and counts it. What asks for work is told of, let in or not. */
export function letIn(app: FastifyInstance, gate: Gate, observe: Observer): void {
  app.addHook('onRequest', async (request, reply) => {
    const { access = 'key' } = request.routeOptions.config;
    // Browsers ask beforehand without a key, and nothing is ever found under this method.
    if (access === 'everybody' || request.method === 'OPTIONS') return;
    const { id: requestId, method, routeOptions } = request;
    if (access === 'key' && method === 'POST')
      observe({
        ...{ kind: 'requestArrived', requestId, route: `${method} ${routeOptions.url ?? ''}` },
        ...traceOf(request),
      });
    if (access === 'administrator') await recogniseAdministrator(gate, request);
    else await admit(gate, request, reply);
  });
}

/** There are other ways to be one than a key. */
async function recogniseAdministrator(gate: Gate, request: FastifyRequest): Promise<void> {
  const key = await gate.recogniseOwn(shownKey(request.headers));
  if (key) rememberVisit(request, new Visit(key));
}

async function admit(gate: Gate, request: FastifyRequest, reply: FastifyReply): Promise<void> {
  const key = await gate.recognise(shownKey(request.headers));
  if (key === null || isFree(request)) {
    rememberVisit(request, new Visit(key));
    return;
  }
  const { meter, end } = gate.begin(key, headersOf(request, reply));
  onResponseOver(request, reply.raw, end);
  rememberVisit(request, new Visit(key, meter));
}

function headersOf({ url }: FastifyRequest, reply: FastifyReply): RateListener {
  return {
    standing: (limits, state) => {
      if (reply.sent) return;
      reply.headers(openaiRateHeaders(limits, state));
      if (isBelow(url, '/v1/messages')) reply.headers(anthropicRateHeaders(limits, state, Date.now()));
    },
    refused: ({ retryAfterMs }) => {
      reply.header('retry-after', Math.max(1, Math.ceil(retryAfterMs / 1_000)));
    },
  };
}

/** Looking costs next to nothing, and whoever has all that it may have must be able to end some of it. */
function isFree({ method, routeOptions }: FastifyRequest): boolean {
  return method !== 'POST' || (routeOptions.url ?? '').endsWith('/cancel');
}

/** What its client says of the trace that it is part of; nothing where that is not said, or twice. */
function traceOf({ headers }: FastifyRequest): { readonly trace?: TraceContext } {
  const { traceparent, tracestate } = headers;
  if (typeof traceparent !== 'string') return {};
  return { trace: { traceparent, ...(typeof tracestate === 'string' ? { tracestate } : {}) } };
}
