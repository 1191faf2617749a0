import { limits, observerOfModel } from '@butterfly/common';
import { AnswerCollector, startAnswer, type Answering } from '@butterfly/generation';
import type { FastifyReply } from 'fastify';
import { type Visit, visitOf } from '../access/visit.js';
import type { ApiContext, ServedModel } from '../context.js';
import { publicError, toHttpFailure } from '../http/errors.js';
import { OpenStream } from '../http/open-stream.js';
import { onClientGone } from '../http/open-responses.js';
import type { ParsedRequest, ResponseHead, StreamEncoder } from './dialect.js';
import { requireModel, useModel } from './models.js';
import { serverTiming } from './server-timing.js';

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
  nameWithoutEffect(reply, asked.withoutEffect);
  requireModel(context, reply.request, asked.model);
  return asked.stream ? streamAnswer(context, reply, asked) : wholeAnswer(context, reply, asked);
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
  nameWithoutEffect(reply, asked.withoutEffect);
  const begun = await begin(context, reply, asked);
  const { id, requestId } = begun.head;
  const encoder = asked.encoding.stream(begun.head);
  begun.answering
    .run((event) => void encoder.encode(event))
    .catch((thrown: unknown) => {
      const { error } = toHttpFailure(thrown);
      context.observe({ kind: 'streamBroken', requestId, isClientGone: error.code === 'CANCELLED', error });
      encoder.failure(publicError(error, requestId));
    })
    .finally(() => begun[Symbol.dispose]());
  return id;
}

/** A request on its way to its answer, whose model stays loaded until it is disposed. */
interface Begun extends Disposable {
  readonly head: ResponseHead;
  readonly answering: Answering;
}

/** Waits for the model, where it is not loaded. */
async function begin(context: ApiContext, reply: FastifyReply, asked: ParsedRequest): Promise<Begun> {
  const use = await useModel(context, reply.request, asked.model, asked.keepMs);
  const { model } = use;
  const visit = visitOf(reply.request);
  const startMs = context.clock.nowMs();
  const requestId = reply.request.id;
  const observe = observerOfModel(context.observe, model.id);
  try {
    const answering = await startFor(visit, model, { ...asked, requestId }, context);
    const head: ResponseHead = {
      ...provisionalHead(reply, asked, model.id),
      promptTokens: answering.promptTokens,
    };
    const { promptTokens } = answering;
    const tenant = visit.tenant ?? null;
    observe({ kind: 'requestBegun', requestId, tenant, isStream: asked.stream, promptTokens });
    const watched = asked.encoding.begun?.(head, () => answering.cancel());
    const ended = (): void => {
      watched?.();
      visit.settle(answering.promptTokens + answering.outputTokens);
      use[Symbol.dispose]();
      const totalMs = Math.round(context.clock.nowMs() - startMs);
      const { promptTokens, outputTokens } = answering;
      const tokens = { promptTokens, outputTokens };
      observe({ kind: 'requestEnded', requestId, completionId: head.id, totalMs, ...tokens });
    };
    return { head, answering, [Symbol.dispose]: ended };
  } catch (error) {
    use[Symbol.dispose]();
    throw error;
  }
}

/** Of an answer that has not begun. */
export function provisionalHead(
  reply: FastifyReply,
  { encoding }: ParsedRequest,
  model: string,
): ResponseHead {
  const createdS = Math.floor(Date.now() / 1000);
  return { id: encoding.newId(), createdS, model, requestId: reply.request.id, promptTokens: 0 };
}

/** Starts an answer on behalf of whoever asked, who pays for it in advance, as far as its key is limited. */
async function startFor(
  visit: Visit,
  model: ServedModel,
  { spec, requestId }: ParsedRequest & { readonly requestId: string },
  { clock }: ApiContext,
): Promise<Answering> {
  const { tenant } = visit;
  const priority = visit.priorityOf(spec.priority);
  try {
    const charge = (tokens: number, answers: number): void => visit.charge(tokens, answers);
    return await startAnswer(model, { ...spec, tenant, priority, requestId }, clock, charge);
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

async function wholeAnswer(context: ApiContext, reply: FastifyReply, asked: ParsedRequest): Promise<object> {
  using begun = await begin(context, reply, asked);
  const { answering, head } = begun;
  const stopWatching = onClientGone(reply.request, () => answering.cancel());
  try {
    const collector = new AnswerCollector();
    await answering.run((event) => collector.take(event));
    const whole = collector.whole();
    reply.header('server-timing', serverTiming(whole.timing));
    return asked.encoding.whole(head, whole);
  } finally {
    stopWatching();
  }
}

/** It may open, and break its silence, while its model is loaded. */
async function streamAnswer(
  context: ApiContext,
  reply: FastifyReply,
  asked: ParsedRequest,
): Promise<undefined> {
  const requestId = reply.request.id;
  const { id, state } = requireModel(context, reply.request, asked.model);
  const atOnce = state === 'loaded' ? await begin(context, reply, asked) : null;
  let encoder: StreamEncoder | null = null;
  let cancel: () => void = () => undefined;
  using stream = new OpenStream(reply, asked.encoding.form, {
    clock: context.clock,
    keepAliveMs: context.http.keepAliveMs,
    opening: () => encoder?.opening?.() ?? '',
    onOverflow: () => {
      cancel();
      context.observe({ kind: 'readerTooSlow', requestId });
    },
  });
  try {
    using begun = atOnce ?? (await begin(context, reply, asked));
    const { answering, head } = begun;
    const sending = asked.encoding.stream(head);
    encoder = sending;
    if (stream.opened) stream.send(sending.opening?.() ?? '');
    cancel = () => answering.cancel();
    const stopWatching = onClientGone(reply.request, cancel);
    try {
      await answering.run((event) => stream.send(sending.encode(event)));
    } finally {
      stopWatching();
    }
  } catch (thrown) {
    if (!stream.opened) throw thrown;
    const { error } = toHttpFailure(thrown);
    context.observe({ kind: 'streamBroken', requestId, isClientGone: reply.raw.destroyed, error });
    encoder ??= asked.encoding.stream(provisionalHead(reply, asked, id));
    stream.send(encoder.failure(publicError(error, requestId)));
  }
  stream.end();
  return undefined;
}
