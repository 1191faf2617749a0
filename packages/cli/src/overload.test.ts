import { residentBytes } from '@butterfly/testkit';
import { once } from 'node:events';
import { existsSync, readdirSync } from 'node:fs';
import { request, type IncomingMessage } from 'node:http';
import { connect } from 'node:net';
import { setTimeout as after } from 'node:timers/promises';
import { limits } from '@butterfly/common';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Server } from './testing/server.js';

/** Collected garbage is not given back at once, so that the size of a process that leaks nothing varies by this much. */
const memoryMarginMiB = 48;

let server: Server;
const serve = (...args: string[]) => {
  beforeAll(async () => {
    server = await new Server(args).ready();
    // Opens what stays open, and fills what stays full.
    await textOf(pieces({ ...story, max_tokens: 5 }));
    await idle();
  });
  afterAll(() => server[Symbol.asyncDispose]());
};

const story = { prompt: 'Once upon a time', temperature: 0, ignore_eos: true };
const post = (body: object) => {
  const options = { method: 'POST', agent: false, headers: { 'content-type': 'application/json' } };
  return request(`${server.url}/v1/completions`, options).end(JSON.stringify(body));
};

/** The pieces of a stream on a connection of its own; leaving them hangs up. */
async function* pieces(body: object): AsyncGenerator<string, void> {
  const client = post({ ...body, stream: true });
  try {
    const [response] = (await once(client, 'response')) as [IncomingMessage];
    expect(response.statusCode).toBe(200);
    let received = '';
    for await (const chunk of response.setEncoding('utf8')) {
      const events = (received + String(chunk)).split('\n\n');
      received = events.pop() ?? '';
      for (const event of events) {
        if (event === 'data: [DONE]') return;
        if (event.startsWith(':')) continue;
        const { choices } = JSON.parse(event.slice('data: '.length)) as { choices: { text: string }[] };
        for (const { text } of choices) yield text;
      }
    }
    throw new Error('The stream ended without [DONE].');
  } finally {
    client.destroy();
  }
}

async function textOf(stream: AsyncIterable<string>): Promise<string> {
  const texts: string[] = [];
  for await (const text of stream) texts.push(text);
  return texts.join('');
}

const steadyBodies = ['Once upon a time', 'The', 'Light', 'We'].map((prompt) => ({
  ...story,
  prompt,
  max_tokens: 200,
}));

/** Four streams that have begun and go on while the test does something else. */
async function steadyStreams(): Promise<{ texts(): Promise<string[]> }> {
  const streams = steadyBodies.map(pieces);
  const firsts = await Promise.all(streams.map((stream) => stream.next()));
  const all = Promise.all(
    streams.map(async (stream, at) => `${firsts[at]?.value ?? ''}${await textOf(stream)}`),
  );
  return { texts: () => all };
}

async function idle(): Promise<void> {
  for (;;) {
    const { ready, running, queued } = await server.status();
    expect(ready).toBe(true);
    if (running + queued === 0) return;
    await after(10);
  }
}

/** Open files, and memory in MiB, of the server and its workers; nothing where there is no /proc. */
const processes = () => [server.pid, ...server.workerPids].filter((pid) => existsSync(`/proc/${pid}/fd`));
const openFiles = () => processes().map((pid) => readdirSync(`/proc/${pid}/fd`).length);
const memoryMiB = () => processes().map((pid) => residentBytes(pid) / 2 ** 20);
const grown = (before: readonly number[]) => memoryMiB().map((now, at) => now - (before[at] ?? 0));

/** Sockets close a moment after their requests ended; those with which the test asks for the state come and go. */
async function filesClosed(before: readonly number[]): Promise<void> {
  const ownSockets = 4;
  while (openFiles().some((count, at) => count > (before[at] ?? 0) + ownSockets)) await after(10);
}

describe('beside four steady streams', () => {
  serve('--workers', '2', '--ctx', '1024', '--parallel', '8');
  const alone: string[] = [];
  beforeAll(async () => {
    for (const body of steadyBodies) alone.push(await textOf(pieces(body)));
  });

  it('two hundred clients that hang up in mid-stream disturb nobody and leave nothing behind', async () => {
    const files = openFiles();
    const memory: number[][] = [];
    for (let round = 0; round < 3; round++) {
      const steady = await steadyStreams();
      const leaving = Array.from({ length: 200 }, async () => {
        const texts: string[] = [];
        for await (const text of pieces({ ...story, max_tokens: 1000 }))
          if (texts.push(text) === 3) return texts.join('');
        return '';
      });
      expect(new Set(await Promise.all(leaving)).size).toBe(1);
      expect(await steady.texts()).toEqual(alone);
      await idle();
      await filesClosed(files);
      memory.push(memoryMiB());
    }
    // The first round fills what is kept: compiled code, pools and caches.
    for (const growth of grown(memory[0] ?? [])) expect(growth).toBeLessThan(memoryMarginMiB);
  });

  it('clients that read one byte per second stop nobody, and hold no more than their buffers', async () => {
    const slowClients = 8;
    const files = openFiles();
    const memory = memoryMiB();
    const sockets = Array.from({ length: slowClients }, () => {
      const socket = connect(apiPort(), '127.0.0.1');
      socket.pause().on('error', () => undefined);
      socket.write(rawRequest({ ...story, max_tokens: 600, stream: true }));
      return socket;
    });
    const reading = setInterval(() => sockets.map((socket) => socket.read(1) as unknown), 1000);
    await Promise.all(sockets.map((socket) => once(socket, 'readable')));
    const steady = await steadyStreams();
    expect(await steady.texts()).toEqual(alone);
    // Their tokens wait in buffers, or they were cut off: either way nothing waits for them.
    await idle();
    const bufferedMiB = (slowClients * limits.streamBufferedBytesMax) / 2 ** 20;
    for (const growth of grown(memory)) expect(growth).toBeLessThan(bufferedMiB + memoryMarginMiB);
    clearInterval(reading);
    for (const socket of sockets) socket.destroy();
    await filesClosed(files);
  });
});

const apiPort = () => Number(new URL(server.url).port);
const rawRequest = (body: object) => {
  const json = JSON.stringify(body);
  return `POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: ${json.length}\r\n\r\n${json}`;
};

interface Answer {
  readonly status: number;
  readonly retryAfter: string | undefined;
}

/** Sends requests one behind the other on one connection without waiting, and gives all answers. */
async function pipelined(bodies: readonly object[]): Promise<Answer[]> {
  const socket = connect(apiPort(), '127.0.0.1');
  socket.setEncoding('latin1').write(bodies.map(rawRequest).join(''));
  const answers: Answer[] = [];
  let received = '';
  for await (const chunk of socket) {
    received += String(chunk);
    for (;;) {
      const head = /^HTTP\/1\.1 (\d+)[^]*?\r\n\r\n/.exec(received);
      const length = Number(/^content-length: (\d+)/im.exec(head?.[0] ?? '')?.[1] ?? NaN);
      if (!head || !(received.length >= head[0].length + length)) break;
      received = received.slice(head[0].length + length);
      answers.push({
        status: Number(head[1]),
        retryAfter: /^retry-after: (.*)$/im.exec(head[0])?.[1]?.trim(),
      });
    }
    if (answers.length === bodies.length) break;
  }
  return answers;
}

describe('deadlines', () => {
  serve('--ctx', '4096');

  it('end requests at their timeout, streaming or not', async () => {
    const body = { ...story, max_tokens: 4000, timeout_ms: 1 };
    const response = await server.post('/v1/completions', body);
    expect(response.status).toBe(504);
    expect(await response.json()).toMatchObject({ error: { code: 'TIMEOUT' } });
    // Whether a token came before it or not.
    const streamed = await (await server.post('/v1/completions', { ...body, stream: true })).text();
    expect(streamed).toMatch(/"code":"TIMEOUT"\}\}\s*$/);
    await idle();
  });
});

describe('one worker with a small context', () => {
  const contextTokens = 256;
  serve('--ctx', String(contextTokens), '--parallel', '8');

  it('answers each of ten thousand requests at once or asks to come back, in bounded memory', async () => {
    const files = openFiles();
    const memory = memoryMiB();
    const bodies = Array.from({ length: 40 }, () => ({ ...story, max_tokens: 2 }));
    const connections = Array.from({ length: 250 }, () => pipelined(bodies));
    const all = Promise.all(connections);
    let queued = 0;
    let answers: Answer[] | null = null;
    while (answers === null) {
      queued = Math.max(queued, (await server.status()).queued);
      answers = await Promise.race([all.then((lists) => lists.flat()), after(5, null)]);
    }
    expect(answers).toHaveLength(10_000);
    const refused = answers.filter(({ status }) => status === 429);
    const accepted = answers.filter(({ status }) => status === 200);
    expect(accepted.length + refused.length).toBe(10_000);
    expect(accepted.length).toBeGreaterThanOrEqual(limits.queuedRequestsMax);
    expect(refused.length).toBeGreaterThan(0);
    // What gave its place up to others waits again, beside as many newcomers as may.
    expect(queued).toBeLessThanOrEqual(limits.queuedRequestsMax + limits.stepSequencesMax);
    for (const { retryAfter } of refused) expect(retryAfter).toMatch(/^[1-9]\d*$/);
    await idle();
    await filesClosed(files);
    for (const growth of grown(memory)) expect(growth).toBeLessThan(4 * memoryMarginMiB);
  });

  /** The status, prompt tokens and text for prompts of these lengths, which have their beginning in common. */
  const answersTo = (lengths: readonly number[]) =>
    Promise.all(
      lengths.map(async (length) => {
        const prompt = Array.from({ length }, (_, at) => 3 + ((at * at * 7) % 500));
        const response = await server.post('/v1/completions', { prompt, max_tokens: 1, temperature: 0 });
        const { usage, choices, error } = (await response.json()) as {
          usage?: { prompt_tokens: number };
          choices?: { text: string }[];
          error?: { code: string };
        };
        const { status } = response;
        return { length, status, tokens: usage?.prompt_tokens, text: choices?.[0]?.text, code: error?.code };
      }),
    );

  it('answers prompts of every length up to the limit, the same whatever went before, and none beyond', async () => {
    const lengths = Array.from({ length: contextTokens - 1 }, (_, at) => at + 1);
    const answers = await answersTo(lengths);
    for (const { status, tokens, length } of answers) expect([status, tokens]).toEqual([200, length]);
    expect((await answersTo(lengths.toReversed())).reverse()).toEqual(answers);
    expect(await answersTo([contextTokens, contextTokens + 1])).toMatchObject([
      { status: 400, code: 'context_length_exceeded' },
      { status: 400, code: 'context_length_exceeded' },
    ]);
    await idle();
  });

  it('tells in the usage what it had of the prompt already', async () => {
    const prompt = Array.from({ length: 100 }, (_, at) => 400 - at);
    const ask = async () => {
      const response = await server.post('/v1/completions', { prompt, max_tokens: 1 });
      return ((await response.json()) as { usage: { prompt_tokens_details: object } }).usage
        .prompt_tokens_details;
    };
    expect(await ask()).toEqual({ cached_tokens: 0 });
    // The last token is computed again, because it is what the next one is sampled from.
    expect(await ask()).toEqual({ cached_tokens: 99 });
  });
});
