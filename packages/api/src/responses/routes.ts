import { ButterflyError, limits } from '@butterfly/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import { answer, beginResumable } from '../answers/answer.js';
import { provisionalHead } from '../answers/connected-answer.js';
import { nameWithoutEffect } from '../answers/no-effect.js';
import { requireModel } from '../answers/models.js';
import type { ParsedRequest } from '../answers/dialect.js';
import { fromStart } from '../answers/answer-log.js';
import { followAnswer } from '../answers/follow-answer.js';
import { handleText } from '../answers/answer-handle.js';
import { behindEvent } from '../answers/resume-wish.js';
import type { ApiServing } from '../answers/resumable-answers.js';
import { visitOf } from '../access/visit.js';
import { invalid, parseBody, unsupportedField } from '../fields/parse-body.js';
import { publicError } from '../http/errors.js';
import type { Item } from './items.js';
import { Responses } from './memory.js';
import { parseResponseRequest } from './parse.js';

type Handler = (request: FastifyRequest, reply: FastifyReply) => unknown;
type Add = (url: string, handlers: Partial<Record<'GET' | 'POST' | 'DELETE', Handler>>) => void;

/** `/v1/responses` and what is kept of them. */
export function addResponseRoutes(add: Add, context: ApiServing): void {
  const responses = new Responses(context.clock);
  context.resumables.reads('/v1/responses', (body) => parseResponseRequest(body, responses));
  const idOf = ({ params }: FastifyRequest) => (params as { readonly id: string }).id;

  add('/v1/responses', {
    POST: async (request, reply) => {
      const asked = parseResponseRequest(request.body, responses);
      return asked.isBackground
        ? answerInBackground(context, reply, asked, responses)
        : answerOrFail(context, reply, asked);
    },
  });
  add('/v1/responses/:id', {
    GET: (request, reply) => {
      const { stream, starting_after: after } = parseBody(streamQuery, request.query);
      if (stream === 'true') return streamAgain(context, reply, idOf(request), after, responses);
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

const streamQuery = z.looseObject({
  stream: z.string().optional(),
  starting_after: z.string().optional(),
});

/** It goes on whoever is there to hear of it, with this server too. */
async function answerInBackground(
  context: ApiServing,
  reply: FastifyReply,
  asked: ParsedRequest,
  responses: Responses,
): Promise<object | undefined> {
  nameWithoutEffect(reply, asked.withoutEffect);
  const answer = await beginResumable(context, reply, asked, null);
  if (asked.stream) return followAnswer(context, reply, answer, fromStart);
  return responses.response(answer.kept.answerId);
}

/** The stream of a response in the background. @throws ButterflyError NOT_FOUND, REQUEST_INVALID */
async function streamAgain(
  context: ApiServing,
  reply: FastifyReply,
  id: string,
  after: string | undefined,
  responses: Responses,
): Promise<object | undefined> {
  const heard = after === undefined ? fromStart : behindEvent(after, 'starting_after');
  const handle = handleText({ kind: 'response', id }, visitOf(reply.request).tenant);
  const answer = await context.resumables.find(handle);
  if (answer) return followAnswer(context, reply, answer, heard);
  responses.response(id);
  throw unsupportedField(
    'stream',
    'not supported for a response that was not begun with "background": true, or is over for long; ask without it',
  );
}

/**
 * A stream tells in its events that the input is too long, as OpenAI's does: agents look for it there alone, and shorten
 * their history.
 */
async function answerOrFail(
  context: ApiServing,
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
