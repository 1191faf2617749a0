import { ButterflyError, limits } from '@butterfly/common';
import type { FastifyRequest } from 'fastify';
import { fromStart, type HeardOf } from './answer-log.js';
import type { AnswerHandle } from './answer-handle.js';

/** What a request says of that. */
export interface ResumeWish {
  readonly handle: AnswerHandle;
  /** What of the answer is known already; null where nothing was said of that. */
  readonly heard: HeardOf | null;
}

/**
 * Whether the answer is to outlive the connection, and by what it is found again; null where nobody asked for that.
 * @throws ButterflyError REQUEST_INVALID
 */
export function resumeWish(request: FastifyRequest): ResumeWish | null {
  const conversation = headerOf(request, 'x-conversation-id');
  const key = headerOf(request, 'idempotency-key');
  const heard = lastEvent(request);
  if (conversation !== null && key !== null)
    throw invalid('Idempotency-Key', 'cannot be sent beside X-Conversation-Id; send one of them');
  const handle: AnswerHandle | null =
    key !== null
      ? { kind: 'key', id: key }
      : conversation === null
        ? null
        : { kind: 'conversation', id: conversation };
  if (handle) return { handle, heard };
  if (heard === null) return null;
  throw invalid(
    'Last-Event-ID',
    'needs the Idempotency-Key or X-Conversation-Id of the request that it goes on with',
  );
}

/** Behind which event of a stream a client wants the rest; null where it does not say. @throws ButterflyError REQUEST_INVALID */
export function lastEvent(request: FastifyRequest): HeardOf | null {
  const text = headerOf(request, 'last-event-id');
  return text === null ? null : behindEvent(text, 'Last-Event-ID');
}

/** @param text the number of an event, from 0 @throws ButterflyError REQUEST_INVALID */
export function behindEvent(text: string, param: string): HeardOf {
  return { kind: 'events', events: countOf(text, param) + 1 };
}

/** @param text a number of bytes; absent for none @throws ButterflyError REQUEST_INVALID */
export function behindBytes(text: string | undefined, param: string): HeardOf {
  return text === undefined || text === '' ? fromStart : { kind: 'bytes', bytes: countOf(text, param) };
}

/** @throws ButterflyError REQUEST_INVALID */
export function checkedHandleId(id: string, param: string): string {
  if (id.length > limits.answerHandleCharactersMax || !/^[\x20-\x7e]+$/.test(id))
    throw invalid(param, `must have 1 to ${limits.answerHandleCharactersMax} printable characters of ASCII`);
  return id;
}

function headerOf({ headers }: FastifyRequest, name: string): string | null {
  const value = headers[name];
  if (typeof value !== 'string' || value === '') return null;
  return checkedHandleId(value, name);
}

function countOf(text: string, param: string): number {
  if (!/^\d{1,15}$/.test(text))
    throw invalid(param, `must be a whole number from 0, not "${text.slice(0, 40)}"`);
  return Number(text);
}

const invalid = (param: string, reason: string): ButterflyError =>
  new ButterflyError('REQUEST_INVALID', `${param} ${reason}.`, { param });
