import { ButterflyError } from '@butterfly/common';
import { afterEach, describe, expect, it } from 'vitest';
import { say, startApi, type TestApi } from './testing/api.js';

const messages = [{ role: 'user' as const, content: 'Hi' }];
const body = { messages, stream: true };
let api: TestApi | null = null;
afterEach(() => api?.[Symbol.asyncDispose]());

/** Something to wait for, and what ends the waiting. */
function gate(): { readonly passed: Promise<void>; readonly open: () => void } {
  let open: () => void = () => undefined;
  const passed = new Promise<void>((resolve) => (open = resolve));
  return { passed, open };
}

/** Reads on until what came has this so many times; the rest of the stream stays unread. */
async function readUntil(
  reader: ReadableStreamDefaultReader<Uint8Array>,
  part: string,
  times = 1,
): Promise<string> {
  const decoder = new TextDecoder();
  let text = '';
  while (text.split(part).length <= times) {
    const { done, value } = await reader.read();
    if (done) break;
    text += decoder.decode(value, { stream: true });
  }
  return text;
}

function readerOf(response: Response): ReadableStreamDefaultReader<Uint8Array> {
  if (!response.body) throw new Error('The response has no body.');
  return response.body.getReader();
}

describe('a stream whose first token is far away', () => {
  it('sends its headers and comments, and then the answer', async () => {
    api = await startApi(undefined, { keepAliveMs: 20 });
    const first = gate();
    const second = gate();
    api.engine.script = () => [first.passed, ...say('a'), second.passed, ...say('b')];
    // Only the headers let this go on: no token comes before the gate is open.
    const response = await api.post('/v1/chat/completions', { ...body, store: true });
    expect(response.status).toBe(200);
    expect(response.headers.get('content-type')).toBe('text/event-stream; charset=utf-8');
    expect(response.headers.get('x-accel-buffering')).toBe('no');
    expect(response.headers.get('cache-control')).toContain('no-cache');
    expect(response.headers.get('x-request-id')).toMatch(/^req_/);
    expect(response.headers.get('x-butterfly-no-effect')).toBe('store');
    const reader = readerOf(response);
    const silence = await readUntil(reader, ': keep-alive\n\n', 3);
    expect(silence.replaceAll(': keep-alive\n\n', '')).toBe('');
    first.open();
    const pause = await readUntil(reader, ': keep-alive\n\n', 4);
    expect(pause).toMatch(/"role":"assistant"[^]*"content":"a"[^]*: keep-alive/);
    second.open();
    const rest = await readUntil(reader, 'data: [DONE]\n\n');
    expect(rest).toMatch(/"content":"b"[^]*"finish_reason":"stop"[^]*data: \[DONE\]\n\n$/);
    expect((await reader.read()).done).toBe(true);
  });

  it('sends its headers and no comment where those are switched off', async () => {
    api = await startApi(undefined, { keepAliveMs: 0 });
    const first = gate();
    api.engine.script = () => [first.passed, ...say('a')];
    const response = await api.post('/v1/chat/completions', body);
    first.open();
    const text = await response.text();
    expect(text).not.toContain('keep-alive');
    expect(text).toMatch(/^data: .*"content":""[^]*\[DONE\]\n\n$/);
  });

  it('tells of a failure by an event, since its status is out', async () => {
    api = await startApi(undefined, { keepAliveMs: 20 });
    const first = gate();
    api.engine.script = () => [first.passed, new ButterflyError('WORKER_LOST', 'Worker 2 died.')];
    const response = await api.post('/v1/chat/completions', body);
    first.open();
    const text = await response.text();
    expect(text.replaceAll(': keep-alive\n\n', '')).toBe(
      'data: {"error":{"message":"Worker 2 died.","type":"server_error","param":null,"code":"WORKER_LOST"}}\n\n',
    );
  });

  it('still has a status for what is known at once', async () => {
    api = await startApi();
    api.engine.refusal = new ButterflyError('QUEUE_FULL', 'Too many wait.');
    expect((await api.post('/v1/chat/completions', body)).status).toBe(429);
    api.engine.refusal = null;
    api.engine.script = () => [new ButterflyError('CLUSTER_NOT_READY', 'No workers.')];
    expect((await api.post('/v1/chat/completions', body)).status).toBe(503);
    expect((await api.post('/v1/chat/completions', { ...body, temperature: 9 })).status).toBe(400);
  });

  it('is freed when its client leaves during the silence', async () => {
    api = await startApi(undefined, { keepAliveMs: 20 });
    api.engine.script = () => ['hang'];
    const response = await api.post('/v1/chat/completions', body);
    const reader = readerOf(response);
    await readUntil(reader, ': keep-alive\n\n', 2);
    await reader.cancel();
    await api.engine.idle();
    expect(api.engine.cancellations).toBe(1);
  });

  it('of a response says its id, by which it can be cancelled while it waits', async () => {
    api = await startApi(undefined, { keepAliveMs: 20 });
    api.engine.script = () => ['hang'];
    const response = await api.post('/v1/responses', { input: 'Hi', stream: true });
    const reader = readerOf(response);
    const opening = await readUntil(reader, 'response.in_progress', 2);
    expect(opening).toMatch(/^event: response\.created\n/);
    const [, id = ''] = /"id":"(resp_[^"]+)"/.exec(opening) ?? [];
    expect((await api.post(`/v1/responses/${id}/cancel`, {})).status).toBe(200);
    const rest = await readUntil(reader, 'event: response.failed');
    expect(rest).not.toContain('response.created');
    await api.engine.idle();
  });

  it('is read by the official client like any other stream', async () => {
    api = await startApi(undefined, { keepAliveMs: 20 });
    const first = gate();
    const second = gate();
    api.engine.script = () => [first.passed, ...say('a'), second.passed, ...say('b')];
    const stream = await api.client.chat.completions.create({ model: 'echo', messages, stream: true });
    setTimeout(first.open, 100);
    let content = '';
    for await (const chunk of stream) {
      content += chunk.choices[0]?.delta.content ?? '';
      if (content === 'a') setTimeout(second.open, 100);
    }
    expect(content).toBe('ab');
  });
});
