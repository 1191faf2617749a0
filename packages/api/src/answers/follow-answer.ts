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
  const client = new Client(reply, answer);
  try {
    if (answer.isStream) {
      await followStream(context, reply, { answer, heard, client });
      return undefined;
    }
    while (answer.log.end === null && !client.isGone) await client.news();
    return answer.whole();
  } finally {
    client.leave();
  }
}

interface Following {
  readonly answer: ResumableAnswer;
  readonly heard: HeardOf;
  readonly client: Client;
}

async function followStream(
  { clock, http }: ApiContext,
  reply: FastifyReply,
  { answer, heard, client }: Following,
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
  while (!client.isGone) {
    const next = reader.next();
    if (next !== null) {
      if (typeof next === 'string') stream.send(next);
      else stream.sendBytes(next);
      await stream.taken();
    } else if (log.end === null) await client.news();
    else break;
  }
  if (!stream.opened && log.bytes === 0 && answer.failure) throw answer.failure;
  if (log.end === 'cut') stream.cut();
  if (!stream.opened) stream.open();
  stream.end();
}

/** One who listens to an answer, until it leaves or its connection closes. */
class Client {
  isGone = false;
  readonly #ends: readonly (() => void)[];
  #isAnyNews = false;
  #wake: () => void = () => undefined;

  constructor(reply: FastifyReply, answer: ResumableAnswer) {
    this.#ends = [
      answer.listen(),
      answer.log.onChange(() => this.#tell()),
      onClientGone(reply.request, () => {
        this.isGone = true;
        this.#tell();
      }),
    ];
  }

  /** Resolves when the log changed since the last time, or the client is gone. */
  async news(): Promise<void> {
    if (!this.#isAnyNews) await new Promise<void>((resolve) => (this.#wake = resolve));
    this.#isAnyNews = false;
  }

  leave(): void {
    for (const end of this.#ends) end();
  }

  #tell(): void {
    this.#isAnyNews = true;
    this.#wake();
  }
}
