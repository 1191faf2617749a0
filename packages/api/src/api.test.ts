import { text as textOf } from 'node:stream/consumers';
import { ButterflyError, deadlines, limits } from '@butterfly/common';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { EchoEngine, longestTokenized, say, startApi } from './testing/api.js';
import type { TestApi } from './testing/api.js';

let api: TestApi;
beforeAll(async () => {
  api = await startApi();
});
afterAll(() => api[Symbol.asyncDispose]());
beforeEach(() => {
  const { script, state, contextTokensMax, cachedPromptTokens } = new EchoEngine();
  Object.assign(api.engine, { script, state, contextTokensMax, cachedPromptTokens, refusal: null });
});

interface ErrorBody {
  error: { message: string; type: string; param: string | null; code: string };
}
async function failure(
  response: Response | Promise<Response>,
): Promise<[status: number, ErrorBody['error']]> {
  const { status, ...answer } = await Promise.resolve(response).then(async (received) => ({
    status: received.status,
    body: (await received.json()) as ErrorBody,
  }));
  expect(Object.keys(answer.body.error).sort()).toEqual(['code', 'message', 'param', 'type']);
  return [status, answer.body.error];
}

const chat = (fields: object = {}) =>
  api.post('/v1/chat/completions', { model: 'echo', messages: [{ role: 'user', content: 'Hi' }], ...fields });
const complete = (fields: object = {}) =>
  api.post('/v1/completions', { model: 'echo', prompt: 'Hi', ...fields });
const get = (path: string) => fetch(api.url + path);

describe('answers in one piece', () => {
  it('completes a chat through the template', async () => {
    const response = await chat({ seed: 5, temperature: 0 });
    expect(await response.json()).toEqual({
      id: expect.stringMatching(/^chatcmpl-[0-9a-f]{32}$/) as string,
      object: 'chat.completion',
      created: expect.any(Number) as number,
      model: 'echo',
      choices: [
        {
          index: 0,
          message: { role: 'assistant', content: 'user=Hi|', refusal: null },
          logprobs: null,
          finish_reason: 'stop',
        },
      ],
      usage: {
        prompt_tokens: 9,
        completion_tokens: 8,
        total_tokens: 17,
        prompt_tokens_details: { cached_tokens: 0 },
      },
    });
    const request = api.engine.requests.at(-1);
    expect([...(request?.promptTokens ?? [])]).toEqual([256, ...say('user=Hi|')]);
    expect(request).toMatchObject({
      outputTokensMax: 256 - 9,
      sampling: { seed: 5, temperature: 0 },
      stopTokens: new Set([257]),
      priority: 0,
      timeoutMs: deadlines.requestMs,
    });
  });

  it('hands on priority, deadline and whether to go on after the end', async () => {
    api.engine.script = () => [...say('ab'), 257, ...say('c'), 'length'];
    const response = await chat({ priority: -7, timeout_ms: 1500, ignore_eos: true });
    expect(await response.json()).toMatchObject({
      choices: [{ message: { content: 'abc' }, finish_reason: 'length' }],
      usage: { completion_tokens: 4 },
    });
    expect(api.engine.requests.at(-1)).toMatchObject({
      priority: -7,
      timeoutMs: 1500,
      stopTokens: new Set(),
    });
  });

  it('tells how much of the prompt was cached, where the engine could say', async () => {
    api.engine.cachedPromptTokens = 2;
    const details = { prompt_tokens: 3, prompt_tokens_details: { cached_tokens: 2 } };
    expect(await (await complete()).json()).toMatchObject({ usage: details });
    api.engine.script = () => [...say('a END'), 'hang'];
    const { usage } = (await (await complete({ stop: 'END' })).json()) as { usage: object };
    expect(usage).toEqual({ prompt_tokens: 3, completion_tokens: 5, total_tokens: 8 });
  });

  it('completes text, adding BOS once, and tokens as they are', async () => {
    const body = await (await complete({ prompt: '<s>Hi', max_tokens: 1 })).json();
    expect(body).toMatchObject({
      id: expect.stringMatching(/^cmpl-/) as string,
      object: 'text_completion',
      choices: [{ text: 'H', index: 0, logprobs: null, finish_reason: 'length' }],
      usage: { prompt_tokens: 3, completion_tokens: 1, total_tokens: 4 },
    });
    expect((await complete({ prompt: [72, 105] })).status).toBe(200);
    expect(api.engine.requests.at(-1)?.promptTokens).toEqual(Int32Array.of(72, 105));
  });

  it('ends at a stop token and at a stop string that is cut over tokens', async () => {
    api.engine.script = () => [...say('ab'), 257, ...say('never')];
    expect(await (await complete()).json()).toMatchObject({
      choices: [{ text: 'ab', finish_reason: 'stop' }],
    });
    api.engine.script = () => [...say('some text\n\nUser: more'), 'hang'];
    const stopped = await complete({ stop: ['\n\nUser:', 'zzz'], max_tokens: 100 });
    expect(await stopped.json()).toMatchObject({
      choices: [{ text: 'some text', finish_reason: 'stop' }],
      usage: { completion_tokens: 16 },
    });
    await api.engine.idle();
  });

  it('gives out the tail that was held back, and replaces half a code point at the end', async () => {
    api.engine.script = () => [...say('the EN'), 0xe2, 0x82, 'length'];
    expect(await (await complete({ stop: 'END' })).json()).toMatchObject({
      choices: [{ text: 'the EN\ufffd', finish_reason: 'length' }],
    });
  });
});

describe('the other routes', () => {
  it('lists the model', async () => {
    const model = {
      id: 'echo',
      object: 'model',
      created: 1_700_000_000,
      owned_by: 'butterfly',
      max_model_len: 256,
      context_length: 256,
      capabilities: ['completion'],
      quantization: 'F32',
      status: { value: 'loaded' },
      meta: { n_vocab: 259, n_ctx_train: 512, n_params: 1_234_567_890, size: 4_938_271_560 },
    };
    expect(await (await get('/v1/models')).json()).toEqual({ object: 'list', data: [model] });
    expect(await (await get('/v1/models/echo')).json()).toEqual(model);
    const [status, error] = await failure(get('/v1/models/other'));
    expect([status, error.code]).toEqual([404, 'NOT_FOUND']);
    expect(error.message).toContain('"echo"');
  });

  it('tells life from readiness', async () => {
    expect((await get('/ready')).status).toBe(200);
    api.engine.state = {
      ...{ ready: false, detail: 'Waiting for 2 workers.', running: 0, queued: 3 },
      retryAfterMs: 500,
    };
    const ready = await get('/ready');
    expect(ready.status).toBe(503);
    expect(await ready.json()).toEqual({
      ready: false,
      detail: 'Waiting for 2 workers.',
      running: 0,
      queued: 3,
    });
    const health = await get('/health');
    expect([health.status, await health.json()]).toEqual([200, { status: 'ok' }]);
  });
});

describe('refusals', () => {
  it('names the field at fault', async () => {
    expect(await failure(chat({ temperature: 3 }))).toMatchObject([
      400,
      { code: 'REQUEST_INVALID', type: 'invalid_request_error', param: 'temperature' },
    ]);
    expect(await failure(chat({ functions: [{}] }))).toMatchObject([
      400,
      { code: 'REQUEST_UNSUPPORTED', param: 'functions' },
    ]);
    expect(await failure(complete({ prompt: [9999] }))).toMatchObject([400, { param: 'prompt' }]);
    expect(await failure(complete({ model: 'gpt' }))).toMatchObject([
      404,
      { code: 'NOT_FOUND', param: 'model' },
    ]);
  });

  it("passes on the template's words", async () => {
    const [status, error] = await failure(chat({ messages: [{ role: 'user', content: 'refuse' }] }));
    expect([status, error.code, error.param]).toEqual([400, 'REQUEST_INVALID', 'messages']);
    expect(error.message).toContain('No such talk');
    const image = [{ role: 'user', content: [{ type: 'image_url', image_url: { url: 'x' } }] }];
    expect(await failure(chat({ messages: image }))).toMatchObject([400, { code: 'REQUEST_UNSUPPORTED' }]);
  });

  it('refuses what does not fit the context, with the numbers', async () => {
    const response = await complete({ prompt: 'x'.repeat(300), max_tokens: 9 });
    expect(response.headers.get('x-butterfly-code')).toBe('CONTEXT_EXCEEDED');
    expect(await failure(response)).toEqual([
      400,
      {
        code: 'context_length_exceeded',
        type: 'invalid_request_error',
        param: 'prompt',
        message:
          "This model's maximum context length is 256 tokens. However, you requested 310 tokens (301 in the prompt, 9 in the completion). Please reduce the length of the prompt.",
      },
    ]);
    const [, full] = await failure(chat({ messages: [{ role: 'user', content: 'x'.repeat(249) }] }));
    expect(full.message).toMatch(/256 tokens\. However.* 257 tokens \(256 in the messages, 1 in the comp/);
    expect((await failure(complete({ prompt: [] })))[1].message).toContain('empty');
  });

  it('gives as much output as there is room for to whom asks for more', async () => {
    for (const max_tokens of [256, 56, 1e15, -1]) {
      api.engine.script = () => [...say('x'.repeat(300)), 'hang'];
      const body = await (await complete({ prompt: 'x'.repeat(200), max_tokens })).json();
      expect(body).toMatchObject({
        choices: [{ finish_reason: 'length' }],
        usage: { prompt_tokens: 201, completion_tokens: 55 },
      });
    }
    await chat({ max_completion_tokens: 1e9 });
    expect(api.engine.requests.at(-1)?.outputTokensMax).toBe(256 - 9);
  });

  it('reads of a text that cannot fit only what it needs to know that', async () => {
    longestTokenized.characters = 0;
    const content = '蝶'.repeat(5 * 2 ** 20);
    for (const [response, param] of [
      [complete({ prompt: content }), 'prompt'],
      [chat({ messages: [{ role: 'user', content }] }), 'messages'],
    ] as const) {
      const [status, error] = await failure(response);
      expect([status, error.code, error.param]).toEqual([400, 'context_length_exceeded', param]);
      expect(error.message).toMatch(/maximum context length is 256 tokens.*over 256 tokens/);
    }
    expect(longestTokenized.characters).toBeLessThan(20_000);
  });

  it('reads a long text that fits as a whole', async () => {
    api.engine.contextTokensMax = 50_000;
    const prompt = `${'x'.repeat(16 * 1024 - 2)}</s>${'👋'.repeat(5000)}`;
    expect((await complete({ prompt, max_tokens: 1 })).status).toBe(200);
    const tokens = [256, ...say('x'.repeat(16 * 1024 - 2)), 257, ...say('👋'.repeat(5000))];
    expect(api.engine.requests.at(-1)?.promptTokens).toEqual(Int32Array.from(tokens));
  });

  it.each([
    ['token ids', `{"prompt":[${'1,'.repeat(2 ** 21)}1]}`],
    ['lists', `{"prompt":[${'[],'.repeat(2 ** 21)}[]]}`],
    ['messages', `{"messages":[${'{},'.repeat(2 ** 21)}{}]}`],
    ['unknown fields', `{${'"a":1,'.repeat(2 ** 20)}"a":1}`],
    ['lists in lists', `{"prompt":${'['.repeat(2 ** 22)}${']'.repeat(2 ** 22)}}`],
    ['lists without an end', '['.repeat(2 ** 22)],
  ])('refuses millions of %s before it makes values of them', async (_, body) => {
    for (const path of ['/v1/completions', '/v1/chat/completions'])
      expect(await failure(api.post(path, body))).toMatchObject([413, { code: 'REQUEST_TOO_LARGE' }]);
  });

  it('counts nothing within strings', async () => {
    api.engine.contextTokensMax = 2 ** 20;
    const prompt = `${'[{,'.repeat(100_000)}\\"[[`;
    expect((await complete({ prompt, max_tokens: 1 })).status).toBe(200);
    expect(api.engine.requests.at(-1)?.promptTokens).toHaveLength(prompt.length + 1);
    for (const body of ['{"prompt": "a', '{"prompt": "a\\', '{"prompt": "a\\"}', '"', ']]]', '{"a": [}'])
      expect(await failure(api.post('/v1/completions', body))).toMatchObject([
        400,
        { code: 'REQUEST_INVALID' },
      ]);
  });

  it('refuses malformed bodies, other content types and bodies over the limit', async () => {
    const path = '/v1/chat/completions';
    for (const body of ['{"messages": [', 'null', '[]', '"x"', '', '{"__proto__": {}}'])
      expect(await failure(api.post(path, body))).toMatchObject([400, { code: 'REQUEST_INVALID' }]);
    expect(await failure(api.post(path, 'x', { 'content-type': 'text/plain' }))).toMatchObject([
      415,
      { code: 'REQUEST_INVALID' },
    ]);
    expect((await failure(fetch(api.url + path, { method: 'POST' })))[0]).toBe(400);
    const head = `POST ${path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n`;
    const tooLarge = api.connect(`${head}content-length: ${limits.requestBodyBytesMax + 1}\r\n\r\n{`);
    expect(await textOf(tooLarge)).toMatch(/^HTTP\/1\.1 413 [^]*"REQUEST_TOO_LARGE"/);
  });

  it('answers bytes that are not HTTP', async () => {
    const answer = await textOf(api.connect('hello?\r\n\r\n'));
    expect(answer).toMatch(/^HTTP\/1\.1 400 [^]*"invalid_request_error"/);
  });

  it('asks clients to retry when the queue is full', async () => {
    api.engine.refusal = new ButterflyError('QUEUE_FULL', 'Too many wait.');
    const response = await chat();
    expect(response.headers.get('retry-after')).toBe('1');
    expect(await failure(response)).toMatchObject([429, { code: 'QUEUE_FULL', type: 'rate_limit_error' }]);
    for (const [retryAfterMs, seconds] of [
      [1, '1'],
      [1001, '2'],
      [59_000, '59'],
    ] as const) {
      api.engine.state = { ...api.engine.state, retryAfterMs };
      expect((await chat()).headers.get('retry-after')).toBe(seconds);
    }
  });

  it('gives errors of the engine their status, and keeps defects to itself', async () => {
    api.engine.script = () => [...say('so far'), new ButterflyError('WORKER_LOST', 'Worker 2 died.')];
    expect(await failure(chat())).toMatchObject([503, { code: 'WORKER_LOST', message: 'Worker 2 died.' }]);
    api.engine.script = () => {
      throw new Error('secret path');
    };
    const response = await chat();
    const id = response.headers.get('x-request-id') ?? '';
    const [status, error] = await failure(response);
    expect([status, error.code]).toEqual([500, 'INTERNAL']);
    expect(error.message).toContain(id);
    expect(error.message).not.toContain('secret');
  });
});
