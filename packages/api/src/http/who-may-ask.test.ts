import { text as textOf } from 'node:stream/consumers';
import { afterEach, describe, expect, it } from 'vitest';
import { say, startApi, type TestApi } from '../testing/api.js';

let api: TestApi | null = null;
afterEach(() => api?.[Symbol.asyncDispose]());

const page = 'https://chat.example';
const body = { messages: [{ role: 'user', content: 'Hi' }] };
const json = { 'content-type': 'application/json' };

/** What a browser asks before a page may send JSON with a key. */
const preflight = (url: string, headers: Record<string, string> = {}) =>
  fetch(url, {
    method: 'OPTIONS',
    headers: {
      origin: page,
      'access-control-request-method': 'POST',
      'access-control-request-headers': 'authorization,content-type,x-stainless-lang,x-stainless-retry-count',
      ...headers,
    },
  });

const allowed = (response: Response) => response.headers.get('access-control-allow-origin');

describe('pages of another origin', () => {
  it('may not ask unless they are let', async () => {
    api = await startApi();
    const refused = await preflight(`${api.url}/v1/chat/completions`);
    expect([refused.status, allowed(refused)]).toEqual([405, null]);
    expect(await refused.text()).toContain('--cors ORIGIN');
    const answered = await api.post('/v1/chat/completions', body, { ...json, origin: page });
    expect([...answered.headers.keys()].filter((name) => name.startsWith('access-control'))).toEqual([]);
  });

  it('may ask where their origin is let in, with whatever headers', async () => {
    api = await startApi(undefined, { corsOrigins: ['https://other.example', page] });
    for (const path of ['/v1/chat/completions', '/v1/models', '/v1/models/echo/', '//v1/completions/']) {
      const { status, headers } = await preflight(api.url + path);
      expect(status).toBe(204);
      expect(headers.get('access-control-allow-origin')).toBe(page);
      expect(headers.get('access-control-allow-methods')).toBe('GET, HEAD, POST');
      expect(headers.get('access-control-allow-headers')).toContain('x-stainless-retry-count');
      expect(Number(headers.get('access-control-max-age'))).toBeGreaterThan(0);
      expect(headers.get('vary')).toMatch(/origin/i);
      expect(headers.has('access-control-allow-private-network')).toBe(false);
    }
    const asked = { 'access-control-request-private-network': 'true' };
    const { headers } = await preflight(`${api.url}/v1/models`, asked);
    expect(headers.get('access-control-allow-private-network')).toBe('true');
  });

  it('may read answers, streams and refusals of all kinds', async () => {
    api = await startApi(undefined, { corsOrigins: [page] });
    const post = (path: string, what: unknown, headers: object = {}) =>
      api?.post(path, what, { ...json, origin: page, ...headers });
    api.engine.script = () => say('ab');
    const responses = [
      [200, await post('/v1/chat/completions', body)],
      [200, await post('/v1/chat/completions', { ...body, stream: true })],
      [400, await post('/v1/chat/completions', { ...body, functions: [{}] })],
      [400, await post('/v1/chat/completions', '{')],
      [404, await post('/nothing', body)],
      [405, await post('/v1/models', body)],
      [415, await post('/v1/completions', 'x', { 'content-type': 'text/plain' })],
      [415, await post('/v1/completions', 'x', { 'content-encoding': 'gzip' })],
    ] as const;
    for (const [status, response] of responses) {
      expect(response?.status).toBe(status);
      expect(response?.headers.get('access-control-allow-origin')).toBe(page);
      expect(response?.headers.get('access-control-expose-headers')).toContain('x-request-id');
      expect(response?.headers.get('vary')).toMatch(/origin/i);
      await response?.text();
    }
  });

  it('of others than are let in may not', async () => {
    api = await startApi(undefined, { corsOrigins: [page] });
    for (const origin of ['https://evil.example', `${page}.evil.example`, 'http://chat.example', 'null']) {
      const asked = { 'access-control-request-private-network': 'true' };
      const refused = await preflight(`${api.url}/v1/chat/completions`, { origin, ...asked });
      expect([refused.status, allowed(refused)]).toEqual([405, null]);
      expect(refused.headers.has('access-control-allow-private-network')).toBe(false);
      const answered = await api.post('/v1/chat/completions', body, { ...json, origin });
      expect([answered.status, allowed(answered)]).toEqual([200, null]);
      expect(answered.headers.get('vary')).toMatch(/origin/i);
    }
  });

  it('may all ask where all are let in', async () => {
    api = await startApi(undefined, { corsOrigins: ['*'] });
    expect(allowed(await preflight(`${api.url}/v1/models`))).toBe('*');
    expect(allowed(await api.post('/v1/chat/completions', body, { ...json, origin: 'null' }))).toBe('*');
  });
});

/** The status and body of a bare request with these lines for headers. */
async function ask(lines: readonly string[], start = 'GET /v1/models HTTP/1.1'): Promise<[number, string]> {
  if (!api) throw new Error('There is no server.');
  const text = await textOf(api.connect(`${[start, ...lines, 'connection: close'].join('\r\n')}\r\n\r\n`));
  return [Number(/^HTTP\/1\.1 (\d+)/.exec(text)?.[1]), text];
}

describe('a server on a loopback address', () => {
  it.each([
    'localhost',
    'localhost:8080',
    'LocalHost:1',
    'localhost.',
    '127.0.0.1',
    '127.8.9.10:80',
    '[::1]:8080',
    '[::1]',
    'llm.example:443',
    'LLM.example',
    '[fd00::1]:80',
  ])('answers as %s', async (host) => {
    api = await startApi(undefined, { hostNames: ['llm.example', '[fd00::1]'] });
    expect((await ask([`host: ${host}`]))[0]).toBe(200);
  });

  it.each([
    'evil.example',
    'evil.example:8080',
    'localhost.evil.example',
    '127.0.0.1.evil.example',
    '10.0.0.1',
    '[::2]:80',
    'localhost-x',
  ])('is not for pages that reach it as %s, whatever they ask', async (host) => {
    api = await startApi();
    for (const start of [
      'GET /v1/models HTTP/1.1',
      'GET /health HTTP/1.1',
      'GET /ready HTTP/1.1',
      'GET /nothing HTTP/1.1',
      'DELETE /v1/models HTTP/1.1',
      'OPTIONS /v1/models HTTP/1.1',
      'POST /v1/completions HTTP/1.1',
    ]) {
      const [status, text] = await ask([`host: ${host}`], start);
      expect([start, status]).toEqual([start, 403]);
      expect(text).toContain('"ACCESS_DENIED"');
      expect(text).toContain('--allow-host');
      expect(text).toMatch(/x-should-retry: false/i);
    }
  });

  it.each([
    [['host:'], 400],
    [[], 400],
    [['host: a b'], 400],
    [['host: http://localhost/'], 400],
    [['host: localhost@evil.example'], 400],
    [['host: localhost:port'], 400],
  ] as const)('refuses %j in words', async (lines, status) => {
    api = await startApi();
    const [got, text] = await ask(lines);
    expect(got).toBe(status);
    expect(text).toContain('"REQUEST_INVALID"');
  });

  it('is not asked without a name, which only HTTP/1.0 can', async () => {
    api = await startApi();
    const [status, text] = await ask([], 'GET /v1/models HTTP/1.0');
    expect([status, text]).toEqual([403, expect.stringContaining('"ACCESS_DENIED"')]);
  });
});

describe('a server on every address', () => {
  it('answers under any name', async () => {
    api = await startApi(undefined, { host: '0.0.0.0' });
    expect((await ask(['host: anything.example:80']))[0]).toBe(200);
    expect((await ask([], 'GET /v1/models HTTP/1.0'))[0]).toBe(200);
    expect((await ask([]))[0]).toBe(400);
  });
});
