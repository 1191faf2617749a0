import { once } from 'node:events';
import { ButterflyError } from '@butterfly/common';
import OpenAI from 'openai';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { hugeToken, say, startApi } from './testing/api.js';
import type { TestApi } from './testing/api.js';

let api: TestApi;
beforeEach(async () => {
  api = await startApi();
});
afterEach(() => api[Symbol.asyncDispose]());

const messages = [{ role: 'user' as const, content: 'Hi 👋' }];

/** The data of all events, and whether the stream said that it is done. */
async function events(response: Response): Promise<{ data: Record<string, unknown>[]; done: boolean }> {
  const parts = (await response.text()).split('\n\n');
  expect(parts.pop()).toBe('');
  for (const part of parts) expect(part).toMatch(/^data: [^\n]+$/);
  const data = parts.map((part) => part.slice('data: '.length));
  const done = data.at(-1) === '[DONE]';
  if (done) data.pop();
  return { data: data.map((json) => JSON.parse(json) as Record<string, unknown>), done };
}

describe('the event stream', () => {
  it('has the role first, one chunk for each whole text, the reason and the end', async () => {
    api.engine.script = () => say('a👋');
    const response = await api.post('/v1/chat/completions', { messages, stream: true });
    expect(response.headers.get('content-type')).toBe('text/event-stream; charset=utf-8');
    expect(response.headers.get('x-request-id')).toMatch(/^req_/);
    const { data, done } = await events(response);
    expect(done).toBe(true);
    expect(data.map((chunk) => chunk.choices)).toEqual(
      [{ role: 'assistant', content: '' }, { content: 'a' }, { content: '👋' }, {}].map((delta, at) => [
        { index: 0, delta, logprobs: null, finish_reason: at === 3 ? 'stop' : null },
      ]),
    );
    for (const { choices, ...head } of data) {
      expect(choices).toHaveLength(1);
      expect(head).toEqual({
        id: data[0]?.id,
        object: 'chat.completion.chunk',
        created: data[0]?.created,
        model: 'echo',
      });
    }
  });

  it('streams text completions, with the usage when asked', async () => {
    api.engine.script = () => say('ab');
    api.engine.cachedPromptTokens = 1;
    const body = { prompt: 'x', stream: true, stream_options: { include_usage: true } };
    const { data, done } = await events(await api.post('/v1/completions', body));
    expect(done).toBe(true);
    const choice = (text: string, reason: string | null) => [
      { index: 0, text, logprobs: null, finish_reason: reason },
    ];
    expect(data.map(({ choices, usage }) => ({ choices, usage }))).toEqual([
      { choices: choice('a', null), usage: null },
      { choices: choice('b', null), usage: null },
      { choices: choice('', 'stop'), usage: null },
      {
        choices: [],
        usage: {
          prompt_tokens: 2,
          completion_tokens: 2,
          total_tokens: 4,
          prompt_tokens_details: { cached_tokens: 1 },
        },
      },
    ]);
  });

  it('opens a stream even for an answer without text', async () => {
    api.engine.script = () => ['stop'];
    const { data, done } = await events(await api.post('/v1/chat/completions', { messages, stream: true }));
    expect([data.length, done]).toEqual([2, true]);
  });

  it('is an HTTP error until something was sent, and an error event afterwards', async () => {
    const lost = new ButterflyError('WORKER_LOST', 'Worker 2 died.');
    api.engine.script = () => [lost];
    const body = { messages, stream: true };
    expect((await api.post('/v1/chat/completions', body)).status).toBe(503);
    api.engine.script = () => [...say('ab'), lost];
    const { data, done } = await events(await api.post('/v1/chat/completions', body));
    expect(done).toBe(false);
    expect(data).toHaveLength(4);
    expect(data.at(-1)).toEqual({
      error: { message: 'Worker 2 died.', type: 'server_error', param: null, code: 'WORKER_LOST' },
    });
  });
});

describe('clients that go away', () => {
  it.each([true, false])('free the request at once (stream: %s)', async (stream) => {
    api.engine.script = () => (stream ? [...say('ab'), 'hang'] : ['hang']);
    const submitted = api.engine.submitted();
    const socket = api.connectChat({ messages, stream });
    await (stream ? once(socket, 'data') : submitted);
    socket.destroy();
    await api.engine.idle();
    expect(api.engine.cancellations).toBe(1);
  });

  it('free requests that wait behind another on the same connection', async () => {
    api.engine.script = () => ['hang'];
    const json = JSON.stringify({ messages });
    const request = `POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(json)}\r\n\r\n${json}`;
    let submitted = api.engine.submitted();
    const socket = api.connect(request);
    await submitted;
    submitted = api.engine.submitted();
    socket.write(request);
    await submitted;
    socket.destroy();
    await api.engine.idle();
    expect(api.engine.cancellations).toBe(2);
  });

  it('are cut off when they do not read', async () => {
    api.engine.contextTokensMax = 2000;
    api.engine.script = () => [...Array.from({ length: 1500 }, () => hugeToken), 'hang'];
    const submitted = api.engine.submitted();
    const socket = api.connectChat({ messages, stream: true });
    socket.pause();
    socket.on('error', () => undefined);
    await submitted;
    await api.engine.idle();
    expect(api.engine.cancellations).toBe(1);
    socket.destroy();
  });
});

describe('closing', () => {
  it('lets answers end that are under way, and cuts connections without a request', async () => {
    const unused = api.connect('');
    await once(unused, 'connect');
    const unusedClosed = once(unused, 'close');
    api.engine.script = () => say('to the very end');
    const submitted = api.engine.submitted();
    const response = api.post('/v1/chat/completions', { messages, stream: true });
    await submitted;
    const closed = api.close();
    expect((await events(await response)).done).toBe(true);
    await Promise.all([closed, unusedClosed]);
    expect(api.engine.cancellations).toBe(0);
  });
});

describe('the official client', () => {
  it('completes chats and text', async () => {
    const chat = await api.client.chat.completions.create({ model: 'echo', messages });
    expect(chat.choices[0]?.message.content).toBe('user=Hi 👋|');
    const text = await api.client.completions.create({ model: 'echo', prompt: 'Grüße', max_tokens: 50 });
    expect(text.choices[0]?.text).toBe('Grüße');
    expect((await api.client.models.list()).data.map((model) => model.id)).toEqual(['echo']);
    expect((await api.client.models.retrieve('echo')).id).toBe('echo');
  });

  it('streams both', async () => {
    const chat = await api.client.chat.completions.create({
      model: 'echo',
      messages,
      stream: true,
      stream_options: { include_usage: true },
    });
    let content = '';
    let reason: string | null = null;
    let total: number | undefined;
    for await (const chunk of chat) {
      content += chunk.choices[0]?.delta.content ?? '';
      reason = chunk.choices[0]?.finish_reason ?? reason;
      total = chunk.usage?.total_tokens;
    }
    expect([content, reason, total]).toEqual(['user=Hi 👋|', 'stop', 27]);
    const text = await api.client.completions.create({ model: 'echo', prompt: 'Grüße', stream: true });
    let joined = '';
    for await (const chunk of text) joined += chunk.choices[0]?.text ?? '';
    expect(joined).toBe('Grüße');
  });

  it('reads a chat through its stream helper and sends the answer back', async () => {
    const answer = await api.client.chat.completions.stream({ model: 'echo', messages }).finalMessage();
    const next = await api.client.chat.completions.create({ model: 'echo', messages: [...messages, answer] });
    expect(next.choices[0]?.message.content).toBe('user=Hi 👋|assistant=user=Hi 👋||');
  });

  it('frees the generation when it aborts or stops reading', async () => {
    api.engine.script = () => [...say('abc'), 'hang'];
    const aborted = await api.client.chat.completions.create({ model: 'echo', messages, stream: true });
    for await (const chunk of aborted)
      if (chunk.choices[0]?.delta.content === 'b') aborted.controller.abort();
    const left = await api.client.chat.completions.create({ model: 'echo', messages, stream: true });
    for await (const chunk of left) if (chunk.choices[0]?.delta.content === 'b') break;
    await api.engine.idle();
    expect(api.engine.cancellations).toBe(2);
  });

  it('throws what the server reports', async () => {
    await expect(api.client.chat.completions.create({ model: 'other', messages })).rejects.toBeInstanceOf(
      OpenAI.NotFoundError,
    );
    api.engine.refusal = new ButterflyError('QUEUE_FULL', 'Too many wait.');
    await expect(api.client.chat.completions.create({ model: 'echo', messages })).rejects.toBeInstanceOf(
      OpenAI.RateLimitError,
    );
    api.engine.refusal = null;
    api.engine.script = () => [...say('ab'), new ButterflyError('WORKER_LOST', 'Worker 2 died.')];
    const stream = await api.client.chat.completions.create({ model: 'echo', messages, stream: true });
    const read = async () => {
      for await (const chunk of stream) expect(chunk.choices).toHaveLength(1);
    };
    await expect(read()).rejects.toMatchObject({ code: 'WORKER_LOST' });
  });
});
