import { ButterflyError, limits } from '@butterfly/common';
import type { FastifyInstance, FastifyReply, FastifyRequest, HTTPMethods } from 'fastify';
import { answer } from './openai/answer.js';
import { addClusterRoutes } from './admin/cluster-routes.js';
import { generateRequest } from './openai/completions.js';
import type { ApiContext } from './context.js';
import { HttpRefusal } from './http/errors.js';
import { chatPrompt, textPrompt } from './openai/prompt.js';
import { chatShape, textShape } from './openai/response-shapes.js';
import { parseChatRequest, parseTextRequest } from './openai/schemas.js';

type Handler = (request: FastifyRequest, reply: FastifyReply) => unknown;

/** Adds all routes; each path answers 405 to the methods that it does not have. */
export function addRoutes(app: FastifyInstance, context: ApiContext): void {
  const add = (method: 'GET' | 'POST', url: string, handler: Handler) => addRoute(app, method, url, handler);

  add('POST', '/v1/chat/completions', async (request, reply) => {
    const chat = parseChatRequest(request.body);
    nameWithoutEffect(reply, chat.withoutEffect);
    if (chat.model !== null) requireModel(context, chat.model);
    const prompt = await chatPrompt(context, chat.messages);
    return answer(context, reply, generateRequest(context, prompt, chat, 'messages'), chat, chatShape);
  });

  add('POST', '/v1/completions', async (request, reply) => {
    const text = parseTextRequest(request.body);
    nameWithoutEffect(reply, text.withoutEffect);
    if (text.model !== null) requireModel(context, text.model);
    const prompt = await textPrompt(context, text.prompt);
    return answer(context, reply, generateRequest(context, prompt, text, 'prompt'), text, textShape);
  });

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
    const { ready, detail, running, queued } = context.engine.status();
    if (!ready) void reply.code(503);
    return { ready, detail, running, queued };
  });

  if (context.administration) addClusterRoutes(add, context.administration);
}

/** Says which fields were let through although they change nothing: names alone, and few. */
function nameWithoutEffect(reply: FastifyReply, names: readonly string[]): void {
  if (names.length === 0) return;
  const shown = names.slice(0, limits.fieldsReportedMax);
  if (shown.length < names.length) shown.push('...');
  reply.header('x-butterfly-no-effect', shown.join(', '));
}

function requireModel(context: ApiContext, id: string): void {
  if (id === context.model.id) return;
  throw new ButterflyError(
    'NOT_FOUND',
    `There is no model "${id}" here; this server has "${context.model.id}".`,
    {
      param: 'model',
    },
  );
}

function addRoute(app: FastifyInstance, method: 'GET' | 'POST', url: string, handler: Handler): void {
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
