import { ButterflyError, type ErrorCode } from '@butterfly/common';
import OpenAI, { APIError } from 'openai';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { EchoEngine, say, startApi, type TestApi } from './testing/api.js';

let api: TestApi;
let sent = 0;
let client: OpenAI;
beforeAll(async () => {
  api = await startApi();
  client = new OpenAI({
    baseURL: `${api.url}/v1`,
    apiKey: 'none',
    maxRetries: 2,
    fetch: (url, init) => {
      sent++;
      return fetch(url, init);
    },
  });
});
afterAll(() => api[Symbol.asyncDispose]());
beforeEach(() => {
  sent = 0;
  api.engine.script = new EchoEngine().script;
  api.engine.refusal = null;
});

const messages = [{ role: 'user' as const, content: 'Hi' }];
const chat = (fields: object = {}) => client.chat.completions.create({ model: 'echo', messages, ...fields });
async function failure(promise: Promise<unknown>): Promise<APIError> {
  const thrown: unknown = await promise.then(
    () => null,
    (error: unknown) => error,
  );
  if (!(thrown instanceof APIError)) throw new Error('It did not fail as the API fails.', { cause: thrown });
  return thrown;
}

describe('the official client, told to try three times', () => {
  it.each(['TIMEOUT', 'CANCELLED'] as const)('asks once when the end is %s', async (code) => {
    for (const stream of [false, true]) {
      sent = 0;
      api.engine.script = () => [new ButterflyError(code, 'It took too long.')];
      const error = await failure(chat({ stream }));
      expect([sent, error.code, error.headers?.get('x-should-retry')]).toEqual([1, code, 'false']);
    }
  });

  it.each<[ErrorCode, number]>([
    ['QUEUE_FULL', 429],
    ['CLUSTER_NOT_READY', 503],
    ['WORKER_LOST', 503],
    ['INTERNAL', 500],
  ])('asks again after %s', async (code, status) => {
    api.engine.script = () => {
      api.engine.script = () => say('Now it works.');
      return [new ButterflyError(code, 'Not now.')];
    };
    const answer = await chat();
    expect(answer).toMatchObject({ choices: [{ message: { content: 'Now it works.' } }] });
    expect(sent).toBe(2);
    api.engine.refusal = new ButterflyError(code, 'Not now.');
    const response = await api.post('/v1/chat/completions', { messages });
    expect([response.status, response.headers.get('x-should-retry')]).toEqual([status, null]);
    expect(response.headers.get('x-butterfly-code')).toBe(code);
  });

  it.each([
    [{ temperature: 9 }, 400, 'REQUEST_INVALID'],
    [{ modalities: ['audio'] }, 400, 'REQUEST_UNSUPPORTED'],
    [{ model: 'other' }, 404, 'NOT_FOUND'],
    [{ messages: [{ role: 'user', content: 'x'.repeat(300) }] }, 400, 'context_length_exceeded'],
  ])('asks once with %j', async (fields, status, code) => {
    const error = await failure(chat(fields));
    expect([sent, error.status, error.code]).toEqual([1, status, code]);
    expect(error.headers?.get('x-should-retry')).toBe('false');
  });

  it('reads that the context is too short for its messages', async () => {
    const error = await failure(chat({ messages: [{ role: 'user', content: 'x'.repeat(300) }] }));
    expect(error).toBeInstanceOf(OpenAI.BadRequestError);
    expect(error.type).toBe('invalid_request_error');
    expect(error.message).toMatch(/maximum context length is 256 tokens/);
  });
});
