import { METHODS } from 'node:http';
import { text as textOf } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startApi, type TestApi } from './testing/api.js';

let api: TestApi;
beforeAll(async () => {
  api = await startApi();
});
afterAll(() => api[Symbol.asyncDispose]());

const get = (path: string) => fetch(api.url + path);
const errorOf = async (response: Response) =>
  ((await response.json()) as { error: { code: string; type: string; message: string } }).error;

/** The status and the body of a request that `fetch` would not send so. */
async function raw(head: string): Promise<{ status: number; allow: string | undefined; body: string }> {
  const [start = '', body = ''] = (
    await textOf(api.connect(`${head}\r\nhost: localhost\r\nconnection: close\r\n\r\n`))
  ).split('\r\n\r\n');
  const status = Number(/^HTTP\/1\.1 (\d+)/.exec(start)?.[1]);
  return { status, allow: /^allow: (.*?)\r?$/im.exec(start)?.[1], body };
}

describe('paths', () => {
  it.each([
    '/v1/models',
    '/v1/models/',
    '//v1/models',
    '/v1//models//',
    '/v1/models?limit=20',
    '/v1/models/?limit=20',
  ])('%s lists the model', async (path) => {
    const { status, body } = await raw(`GET ${path} HTTP/1.1`);
    expect([status, JSON.parse(body)]).toEqual([
      200,
      { object: 'list', data: [expect.objectContaining({ id: 'echo' })] },
    ]);
  });

  it.each(['/v1/models/echo', '/v1/models/echo/', '/v1/models/%65cho', '//v1//models//echo'])(
    '%s is the model',
    async (path) => {
      const { status, body } = await raw(`GET ${path} HTTP/1.1`);
      expect([status, JSON.parse(body)]).toEqual([200, expect.objectContaining({ id: 'echo' })]);
    },
  );

  it.each([
    ['/v1/models/org/name', 'org/name'],
    ['/v1/models/org%2Fname', 'org/name'],
    ['/v1/models/echo/more', 'echo/more'],
    ['/v1/models/%20', ' '],
  ])('%s names no model that is here', async (path, id) => {
    const response = await get(path);
    expect(response.status).toBe(404);
    expect(await errorOf(response)).toMatchObject({
      code: 'NOT_FOUND',
      message: `There is no model "${id}" here; this server has "echo".`,
    });
  });

  it.each(['/v1/chat/completions/', '//v1/chat/completions', '/v1//chat//completions//', '/v1/completions/'])(
    '%s answers',
    async (path) => {
      const messages = [{ role: 'user', content: 'Hi' }];
      const response = await api.post(path, path.includes('chat') ? { messages } : { prompt: 'Hi' });
      expect(response.status).toBe(200);
    },
  );

  it.each(['/', '/v1', '/v2/nothing', '/models', '/v1/chat', '/v1/v1/models', '/v1/moderations'])(
    '%s is not there',
    async (path) => {
      const response = await get(path);
      expect(response.status).toBe(404);
      expect(response.headers.get('x-should-retry')).toBe('false');
      expect(await errorOf(response)).toMatchObject({ code: 'NOT_FOUND', type: 'not_found_error' });
    },
  );

  it('that are not there, or malformed, are refused before the body is read', async () => {
    expect((await api.post('/nothing', 'x', { 'content-type': 'text/plain' })).status).toBe(404);
    expect((await get('/v1/models/%zz')).status).toBe(400);
  });
});

describe('methods', () => {
  it('of another kind are refused, naming those that there are', async () => {
    const wrong = await api.post('/v1/models', '{not json');
    expect([wrong.status, wrong.headers.get('allow')]).toEqual([405, 'GET, HEAD']);
    expect(await errorOf(wrong)).toMatchObject({ code: 'REQUEST_INVALID' });
    const read = await get('/v1/completions/');
    expect([read.status, read.headers.get('allow')]).toEqual([405, 'POST']);
  });

  it.each(METHODS.filter((method) => !['GET', 'HEAD', 'POST', 'CONNECT'].includes(method)))(
    '%s is refused in words',
    async (method) => {
      const { status, allow, body } = await raw(`${method} /v1/completions HTTP/1.1`);
      expect([status, allow]).toEqual([405, 'POST']);
      expect(body).toContain('"REQUEST_INVALID"');
      expect((await raw(`${method} /nothing HTTP/1.1`)).status).toBe(404);
    },
  );

  it('HEAD is answered wherever GET is, without a body', async () => {
    for (const path of ['/health', '/ready', '/v1/models', '/v1/models/echo/', '/v1/models/'])
      expect(await raw(`HEAD ${path} HTTP/1.1`)).toMatchObject({ status: 200, body: '' });
    expect(await raw('HEAD /v1/completions HTTP/1.1')).toMatchObject({ status: 405, body: '' });
    expect(await raw('HEAD /nothing HTTP/1.1')).toMatchObject({ status: 404, body: '' });
  });
});
