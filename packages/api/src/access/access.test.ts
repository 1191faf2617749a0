import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Anthropic from '@anthropic-ai/sdk';
import { ButterflyError, systemClock } from '@butterfly/common';
import { formatApiKey, KeyFiles, type KeyLimits, KeyRing } from '@butterfly/identity';
import { Ollama } from 'ollama';
import OpenAI from 'openai';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { say, startApi, type TestApi } from '../testing/api.js';

const none: KeyLimits = {
  requestsPerMinute: null,
  tokensPerMinute: null,
  concurrent: null,
  models: null,
  priorityMax: 0,
};
const chat = { model: 'echo', messages: [{ role: 'user' as const, content: 'Hi' }] };

let directory: string;
let files: KeyFiles;
let api: TestApi;
beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'butterfly-api-keys-'));
  files = new KeyFiles(directory);
  api = await start(true);
});
afterEach(async () => {
  await api[Symbol.asyncDispose]();
  rmSync(directory, { recursive: true });
});

function start(isKeyRequired: boolean): Promise<TestApi> {
  const access = { keys: new KeyRing(files, systemClock), isKeyRequired };
  return startApi(undefined, { access });
}

async function makeKey(limits: Partial<KeyLimits> = {}, more: { readonly lifeMs?: number } = {}) {
  const wishes = { lifeMs: null, note: '', isAdmin: false, ...more, limits: { ...none, ...limits } };
  return formatApiKey(await files.create(wishes));
}

function openai(apiKey: string): OpenAI {
  return new OpenAI({ baseURL: `${api.url}/v1`, apiKey, maxRetries: 0 });
}

/** A chat with this key, or none. */
function ask(key: string | null, body: object = {}, path = '/v1/chat/completions'): Promise<Response> {
  const authorization: Record<string, string> = key === null ? {} : { authorization: `Bearer ${key}` };
  return api.post(path, { ...chat, ...body }, { 'content-type': 'application/json', ...authorization });
}

describe('an API that needs a key', () => {
  it('answers the clients of each dialect that have one, and hands on whose request it is', async () => {
    const key = await makeKey();
    const completion = await openai(key).chat.completions.create(chat);
    expect(completion.choices[0]?.message.content).toBe('user=Hi|');
    const anthropic = new Anthropic({ baseURL: api.url, apiKey: key, maxRetries: 0 });
    const message = await anthropic.messages.create({ ...chat, max_tokens: 20 });
    expect(message.content).toMatchObject([{ type: 'text', text: 'user=Hi|' }]);
    const bearer = new Anthropic({ baseURL: api.url, apiKey: null, authToken: key, maxRetries: 0 });
    expect(await bearer.messages.countTokens(chat)).toEqual({ input_tokens: 9 });
    const ollama = new Ollama({ host: api.url, headers: { authorization: `Bearer ${key}` } });
    expect((await ollama.chat(chat)).message.content).toBe('user=Hi|');
    expect((await openai(key).embeddings.create({ model: 'echo', input: 'x' })).data).toHaveLength(1);
    const [{ id } = { id: '' }] = await files.list();
    const tenants = [...api.engine.requests, ...api.engine.embedded].map(({ tenant }) => tenant);
    expect(tenants).toEqual([id, id, id, id]);
  });

  it.each([
    ['/v1/chat/completions', { error: { code: 'invalid_api_key', type: 'invalid_request_error' } }],
    ['/v1/responses', { error: { code: 'invalid_api_key' } }],
    ['/v1/embeddings', { error: { code: 'invalid_api_key' } }],
    ['/tokenize', { error: { code: 'invalid_api_key' } }],
    ['/v1/messages', { type: 'error', error: { type: 'authentication_error' } }],
    ['/api/chat', { error: expect.stringContaining('API key') as string }],
  ])('refuses others at %s in the words of its dialect', async (path, body) => {
    const ended = await makeKey({}, { lifeMs: -1 });
    const shown = [
      null,
      'none',
      'bfk-guess',
      ended,
      formatApiKey({ id: '0'.repeat(12), secret: Buffer.alloc(24) }),
    ];
    for (const key of shown) {
      const response = await ask(key, {}, path);
      expect(response.status).toBe(401);
      expect(response.headers.get('x-butterfly-code')).toBe('UNAUTHENTICATED');
      expect(response.headers.get('x-should-retry')).toBe('false');
      expect(response.headers.get('www-authenticate')).toBe('Bearer');
      expect(await response.json()).toMatchObject(body);
    }
    expect(api.engine.requests).toEqual([]);
  });

  it('looks for it before it reads a body', async () => {
    const socket = api.connect(
      'POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 999999\r\n\r\n{',
    );
    const heard = await new Promise<string>((resolve) =>
      socket.once('data', (bytes) => resolve(String(bytes))),
    );
    expect(heard).toMatch(/^HTTP\/1\.1 401 /);
    socket.destroy();
  });

  it('leaves open what tells of its health alone, and nothing else of all its paths', async () => {
    const open: string[] = [];
    const paths = [
      '/health',
      '/ready',
      '/v1/models',
      '/v1/models/echo',
      '/v1/responses/x',
      '/api/tags',
      '/api/ps',
    ];
    for (const path of [...paths, '/api/version', '/props', '/cluster'])
      if ((await fetch(api.url + path)).status !== 401) open.push(path);
    // Here is nothing to administrate.
    expect(open).toEqual(['/health', '/ready', '/cluster']);
  });

  it('takes a key that is made while it runs', async () => {
    expect((await ask('bfk-guess')).status).toBe(401);
    expect((await ask(await makeKey())).status).toBe(200);
  });
});

describe('an API that needs none', () => {
  beforeEach(async () => {
    await api[Symbol.asyncDispose]();
    api = await start(false);
  });

  it('does not look at what clients send that is no key of ours, and refuses one of ours that is not good', async () => {
    const key = await makeKey();
    const statuses = await Promise.all(
      [null, 'none', 'sk-proj-1', key].map(async (each) => (await ask(each)).status),
    );
    expect(statuses).toEqual([200, 200, 200, 200]);
    expect((await ask('bfk-guess')).status).toBe(401);
  });

  it('holds those that are sent to their limits', async () => {
    const key = await makeKey({ requestsPerMinute: 1 });
    expect([(await ask(key)).status, (await ask(key)).status, (await ask(null)).status]).toEqual([
      200, 429, 200,
    ]);
  });
});

describe('limits of a key', () => {
  it("bound its requests, tell what is left of them, and are nobody else's", async () => {
    const [key, other] = [await makeKey({ requestsPerMinute: 2 }), await makeKey({ requestsPerMinute: 2 })];
    const first = await ask(key);
    expect(first.headers.get('x-ratelimit-limit-requests')).toBe('2');
    expect(first.headers.get('x-ratelimit-remaining-requests')).toBe('1');
    expect(first.headers.get('x-ratelimit-reset-requests')).toMatch(/^\d+(\.\d+)?s$/);
    expect((await ask(key)).status).toBe(200);
    const refused = await ask(key);
    expect(refused.status).toBe(429);
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0);
    expect(refused.headers.get('x-butterfly-code')).toBe('RATE_LIMITED');
    expect(await refused.json()).toMatchObject({
      error: { type: 'rate_limit_error', code: 'rate_limit_exceeded' },
    });
    const anthropic = await ask(key, { max_tokens: 5 }, '/v1/messages');
    expect(anthropic.headers.get('anthropic-ratelimit-requests-remaining')).toBe('0');
    expect(await anthropic.json()).toMatchObject({ error: { type: 'rate_limit_error' } });
    expect((await ask(other)).status).toBe(200);
    const models = await fetch(`${api.url}/v1/models`, { headers: { authorization: `Bearer ${key}` } });
    expect(models.status).toBe(200);
  });

  it('charge the most tokens that an answer may take before it begins, and at its end what it took', async () => {
    const key = await makeKey({ tokensPerMinute: 100 });
    api.engine.script = () => say('abc');
    const answered = await ask(key, { max_tokens: 50 });
    // 9 of the prompt, 3 of the answer; a little may have come back meanwhile.
    expect(Number(answered.headers.get('x-ratelimit-remaining-tokens'))).toBeGreaterThanOrEqual(88);
    expect(Number(answered.headers.get('x-ratelimit-remaining-tokens'))).toBeLessThan(95);
    api.engine.script = () => ['hang'];
    const stopping = new AbortController();
    const streams = openai(key).chat.completions.create(
      { ...chat, max_completion_tokens: 70, stream: true },
      { signal: stopping.signal },
    );
    streams.catch(() => undefined);
    await api.engine.submitted();
    const refused = await ask(key, { max_tokens: 70 });
    expect([refused.status, await refused.json()]).toMatchObject([
      429,
      { error: { message: expect.stringContaining('100 tokens in a minute') as string } },
    ]);
    expect(api.engine.requests).toHaveLength(2);
    stopping.abort();
    await api.engine.idle();
    api.engine.script = () => say('abc');
    await expect.poll(async () => (await ask(key, { max_tokens: 50 })).status).toBe(200);
  });

  it('give back what was charged for an answer that the engine refuses', async () => {
    const key = await makeKey({ tokensPerMinute: 300 });
    api.engine.refusal = new ButterflyError('QUEUE_FULL', 'Others wait already.');
    for (let count = 0; count < 5; count++) {
      const refused = await ask(key, { max_tokens: 200 });
      expect(refused.headers.get('x-butterfly-code')).toBe('QUEUE_FULL');
    }
  });

  it('charge embeddings for their texts', async () => {
    const key = await makeKey({ tokensPerMinute: 40 });
    const embed = () => openai(key).embeddings.create({ model: 'echo', input: ['x'.repeat(29)] });
    expect((await embed()).usage.total_tokens).toBe(30);
    await expect(embed()).rejects.toMatchObject({ status: 429, code: 'rate_limit_exceeded' });
  });

  it('bound its requests at once, of which one that its client left is none', async () => {
    const key = await makeKey({ concurrent: 1 });
    api.engine.script = () => ['hang'];
    const stopping = new AbortController();
    const stream = openai(key).chat.completions.create(
      { ...chat, stream: true },
      { signal: stopping.signal },
    );
    stream.catch(() => undefined);
    await api.engine.submitted();
    expect((await ask(key)).status).toBe(429);
    stopping.abort();
    await api.engine.idle();
    api.engine.script = () => say('abc');
    await expect.poll(async () => (await ask(key)).status).toBe(200);
  });

  it('count each answer of a request, by n, best_of and prompts', async () => {
    const key = await makeKey({ concurrent: 4 });
    const text = (fields: object) =>
      ask(key, { messages: undefined, prompt: 'x', ...fields }, '/v1/completions');
    expect((await ask(key, { n: 4 })).status).toBe(200);
    for (const refused of [
      await ask(key, { n: 5 }),
      await text({ best_of: 5 }),
      await text({ prompt: ['a', 'b', 'c'], n: 2 }),
    ]) {
      expect([refused.status, refused.headers.get('x-butterfly-code')]).toEqual([403, 'ACCESS_DENIED']);
      expect(await refused.text()).toContain('4 answers at once, and this request alone asks for more');
    }
    expect((await text({ prompt: ['a', 'b'], n: 2 })).status).toBe(200);
    await api.engine.idle();
    api.engine.script = () => ['hang'];
    const stopping = new AbortController();
    const asked = openai(key).chat.completions.create({ ...chat, n: 3 }, { signal: stopping.signal });
    asked.catch(() => undefined);
    await api.engine.submitted();
    api.engine.script = () => say('abc');
    expect((await ask(key, { n: 2 })).status).toBe(429);
    expect((await ask(key)).status).toBe(200);
    stopping.abort();
    await api.engine.idle();
    await expect.poll(async () => (await ask(key, { n: 4 })).status, { timeout: 30_000 }).toBe(200);
  });

  it('count an answer in the background until it is over', async () => {
    const key = await makeKey({ concurrent: 1 });
    api.engine.script = () => ['hang'];
    const begun = await openai(key).responses.create({ model: 'echo', input: 'Hi', background: true });
    expect(begun.status).toBe('in_progress');
    expect((await ask(key)).status).toBe(429);
    expect((await openai(key).responses.cancel(begun.id)).status).toBe('cancelled');
    api.engine.script = () => say('abc');
    await expect.poll(async () => (await ask(key)).status, { timeout: 30_000 }).toBe(200);
  });

  it('leave nothing taken of a request that was refused', async () => {
    const key = await makeKey({ concurrent: 2, tokensPerMinute: 100 });
    for (let count = 0; count < 3; count++) expect((await ask(key, { n: 3 })).status).toBe(403);
    expect((await ask(key, { n: 2, max_tokens: 5 })).status).toBe(200);
    const input = ['x'.repeat(60), 'x'.repeat(60)];
    for (let count = 0; count < 3; count++)
      await expect(openai(key).embeddings.create({ model: 'echo', input })).rejects.toThrow(
        /tokens in a minute/u,
      );
    expect((await ask(key, { n: 2, max_tokens: 5 })).status).toBe(200);
  });

  it('name the models that it is for, and hide others', async () => {
    const [key, own] = [await makeKey({ models: ['other'] }), await makeKey({ models: ['other', 'echo'] })];
    const refused = await ask(key);
    expect([refused.status, refused.headers.get('x-butterfly-code')]).toEqual([403, 'ACCESS_DENIED']);
    for (const path of ['/v1/messages', '/api/chat', '/v1/completions', '/v1/embeddings', '/tokenize'])
      expect(
        (await ask(key, { messages: undefined, prompt: 'x', input: 'x', content: 'x' }, path)).status,
      ).not.toBe(200);
    expect((await openai(key).models.list()).data).toEqual([]);
    expect((await openai(own).models.list()).data).toHaveLength(1);
    expect((await ask(own)).status).toBe(200);
    expect(api.engine.requests).toHaveLength(1);
  });

  it('let no request be more urgent than the key', async () => {
    const [usual, idle] = [await makeKey(), await makeKey({ priorityMax: 5 })];
    for (const key of [usual, idle]) for (const priority of [-7, 9]) await ask(key, { priority });
    await ask(idle);
    expect(api.engine.requests.map(({ priority }) => priority)).toEqual([0, 9, 5, 9, 5]);
  });
});
