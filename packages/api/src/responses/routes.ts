import { ButterflyError, limits } from '@butterfly/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import { answer, answerInBackground, provisionalHead } from '../answers/answer.js';
import { requireModel } from '../answers/models.js';
import type { ParsedRequest } from '../answers/dialect.js';
import type { ApiContext } from '../context.js';
import { invalid, parseBody, unsupportedField } from '../fields/parse-body.js';
import { publicError } from '../http/errors.js';
import type { Item } from './items.js';
import { Responses } from './memory.js';
import { parseResponseRequest } from './parse.js';

type Handler = (request: FastifyRequest, reply: FastifyReply) => unknown;
type Add = (url: string, handlers: Partial<Record<'GET' | 'POST' | 'DELETE', Handler>>) => void;

/** `/v1/responses` and what is kept of them. */
export function addResponseRoutes(add: Add, context: ApiContext): void {
  const responses = new Responses(context.clock);
  const idOf = ({ params }: FastifyRequest) => (params as { readonly id: string }).id;

  add('/v1/responses', {
    POST: async (request, reply) => {
      const asked = parseResponseRequest(request.body, responses);
      if (!asked.isBackground) return answerOrFail(context, reply, asked);
      return responses.response(await answerInBackground(context, reply, asked));
    },
  });
  add('/v1/responses/:id', {
    GET: (request) => {
      const { stream } = request.query as { readonly stream?: unknown };
      if (stream === 'true')
        throw unsupportedField('stream', 'a response that began cannot be streamed again; ask without it');
      return responses.response(idOf(request));
    },
    DELETE: (request) => {
      const id = idOf(request);
      responses.delete(id);
      return { id, object: 'response', deleted: true };
    },
  });
  add('/v1/responses/:id/input_items', {
    GET: (request) => page(responses.input(idOf(request)), request.query),
  });
  add('/v1/responses/:id/cancel', { POST: (request) => responses.cancel(idOf(request)) });
}

/**
 * A stream tells in its events that the input is too long, as OpenAI's does: agents look for it there alone, and shorten
 * their history.
 */
async function answerOrFail(
  context: ApiContext,
  reply: FastifyReply,
  asked: ParsedRequest,
): Promise<object | undefined> {
  try {
    return await answer(context, reply, asked);
  } catch (thrown) {
    if (!asked.stream || !(thrown instanceof ButterflyError) || thrown.code !== 'CONTEXT_EXCEEDED')
      throw thrown;
    const { encoding } = asked;
    const requestId = reply.request.id;
    context.observe({ kind: 'streamBroken', requestId, isClientGone: false, error: thrown });
    const head = provisionalHead(reply, asked, requireModel(context, reply.request, asked.model).id);
    return reply
      .header('content-type', encoding.form.contentType)
      .header('cache-control', 'no-cache')
      .header('x-butterfly-code', thrown.code)
      .send(encoding.stream(head).failure(publicError(thrown, requestId)));
  }
}

const pageQuery = z.looseObject({
  limit: z.coerce.number().int().min(1).max(limits.itemsPerPageMax).default(20),
  order: z.enum(['asc', 'desc']).default('desc'),
  after: z.string().optional(),
});

/** @throws ButterflyError REQUEST_INVALID */
function page(items: readonly Item[], query: unknown): object {
  const { limit, order, after } = parseBody(pageQuery, query);
  const ordered = order === 'asc' ? items : items.toReversed();
  const start = after === undefined ? 0 : ordered.findIndex(({ id }) => id === after) + 1;
  if (after !== undefined && start === 0) throw invalid('after', 'names no item of this response');
  const data = ordered.slice(start, start + limit);
  return {
    object: 'list',
    data,
    first_id: data[0]?.id ?? null,
    last_id: data.at(-1)?.id ?? null,
    has_more: start + data.length < ordered.length,
  };
}
