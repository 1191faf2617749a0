import type { FastifyReply } from 'fastify';
import type { ApiContext } from '../context.js';
import { onClientGone } from '../http/open-responses.js';
import { OpenStream } from '../http/open-stream.js';
import { type HeardOf, LogReader } from './answer-log.js';
import type { ResumableAnswer } from './resumable-answer.js';

/**
 * Lets a client hear an answer from where it knows it to its end. Leaving ends nothing: the answer goes on for a while.
 * @returns the body to send of a whole answer; undefined when it went out as a stream
 * @throws ButterflyError what ended the answer before anything of it went out
 */
export async function followAnswer(
  context: ApiContext,
  reply: FastifyReply,
  answer: ResumableAnswer,
  heard: HeardOf,
): Promise<object | undefined> {
  const gone = clientGone(reply);
  const leave = answer.listen();
  try {
    if (answer.isStream) {
      await followStream(context, reply, { answer, heard, gone });
      return undefined;
    }
    while (answer.log.end === null && !gone.signal.aborted)
      await Promise.race([answer.log.changed(), gone.promise]);
    return answer.whole();
  } finally {
    leave();
    gone.stop();
  }
}

interface Following {
  readonly answer: ResumableAnswer;
  readonly heard: HeardOf;
  readonly gone: ClientGone;
}

async function followStream(
  { clock, http }: ApiContext,
  reply: FastifyReply,
  { answer, heard, gone }: Following,
): Promise<void> {
  const { log, form, kept } = answer;
  // Who counts bytes must be sent the same ones each time.
  const countsBytes = kept.handle.kind === 'conversation';
  using stream = new OpenStream(reply, form, {
    clock,
    keepAliveMs: countsBytes ? 0 : http.keepAliveMs,
    opening: () => '',
    onOverflow: () => undefined,
  });
  const reader = new LogReader(log, heard);
  while (!gone.signal.aborted) {
    const next = reader.next();
    if (next !== null) {
      if (typeof next === 'string') stream.send(next);
      else stream.sendBytes(next);
      await stream.taken();
    } else if (log.end === null) {
      await Promise.race([log.changed(), gone.promise]);
    } else break;
  }
  if (!stream.opened && log.bytes === 0 && answer.failure) throw answer.failure;
  if (log.end === 'cut') stream.cut();
  if (!stream.opened) stream.open();
  stream.end();
}

interface ClientGone {
  readonly signal: AbortSignal;
  readonly promise: Promise<void>;
  readonly stop: () => void;
}

function clientGone(reply: FastifyReply): ClientGone {
  const controller = new AbortController();
  let resolve: () => void = () => undefined;
  const promise = new Promise<void>((done) => (resolve = done));
  const stop = onClientGone(reply.request, () => {
    controller.abort();
    resolve();
  });
  return { signal: controller.signal, promise, stop };
}
