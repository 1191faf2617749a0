import { ButterflyError } from '@butterfly/common';
import { afterEach, describe, expect, it } from 'vitest';
import type { ModelDirectory } from './context.js';
import { createApi } from './server.js';
import { apiContext, EchoEngine, say } from './testing/api.js';

let close: () => Promise<void> = () => Promise.resolve();
afterEach(() => close());

/** A server whose model is loaded when a test says so. */
async function startUnloaded(load: Promise<void>): Promise<string> {
  const engine = new EchoEngine();
  engine.script = () => [...say('a')];
  const context = apiContext(engine, { keepAliveMs: 20 });
  const { models } = context;
  const waiting: ModelDirectory = {
    ...models,
    list: () => models.list().map((model) => ({ ...model, state: 'unloaded' })),
    use: async (id) => {
      await load;
      return models.use(id);
    },
  };
  const app = createApi({ ...context, models: waiting });
  close = () => app.close();
  return app.listen({ host: '127.0.0.1', port: 0 });
}

const ask = (url: string, path: string, body: object): Promise<Response> =>
  fetch(url + path, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });

const chat = { messages: [{ role: 'user', content: 'Hi' }], stream: true };

describe('a stream whose model is yet to be loaded', () => {
  it('says that it waits, and then the answer', async () => {
    let loaded: () => void = () => undefined;
    const url = await startUnloaded(new Promise((resolve) => (loaded = resolve)));
    const response = await ask(url, '/v1/chat/completions', chat);
    expect([response.status, response.headers.get('content-type')]).toEqual([
      200,
      'text/event-stream; charset=utf-8',
    ]);
    const reader = (response.body ?? new ReadableStream<Uint8Array>()).getReader();
    const first = await reader.read();
    expect(Buffer.from(first.value ?? []).toString()).toMatch(/^(: keep-alive\n\n)+$/);
    loaded();
    let text = '';
    for (let part = await reader.read(); !part.done; part = await reader.read())
      text += Buffer.from(part.value).toString();
    expect(text).toMatch(/"content":"a"[^]*data: \[DONE\]\n\n$/);
  });

  it('of a response says its opening once that is known', async () => {
    let loaded: () => void = () => undefined;
    const url = await startUnloaded(new Promise((resolve) => (loaded = resolve)));
    const response = await ask(url, '/v1/responses', { input: 'Hi', stream: true });
    loaded();
    const text = await response.text();
    expect(text.match(/^event: response\.created$/gm)).toHaveLength(1);
    expect(text).toContain('response.completed');
  });

  it('tells by an event that it cannot be loaded', async () => {
    let fail: (error: Error) => void = () => undefined;
    const url = await startUnloaded(new Promise((_, reject) => (fail = reject)));
    const response = await ask(url, '/v1/chat/completions', chat);
    expect(response.status).toBe(200);
    fail(new ButterflyError('MODEL_TOO_LARGE', 'It does not fit.'));
    expect(await response.text()).toMatch(/"code":"MODEL_TOO_LARGE"/);
  });
});
