import type { FastifyInstance, FastifyReply, FastifyRequest, HTTPMethods } from 'fastify';
import { addClusterRoutes } from './admin/cluster-routes.js';
import { answer, requireModel } from './answers/answer.js';
import type { ApiContext } from './context.js';
import { HttpRefusal } from './http/errors.js';
import { parseChatRequest, parseTextRequest } from './openai/parse.js';
import { addResponseRoutes } from './responses/routes.js';

type Method = 'GET' | 'POST' | 'DELETE';
type Handler = (request: FastifyRequest, reply: FastifyReply) => unknown;

/** Adds all routes; each path answers 405 to the methods that it does not have. */
export function addRoutes(app: FastifyInstance, context: ApiContext): void {
  const add = (method: Method, url: string, handler: Handler) => addPath(app, url, { [method]: handler });

  add('POST', '/v1/chat/completions', (request, reply) =>
    answer(context, reply, parseChatRequest(request.body)),
  );
  add('POST', '/v1/completions', (request, reply) => answer(context, reply, parseTextRequest(request.body)));

  addResponseRoutes((url, handlers) => addPath(app, url, handlers), context);

  const { id, createdS } = context.model;
  const model = { id, object: 'model', created: createdS, owned_by: 'butterfly' };
  const list = { object: 'list', data: [model] };
  add('GET', '/v1/models', () => list);
  // The rest of the path, since ids may have slashes.
  add('GET', '/v1/models/*', (request) => {
    const asked = (request.params as { readonly '*': string })['*'].replace(/\/$/, '');
    if (asked === '') return list;
    requireModel(context, asked);
    return model;
  });

  add('GET', '/health', () => ({ status: 'ok' }));
  add('GET', '/ready', (_request, reply) => {
    const { ready, detail, running, queued } = context.model.engine.status();
    if (!ready) void reply.code(503);
    return { ready, detail, running, queued };
  });

  if (context.administration) addClusterRoutes(add, context.administration);
}

function addPath(app: FastifyInstance, url: string, handlers: Partial<Record<Method, Handler>>): void {
  for (const [method, handler] of Object.entries(handlers)) app.route({ method, url, handler });
  // Fastify answers HEAD wherever there is GET.
  const methods = Object.keys(handlers);
  const allowed: readonly HTTPMethods[] = methods.flatMap((method) =>
    method === 'GET' ? ['GET', 'HEAD'] : [method],
  );
  const refusal = (request: FastifyRequest): HttpRefusal => {
    const isPreflight =
      request.method === 'OPTIONS' && request.headers['access-control-request-method'] !== undefined;
    return new HttpRefusal(
      405,
      isPreflight
        ? `Pages of ${request.headers.origin ?? 'another origin'} may not ask here; "serve --cors ORIGIN" lets them.`
        : `${request.method} is not possible on ${request.url}; use ${methods.join(' or ')}.`,
      { allow: allowed.join(', ') },
    );
  };
  app.route({
    method: app.supportedMethods.filter((other) => !allowed.includes(other)),
    url,
    // Before the body is read: whatever it holds, the method is what is wrong.
    onRequest: (request, _reply, done) => {
      done(refusal(request));
    },
    handler: (request) => {
      throw refusal(request);
    },
  });
}
