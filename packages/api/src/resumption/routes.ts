import { ButterflyError, limits } from '@butterfly/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import { visitOf } from '../access/visit.js';
import { followAnswer } from '../answers/follow-answer.js';
import type { ResumableAnswer } from '../answers/resumable-answer.js';
import { handleText } from '../answers/answer-handle.js';
import { behindBytes, checkedHandleId, lastEvent, resumeWish } from '../answers/resume-wish.js';
import type { ApiServing } from '../answers/resumable-answers.js';
import { parseBody } from '../fields/parse-body.js';
import type { RouteHandlers } from '../http/add-route.js';

const streamQuery = z.looseObject({ conv_id: z.string().default(''), from: z.string().optional() });
const lookupBody = z.looseObject({
  conversation_ids: z.array(z.string()).max(limits.conversationsLookedUpMax),
});

/** The answers of conversations, and of requests with an `Idempotency-Key`, as llama-server has them (`tools/server/server-stream.cpp`). */
export function addResumptionRoutes(
  add: (url: string, handlers: RouteHandlers) => void,
  serving: ApiServing,
): void {
  const { resumables } = serving;
  const conversationOf = (request: FastifyRequest, id: string): string =>
    handleText({ kind: 'conversation', id: checkedHandleId(id, 'conv_id') }, visitOf(request).tenant);
  const handleOf = (request: FastifyRequest, conversation: string): string => {
    const wish = conversation === '' ? resumeWish(request) : null;
    return wish === null
      ? conversationOf(request, conversation)
      : handleText(wish.handle, visitOf(request).tenant);
  };

  add('/v1/stream', {
    GET: async (request, reply) => {
      const { conv_id: conversation, from } = parseBody(streamQuery, request.query);
      const heard = lastEvent(request) ?? behindBytes(from, 'from');
      const answer = await resumables.find(handleOf(request, conversation));
      if (answer) return followAnswer(serving, reply, answer, heard);
      throw new ButterflyError(
        'NOT_FOUND',
        'conv_id: no answer of this conversation is kept; it was not begun with X-Conversation-Id, or is over for long.',
        { param: 'conv_id' },
      );
    },
    DELETE: async (request, reply: FastifyReply) => {
      const { conv_id: conversation } = parseBody(streamQuery, request.query);
      await resumables.drop(handleOf(request, conversation));
      return reply.code(204).send();
    },
  });
  add('/v1/streams/lookup', {
    POST: async (request) => {
      const { conversation_ids: ids } = parseBody(lookupBody, request.body);
      const found = new Map<string, ResumableAnswer>();
      for (const id of ids.filter((each) => each !== ''))
        for (const [handle, answer] of await resumables.lookup(conversationOf(request, id)))
          found.set(handle, answer);
      return [...found.values()].map(conversationEntry);
    },
  });
}

function conversationEntry({ kept, state, log, endedS }: ResumableAnswer): object {
  return {
    conversation_id: kept.handle.id,
    is_done: state !== 'running',
    total_bytes: log.bytes,
    started_at: kept.createdS,
    completed_at: endedS ?? 0,
  };
}
