import { AnswerCollector } from '@butterfly/generation';
import type { FastifyReply } from 'fastify';
import { visitOf } from '../access/visit.js';
import type { ApiContext } from '../context.js';
import { publicError, toHttpFailure } from '../http/errors.js';
import { OpenStream } from '../http/open-stream.js';
import { onClientGone } from '../http/open-responses.js';
import { beginAnswer, type Begun } from './begun.js';
import type { ParsedRequest, ResponseHead, StreamEncoder } from './dialect.js';
import { requireModel, useModel } from './models.js';
import { serverTiming } from './server-timing.js';

/** Of an answer that has not begun. */
export function provisionalHead(
  reply: FastifyReply,
  { encoding }: ParsedRequest,
  model: string,
): ResponseHead {
  const createdS = Math.floor(Date.now() / 1000);
  return { id: encoding.newId(), createdS, model, requestId: reply.request.id, promptTokens: 0 };
}

/** Waits for the model, where it is not loaded. */
async function begin(context: ApiContext, reply: FastifyReply, asked: ParsedRequest): Promise<Begun> {
  const use = await useModel(context, reply.request, asked.model, asked.keepMs);
  const head = provisionalHead(reply, asked, use.model.id);
  return beginAnswer(context, { asked, head, visit: visitOf(reply.request), use });
}

/** In one object. A client that goes away cancels it. */
export async function wholeAnswer(
  context: ApiContext,
  reply: FastifyReply,
  asked: ParsedRequest,
): Promise<object> {
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

/** As a stream, which may open, and break its silence, while its model is loaded. A client that goes away cancels it. */
export async function streamAnswer(
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
