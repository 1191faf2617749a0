import { limits } from '@butterfly/common';
import { AnswerCollector, startAnswer, type Answering } from '@butterfly/generation';
import type { FastifyReply } from 'fastify';
import { type Visit, visitOf } from '../access/visit.js';
import type { ApiContext, ServedModel } from '../context.js';
import { publicError, toHttpFailure } from '../http/errors.js';
import { OpenStream } from '../http/open-stream.js';
import { onClientGone } from '../http/open-responses.js';
import type { ParsedRequest, ResponseHead } from './dialect.js';
import { requireModel } from './models.js';

/** One request on its way to its answer. */
interface Job {
  readonly context: ApiContext;
  readonly reply: FastifyReply;
  readonly asked: ParsedRequest;
  readonly head: ResponseHead;
}

/**
 * Runs the request and answers it, at once or as a stream. A client that goes away cancels it.
 * @returns the body to send, or undefined when it went out as a stream.
 * @throws ButterflyError for failures that can still be an HTTP status.
 */
export async function answer(
  context: ApiContext,
  reply: FastifyReply,
  asked: ParsedRequest,
): Promise<object | undefined> {
  const { job, answering, ended } = await begin(context, reply, asked);
  const stopWatching = onClientGone(reply.request, () => answering.cancel());
  try {
    return await (asked.stream ? streamAnswer(job, answering) : wholeAnswer(job, answering));
  } finally {
    stopWatching();
    ended();
  }
}

/**
 * Begins the request, which goes on whoever is there to hear of it: its encoding takes the events, and whoever watches that
 * knows how it stands.
 * @returns the id of the answer
 * @throws ButterflyError for what is known at once
 */
export async function answerInBackground(
  context: ApiContext,
  reply: FastifyReply,
  asked: ParsedRequest,
): Promise<string> {
  const { job, answering, ended } = await begin(context, reply, asked);
  const { id, requestId } = job.head;
  const encoder = asked.encoding.stream(job.head);
  answering
    .run((event) => void encoder.encode(event))
    .catch((thrown: unknown) => {
      const { error } = toHttpFailure(thrown);
      context.observe({ kind: 'streamBroken', requestId, isClientGone: error.code === 'CANCELLED', error });
      encoder.failure(publicError(error, requestId));
    })
    .finally(ended);
  return id;
}

interface Begun {
  readonly job: Job;
  readonly answering: Answering;
  /** To be called at its end. */
  readonly ended: () => void;
}

async function begin(context: ApiContext, reply: FastifyReply, asked: ParsedRequest): Promise<Begun> {
  nameWithoutEffect(reply, asked.withoutEffect);
  const model = requireModel(context, reply.request, asked.model);
  const visit = visitOf(reply.request);
  const answering = await startFor(visit, model, asked, context);
  const startMs = context.clock.nowMs();
  const requestId = reply.request.id;
  const head: ResponseHead = {
    id: asked.encoding.newId(),
    createdS: Math.floor(Date.now() / 1000),
    model: model.id,
    requestId,
    promptTokens: answering.promptTokens,
  };
  const watched = asked.encoding.begun?.(head, () => answering.cancel());
  const ended = (): void => {
    watched?.();
    visit.settle(answering.promptTokens + answering.outputTokens);
    const totalMs = Math.round(context.clock.nowMs() - startMs);
    context.observe({ kind: 'requestEnded', requestId, completionId: head.id, totalMs });
  };
  return { job: { context, reply, asked, head }, answering, ended };
}

/** Starts an answer on behalf of whoever asked, who pays for it in advance, as far as its key is limited. */
async function startFor(
  visit: Visit,
  model: ServedModel,
  { spec }: ParsedRequest,
  { clock }: ApiContext,
): Promise<Answering> {
  const { tenant } = visit;
  const priority = visit.priorityOf(spec.priority);
  try {
    const charge = (tokens: number, answers: number): void => visit.charge(tokens, answers);
    return await startAnswer(model, { ...spec, tenant, priority }, clock, charge);
  } catch (error) {
    visit.settle(0);
    throw error;
  }
}

/** Says which fields were let through although they change nothing: names alone, and few. */
export function nameWithoutEffect(reply: FastifyReply, names: readonly string[]): void {
  if (names.length === 0) return;
  const shown = names.slice(0, limits.fieldsReportedMax);
  if (shown.length < names.length) shown.push('...');
  reply.header('x-butterfly-no-effect', shown.join(', '));
}

async function wholeAnswer({ asked, head }: Job, answering: Answering): Promise<object> {
  const collector = new AnswerCollector();
  await answering.run((event) => collector.take(event));
  return asked.encoding.whole(head, collector.whole());
}

async function streamAnswer({ context, reply, asked, head }: Job, answering: Answering): Promise<undefined> {
  const encoder = asked.encoding.stream(head);
  const requestId = reply.request.id;
  using stream = new OpenStream(reply, asked.encoding.form, {
    clock: context.clock,
    keepAliveMs: context.http.keepAliveMs,
    opening: () => encoder.opening?.() ?? '',
    onOverflow: () => {
      answering.cancel();
      context.observe({ kind: 'readerTooSlow', requestId });
    },
  });
  try {
    await answering.run((event) => stream.send(encoder.encode(event)));
  } catch (thrown) {
    if (!stream.opened) throw thrown;
    const { error } = toHttpFailure(thrown);
    context.observe({ kind: 'streamBroken', requestId, isClientGone: reply.raw.destroyed, error });
    stream.send(encoder.failure(publicError(error, requestId)));
  }
  stream.end();
  return undefined;
}
