import type { FastifyReply } from 'fastify';
import type { GenerateRequest, Generation } from '@butterfly/engine';
import { runCompletion } from './completions.js';
import type { CompletionEnd } from './completions.js';
import type { ApiContext } from '../context.js';
import { errorBody, publicError, toHttpFailure } from '../http/errors.js';
import { onClientGone } from '../http/open-responses.js';
import type { ResponseHead, ResponseShape, Usage } from './response-shapes.js';
import type { CompletionOptions } from './schemas.js';
import { EventStream } from '../http/sse.js';

/** One request on its way to its answer. */
interface Job {
  readonly context: ApiContext;
  readonly reply: FastifyReply;
  readonly request: GenerateRequest;
  readonly options: CompletionOptions;
  readonly shape: ResponseShape;
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
  request: GenerateRequest,
  options: CompletionOptions,
  shape: ResponseShape,
): Promise<object | undefined> {
  const startMs = context.clock.nowMs();
  const head = { id: shape.newId(), created: Math.floor(Date.now() / 1000), model: context.model.id };
  const job: Job = { context, reply, request, options, shape, head };
  const generation = context.engine.submit(request);
  const stopWatching = onClientGone(reply.request, () => generation.cancel());
  try {
    return await (options.stream ? streamAnswer(job, generation) : wholeAnswer(job, generation));
  } finally {
    stopWatching();
    const totalMs = Math.round(context.clock.nowMs() - startMs);
    const requestId = reply.request.id;
    context.observe({ kind: 'requestEnded', requestId, completionId: head.id, totalMs });
  }
}

async function wholeAnswer(job: Job, generation: Generation): Promise<object> {
  const texts: string[] = [];
  const { vocabulary } = job.context;
  const end = await runCompletion(generation, vocabulary, job.options.stops, (text) => texts.push(text));
  return job.shape.whole(job.head, texts.join(''), end.reason, usageOf(job, end));
}

async function streamAnswer(job: Job, generation: Generation): Promise<undefined> {
  const { context, options, reply } = job;
  const shape = job.shape.stream(job.head, options.includeUsage);
  const requestId = reply.request.id;
  using stream = new EventStream(reply, {
    clock: context.clock,
    keepAliveMs: context.http.keepAliveMs,
    onOverflow: () => {
      generation.cancel();
      context.observe({ kind: 'readerTooSlow', requestId });
    },
  });
  let opening = shape.opening;
  try {
    const end = await runCompletion(generation, context.vocabulary, options.stops, (text) => {
      if (opening !== null) stream.send(opening);
      opening = null;
      if (text !== '') stream.send(shape.piece(text));
    });
    stream.send(shape.finish(end.reason));
    if (options.includeUsage) stream.send(shape.usage(usageOf(job, end)));
    stream.send('[DONE]');
  } catch (thrown) {
    if (!stream.opened) throw thrown;
    const { error } = toHttpFailure(thrown);
    context.observe({ kind: 'streamBroken', requestId, isClientGone: reply.raw.destroyed, error });
    stream.send(JSON.stringify(errorBody(publicError(error, requestId))));
  }
  stream.end();
  return undefined;
}

function usageOf(job: Job, end: CompletionEnd): Usage {
  const { outputTokens, cachedPromptTokens } = end;
  return { promptTokens: job.request.promptTokens.length, outputTokens, cachedPromptTokens };
}
