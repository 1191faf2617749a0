import { ButterflyError } from '@butterfly/common';
import type { FastifyReply } from 'fastify';
import { visitOf } from '../access/visit.js';
import type { AddRoute } from '../http/add-route.js';
import { fromStart } from './answer-log.js';
import { streamAnswer, wholeAnswer } from './connected-answer.js';
import type { ParsedRequest } from './dialect.js';
import { followAnswer } from './follow-answer.js';
import { bodyHash, type KeptAnswer } from './kept-answer.js';
import { requireModel } from './models.js';
import { nameWithoutEffect } from './no-effect.js';
import type { ResumableAnswer } from './resumable-answer.js';
import type { ApiServing, ReadRequest } from './resumable-answers.js';
import { type AnswerHandle, handleText } from './answer-handle.js';
import { resumeWish, type ResumeWish } from './resume-wish.js';

/**
 * Runs the request and answers it, at once or as a stream. A client that goes away cancels it, unless it named a way to come back.
 * @returns the body to send, or undefined when it went out as a stream.
 * @throws ButterflyError for failures that can still be an HTTP status.
 */
export async function answer(
  serving: ApiServing,
  reply: FastifyReply,
  asked: ParsedRequest,
): Promise<object | undefined> {
  nameWithoutEffect(reply, asked.withoutEffect);
  requireModel(serving, reply.request, asked.model);
  const wish = resumeWish(reply.request);
  if (wish) return resumableAnswer(serving, reply, asked, wish);
  return asked.stream ? streamAnswer(serving, reply, asked) : wholeAnswer(serving, reply, asked);
}

/** Adds a path where every request is answered so. */
export function addAnswers(add: AddRoute, serving: ApiServing, url: string, read: ReadRequest): void {
  serving.resumables.reads(url, read);
  add('POST', url, (request, reply) => answer(serving, reply, read(request.body)));
}

/**
 * Answers a request to which its client may come back: begins the answer, or goes on with the one that there is.
 * @returns as `followAnswer`
 * @throws ButterflyError NOT_FOUND for a client that wants the rest of what is not there; REQUEST_INVALID for a key of another request;
 * as `ResumableAnswers.begin`
 */
async function resumableAnswer(
  serving: ApiServing,
  reply: FastifyReply,
  asked: ParsedRequest,
  { handle, heard }: ResumeWish,
): Promise<object | undefined> {
  if (heard === null) {
    const answer = await beginResumable(serving, reply, asked, handle);
    return followAnswer(serving, reply, answer, fromStart);
  }
  const answer = await serving.resumables.find(handleText(handle, visitOf(reply.request).tenant));
  if (!answer)
    throw new ButterflyError(
      'NOT_FOUND',
      `Nothing is left of the answer that Last-Event-ID goes on with; send the request without it to begin anew.`,
      { param: 'Last-Event-ID' },
    );
  checkSame(answer, reply);
  reply.header('idempotent-replayed', 'true');
  return followAnswer(serving, reply, answer, heard);
}

/** @throws ButterflyError as `ResumableAnswers.begin`; REQUEST_INVALID, REQUEST_UNSUPPORTED */
export async function beginResumable(
  serving: ApiServing,
  reply: FastifyReply,
  asked: ParsedRequest,
  handle: AnswerHandle | null,
): Promise<ResumableAnswer> {
  const { request } = reply;
  const { spec, encoding } = asked;
  const { choices, candidates, input } = spec;
  if (candidates > choices && input.kind === 'several')
    throw new ButterflyError(
      'REQUEST_UNSUPPORTED',
      'best_of with several prompts cannot be resumed; send one prompt in each request.',
      { param: 'best_of' },
    );
  const visit = visitOf(request);
  const answerId = encoding.newId();
  const kept: KeptAnswer = {
    requestId: request.id,
    handle: handle ?? { kind: 'response', id: answerId },
    tenant: visit.tenant,
    priority: visit.priorityOf(spec.priority),
    model: requireModel(serving, request, asked.model).id,
    url: request.routeOptions.url ?? '',
    bodyHash: bodyHash(request.body),
    seed: spec.sampling.seed,
    answerId,
    createdS: Math.floor(Date.now() / 1000),
    deadlineMs: Date.now() + spec.timeoutMs,
  };
  const answer = await serving.resumables.begin({ kept, body: request.body, asked, visit });
  if (answer.kept.requestId === request.id) return answer;
  checkSame(answer, reply);
  reply.header('idempotent-replayed', 'true');
  return answer;
}

/** @throws ButterflyError REQUEST_INVALID */
function checkSame({ kept }: ResumableAnswer, { request }: FastifyReply): void {
  if (kept.url === request.routeOptions.url && kept.bodyHash === bodyHash(request.body)) return;
  throw new ButterflyError(
    'REQUEST_INVALID',
    `${kept.handle.kind === 'key' ? 'Idempotency-Key' : 'X-Conversation-Id'} is that of another request; take another one.`,
  );
}
