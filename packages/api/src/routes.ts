import type { FastifyInstance, FastifyRequest, HTTPMethods } from 'fastify';
import type { RouteAccess } from './access/let-in.js';
import { addClusterRoutes } from './admin/cluster-routes.js';
import { addAnthropicRoutes } from './anthropic/routes.js';
import type { ApiServing } from './answers/resumable-answers.js';
import { addEmbeddingRoutes } from './embeddings/routes.js';
import type { AddRoute, RouteHandlers } from './http/add-route.js';
import { HttpRefusal } from './http/errors.js';
import { pathOf } from './http/path.js';
import { addInfillRoutes } from './infill/routes.js';
import { addOllamaRoutes } from './ollama/routes.js';
import { addOpenaiRoutes } from './openai/routes.js';
import { addPageRoutes } from './page/routes.js';
import { addResponseRoutes } from './responses/routes.js';
import { addResumptionRoutes } from './resumption/routes.js';
import { addTextRoutes } from './text-tools/routes.js';

/** Adds all routes; each path answers 405 to the methods that it does not have. */
export function addRoutes(app: FastifyInstance, context: ApiServing): void {
  const adder =
    (access: RouteAccess): AddRoute =>
    (method, url, handler) =>
      addPath(app, url, { [method]: handler }, access);
  const add = adder('key');
  const addOpen = adder('everybody');

  addOpenaiRoutes(add, context);
  addResponseRoutes((url, handlers) => addPath(app, url, handlers, 'key'), context);
  addAnthropicRoutes(add, context);
  addInfillRoutes(add, context);
  addEmbeddingRoutes(add, context);
  addOllamaRoutes(add, context);
  addTextRoutes(add, context);
  addResumptionRoutes((url, handlers) => addPath(app, url, handlers, 'key'), context);

  addOpen('GET', '/health', () => ({ status: 'ok' }));
  addOpen('GET', '/ready', (_request, reply) => {
    const { ready, detail, running, queued } = context.models.status();
    if (!ready) void reply.code(503);
    return { ready, detail, running, queued };
  });

  if (!context.administration) return;
  addClusterRoutes(adder('administrator'), context.administration, context);
  addPageRoutes(addOpen);
}

function addPath(app: FastifyInstance, url: string, handlers: RouteHandlers, access: RouteAccess): void {
  const config = { access };
  for (const [method, handler] of Object.entries(handlers)) app.route({ method, url, handler, config });
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
        : `${request.method} is not possible on ${pathOf(request.url)}; use ${methods.join(' or ')}.`,
      { allow: allowed.join(', ') },
    );
  };
  app.route({
    method: app.supportedMethods.filter((other) => !allowed.includes(other)),
    url,
    config,
    // Before the body is read: whatever it holds, the method is what is wrong.
    onRequest: (request, _reply, done) => {
      done(refusal(request));
    },
    handler: (request) => {
      throw refusal(request);
    },
  });
}
