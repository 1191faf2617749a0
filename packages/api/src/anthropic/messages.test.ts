import Anthropic from '@anthropic-ai/sdk';
import { ButterflyError } from '@butterfly/common';
import type { GenerateRequest } from '@butterfly/engine';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { say, startApi, type TestApi } from '../testing/api.js';

const messages = [{ role: 'user' as const, content: 'Hi' }];
const ask = { model: 'echo', max_tokens: 50, messages };

let api: TestApi;
let client: Anthropic;
beforeAll(async () => {
  api = await startApi();
  client = new Anthropic({ baseURL: api.url, apiKey: 'none', maxRetries: 0 });
});
afterAll(() => api[Symbol.asyncDispose]());
beforeEach(() => {
  api.engine.script = () => say('Hello');
  api.engine.refusal = null;
  api.engine.requests.length = 0;
  api.engine.cachedPromptTokens = 0;
});

const promptOf = (request: GenerateRequest | undefined) =>
  Buffer.from([...(request?.promptTokens ?? [])].filter((token) => token < 256)).toString();

describe('the official client of /v1/messages', () => {
  it('gets a message', async () => {
    api.engine.cachedPromptTokens = 3;
    const message = await client.messages.create({ ...ask, system: 'Be brief.' });
    expect(message).toMatchObject({
      type: 'message',
      role: 'assistant',
      model: 'echo',
      content: [{ type: 'text', text: 'Hello' }],
      stop_reason: 'end_turn',
      stop_sequence: null,
      usage: { cache_read_input_tokens: 3, output_tokens: 5 },
    });
    const [request] = api.engine.requests;
    expect(promptOf(request)).toBe('system=Be brief.|user=Hi|');
    const { input_tokens: fresh, cache_read_input_tokens: cached } = message.usage;
    expect(fresh + (cached ?? 0)).toBe(request?.promptTokens.length);
  });

  it('hears what ended it', async () => {
    api.engine.script = () => say('one END two');
    const stopped = await client.messages.create({ ...ask, stop_sequences: ['END'] });
    expect(stopped).toMatchObject({
      content: [{ text: 'one ' }],
      stop_reason: 'stop_sequence',
      stop_sequence: 'END',
    });
    expect(await client.messages.create({ ...ask, max_tokens: 2 })).toMatchObject({
      content: [{ text: 'on' }],
      stop_reason: 'max_tokens',
    });
  });

  it('reads a stream to its message', async () => {
    const stream = client.messages.stream(ask);
    const texts: string[] = [];
    const kinds: string[] = [];
    stream.on('text', (text) => texts.push(text)).on('streamEvent', ({ type }) => kinds.push(type));
    const message = await stream.finalMessage();
    expect(texts.join('')).toBe('Hello');
    expect([...new Set(kinds)]).toEqual([
      'message_start',
      'content_block_start',
      'content_block_delta',
      'content_block_stop',
      'message_delta',
      'message_stop',
    ]);
    expect(message).toMatchObject({
      content: [{ type: 'text', text: 'Hello' }],
      stop_reason: 'end_turn',
      usage: { output_tokens: 5 },
    });
  });

  it('says all kinds of parts in a conversation', async () => {
    await client.messages.create({
      ...ask,
      system: [
        { type: 'text', text: 'One. ', cache_control: { type: 'ephemeral' } },
        { type: 'text', text: 'Two.' },
      ],
      messages: [
        {
          role: 'user',
          content: [
            { type: 'text', text: 'a' },
            { type: 'text', text: 'b' },
          ],
        },
        { role: 'assistant', content: [{ type: 'text', text: 'c' }] },
        { role: 'user', content: 'd' },
      ],
    });
    expect(promptOf(api.engine.requests[0])).toBe('system=One. Two.|user=ab|assistant=c|user=d|');
  });

  it('counts what would be asked', async () => {
    const { input_tokens: counted } = await client.messages.countTokens({ model: 'echo', messages });
    await client.messages.create(ask);
    expect(counted).toBe(api.engine.requests[0]?.promptTokens.length);
  });

  it('finds its own errors', async () => {
    const failure = async (fields: object): Promise<unknown> =>
      client.messages.create({ ...ask, ...fields }).then(
        () => null,
        (error: unknown) => error,
      );
    const wrong = await failure({ temperature: 'hot' });
    expect(wrong).toBeInstanceOf(Anthropic.BadRequestError);
    expect(wrong).toMatchObject({ error: { type: 'error', error: { type: 'invalid_request_error' } } });
    expect(await failure({ model: 'other' })).toBeInstanceOf(Anthropic.NotFoundError);
    const long = await failure({ messages: [{ role: 'user', content: 'x'.repeat(400) }] });
    expect((long as Error).message).toMatch(/prompt is too long: .*maximum context length is 256 tokens/);
    api.engine.refusal = new ButterflyError('QUEUE_FULL', 'Later.');
    expect(await failure({})).toBeInstanceOf(Anthropic.RateLimitError);
    const image = { type: 'image', source: { type: 'url', url: 'http://x' } };
    expect(await failure({ messages: [{ role: 'user', content: [image] }] })).toMatchObject({
      status: 400,
      error: { error: { message: expect.stringContaining('messages.0.content.0') as string } },
    });
  });

  it('is told of a failure in mid-stream', async () => {
    api.engine.script = () => [...say('He'), new ButterflyError('WORKER_LOST', 'It is gone.')];
    const stream = client.messages.stream(ask);
    await expect(stream.finalMessage()).rejects.toThrow(/It is gone/);
  });
});

describe('/v1/messages', () => {
  it('speaks in its own shape of what is not there, too', async () => {
    const response = await api.post('/v1/messages/batches', {});
    expect(response.status).toBe(404);
    expect(await response.json()).toMatchObject({
      type: 'error',
      error: { type: 'not_found_error' },
      request_id: response.headers.get('x-request-id'),
    });
    const wrongMethod = await fetch(`${api.url}/v1//messages/`);
    expect([wrongMethod.status, await wrongMethod.json()]).toMatchObject([405, { type: 'error' }]);
  });

  it('names tools that it cannot offer, and does without them', async () => {
    const tools = [{ type: 'web_search_20250305', name: 'web_search', max_uses: 5 }];
    const response = await api.post('/v1/messages', { ...ask, tools, metadata: { user_id: 'me' } });
    expect(response.status).toBe(200);
    expect(response.headers.get('x-butterfly-no-effect')).toBe('metadata, tools[].type');
  });

  it.each([
    [{ messages: [] }, 'messages'],
    [{ messages: [{ role: 'robot', content: 'x' }] }, 'messages.0.role'],
    [{ messages: [{ role: 'user', content: [{ type: 'tool_result' }] }] }, 'messages.0.content.0'],
    [{ messages: [{ role: 'user', content: [{ type: 'text' }] }] }, 'messages.0.content.0'],
    [{ messages: [{ role: 'assistant', content: [{ type: 'tool_use', id: 'x' }] }] }, 'messages.0.content.0'],
    [{ max_tokens: 0 }, 'max_tokens'],
    [{ tool_choice: { type: 'any' } }, 'tool_choice'],
    [{ tool_choice: { type: 'tool', name: 'f' } }, 'tool_choice.name'],
    [{ container: 'x' }, 'container'],
    [{ nonsense: 1 }, 'nonsense'],
  ])('refuses %j', async (fields, path) => {
    const response = await api.post('/v1/messages', { ...ask, ...fields });
    expect(response.status).toBe(400);
    expect(await response.json()).toMatchObject({
      type: 'error',
      error: { type: 'invalid_request_error', message: expect.stringContaining(path) as string },
    });
  });
});
