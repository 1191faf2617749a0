import { getEventListeners } from 'node:events';
import { limits } from '@butterfly/common';
import { afterEach, describe, expect, it } from 'vitest';
import type { FetchHandler } from './fetch-handler.js';
import { createFetchHandler } from './server.js';
import { apiContext, EchoEngine, say } from './testing/api.js';

const engine = new EchoEngine();
const handlers: FetchHandler[] = [];

function handler(): FetchHandler {
  const made = createFetchHandler(apiContext(engine));
  handlers.push(made);
  return made;
}

afterEach(async () => {
  for (const each of handlers.splice(0)) await each.close();
});

function asked(body: object, init: RequestInit = {}): Request {
  return new Request('https://of.another.server/v1/completions', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ prompt: 'abc', max_tokens: 8, ...body }),
    ...init,
  });
}

describe('a fetch handler', () => {
  it('answers as the server does, whatever the host', async () => {
    const { fetch } = handler();
    const answer = await fetch(asked({}));
    expect(answer.status).toBe(200);
    expect(answer.headers.get('content-type')).toContain('application/json');
    expect(await answer.json()).toMatchObject({ model: 'echo', choices: [{ text: 'abc' }] });
    const models = await fetch(new Request('http://x/v1/models?limit=1'));
    expect(await models.json()).toMatchObject({ data: [{ id: 'echo' }] });
    const missing = await fetch(new Request('http://x/nowhere'));
    expect({ status: missing.status, body: await missing.json() }).toMatchObject({
      status: 404,
      body: { error: { code: 'NOT_FOUND' } },
    });
    const head = await fetch(new Request('http://x/v1/models', { method: 'HEAD' }));
    expect(head.status).toBe(200);
  });

  it('streams', async () => {
    const answer = await handler().fetch(asked({ stream: true }));
    expect(answer.headers.get('content-type')).toBe('text/event-stream; charset=utf-8');
    expect(await answer.text()).toMatch(/^data: \{[^]*data: \[DONE\]\n\n$/);
  });

  it('cancels for a signal, and for whoever reads no further', async () => {
    const { fetch } = handler();
    engine.script = () => [...say('abc'), 'hang'];
    const before = engine.cancellations;
    const stream = await fetch(asked({ stream: true }));
    const reader = stream.body?.getReader();
    await reader?.read();
    await reader?.cancel();
    await expect.poll(() => engine.cancellations).toBe(before + 1);
    const stopping = new AbortController();
    const { length } = engine.requests;
    const whole = fetch(asked({}, { signal: stopping.signal })).catch((error: unknown) => error);
    await expect.poll(() => engine.requests.length).toBe(length + 1);
    stopping.abort();
    await expect.poll(() => engine.cancellations).toBe(before + 2);
    expect(await whole).toMatchObject({ name: 'AbortError' });
  });

  it('leaves nothing behind on the signal of a request that is answered', async () => {
    const { fetch } = handler();
    engine.script = () => say('abc');
    for (const stream of [false, true]) {
      const request = asked({ stream });
      await (await fetch(request)).text();
      await expect.poll(() => getEventListeners(request.signal, 'abort')).toEqual([]);
    }
  });

  it('has the bounds of the API: a body that is too large is refused, not read', async () => {
    const answer = await handler().fetch(asked({ prompt: 'x'.repeat(limits.requestBodyBytesMax) }));
    expect(answer.status).toBe(413);
  });
});
