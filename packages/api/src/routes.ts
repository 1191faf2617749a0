import type { FastifyInstance, FastifyRequest, HTTPMethods } from 'fastify';
import { addClusterRoutes } from './admin/cluster-routes.js';
import { addAnthropicRoutes } from './anthropic/routes.js';
import type { ApiContext } from './context.js';
import type { AddRoute } from './http/add-route.js';
import { HttpRefusal } from './http/errors.js';
import { addOllamaRoutes } from './ollama/routes.js';
import { addOpenaiRoutes } from './openai/routes.js';
import { addTextRoutes } from './text-tools/routes.js';

/** Adds all routes; each path answers 405 to the methods that it does not have. */
export function addRoutes(app: FastifyInstance, context: ApiContext): void {
  const add: AddRoute = (method, url, handler) => addRoute(app, method, url, handler);

  addOpenaiRoutes(add, context);
  addAnthropicRoutes(add, context);
  addOllamaRoutes(add, context);
  addTextRoutes(add, context);

  add('GET', '/health', () => ({ status: 'ok' }));
  add('GET', '/ready', (_request, reply) => {
    const { ready, detail, running, queued } = context.model.engine.status();
    if (!ready) void reply.code(503);
    return { ready, detail, running, queued };
  });

  if (context.administration) addClusterRoutes(add, context.administration);
}

function addRoute(app: FastifyInstance, ...[method, url, handler]: Parameters<AddRoute>): void {
  app.route({ method, url, handler });
  // Fastify answers HEAD wherever there is GET.
  const allowed: readonly HTTPMethods[] = method === 'GET' ? ['GET', 'HEAD'] : [method];
  const refusal = (request: FastifyRequest): HttpRefusal => {
    const isPreflight =
      request.method === 'OPTIONS' && request.headers['access-control-request-method'] !== undefined;
    return new HttpRefusal(
      405,
      isPreflight
        ? `Pages of ${request.headers.origin ?? 'another origin'} may not ask here; "serve --cors ORIGIN" lets them.`
        : `${request.method} is not possible on ${request.url}; use ${method}.`,
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
