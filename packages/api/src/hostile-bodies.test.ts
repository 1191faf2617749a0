import { once } from 'node:events';
import { limits } from '@butterfly/common';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type TestApi, startApi } from './testing/api.js';
import { conformanceErrors } from './testing/conformance/validate.js';
import { type ErrorShape, endpoints } from './testing/endpoints.js';
import { wrongBodies, wrongBytes } from './testing/hostile.js';

/** Of each kind, for each endpoint: `HOSTILE_BODIES=2000` with `--testTimeout 1800000` tries many. */
const bodies = Number(process.env.HOSTILE_BODIES ?? 40);

let api: TestApi;
beforeAll(async () => {
  api = await startApi();
  api.engine.contextTokensMax = 2048;
});
afterAll(() => api[Symbol.asyncDispose]());

/** Empty where an error is in the words of the dialect. */
function faultsOf(shape: ErrorShape, body: unknown): readonly unknown[] {
  switch (shape) {
    case 'openai': {
      const { error, ...rest } = body as { readonly error?: Readonly<Record<string, unknown>> };
      const { message, type, param, code, ...more } = error ?? {};
      const isRight =
        typeof message === 'string' &&
        typeof type === 'string' &&
        typeof code === 'string' &&
        (param === null || typeof param === 'string') &&
        Object.keys({ ...rest, ...more }).length === 0;
      return isRight ? [] : [body];
    }
    case 'anthropic':
      return conformanceErrors('anthropicError', body);
    case 'ollama':
      return conformanceErrors('ollamaError', body);
    default:
      return shape satisfies never;
  }
}

const json = { 'content-type': 'application/json' };

/** What came of a body, in short; asks for something right behind it. */
async function outcomeOf(
  path: string,
  shape: ErrorShape,
  body: string | Uint8Array,
  headers: Record<string, string> = json,
): Promise<'answered' | 'refused'> {
  const response = await fetch(api.url + path, { method: 'POST', headers, body });
  const text = await response.text();
  const next = await api.post('/v1/completions', { prompt: 'Hi', max_tokens: 1 });
  expect([next.status, await next.json()]).toMatchObject([200, { choices: [{ text: 'H' }] }]);
  const told = `${response.status} ${text.slice(0, 500)}`;
  if (response.status === 200) {
    // A stream has its status already; nothing here may fail behind it.
    expect(told).not.toContain('INTERNAL');
    return 'answered';
  }
  expect(told).toMatch(/^4\d\d /u);
  expect([told, faultsOf(shape, JSON.parse(text))]).toEqual([told, []]);
  return 'refused';
}

describe.each(endpoints)('$path', (endpoint) => {
  const { path, shape } = endpoint;

  it('answers what is right', async () => {
    for (const body of endpoint.bodies) {
      const response = await api.post(path, body);
      const text = await response.text();
      expect([response.status, text]).toEqual([200, text]);
    }
  });

  it('refuses fields and parts that are wrong, in its own words', async () => {
    let refused = 0;
    await fc.assert(
      fc.asyncProperty(wrongBodies(endpoint), async (body) => {
        if ((await outcomeOf(path, shape, JSON.stringify(body))) === 'refused') refused++;
      }),
      { numRuns: bodies },
    );
    expect(refused).toBeGreaterThan(bodies / 10);
  });

  it('refuses bytes that are wrong', async () => {
    let refused = 0;
    await fc.assert(
      fc.asyncProperty(wrongBytes(endpoint), async (bytes) => {
        if ((await outcomeOf(path, shape, Buffer.from(bytes))) === 'refused') refused++;
      }),
      { numRuns: bodies },
    );
    expect(refused).toBeGreaterThan(bodies / 2);
  });

  it('refuses what is deep, huge, or of another type', async () => {
    const right = JSON.stringify(endpoint.bodies[0]);
    const deep = (open: string, shut: string) => open.repeat(20_000) + shut.repeat(20_000);
    const [first = ''] = endpoint.fields;
    const cases: [string | Uint8Array, Record<string, string>?][] = [
      [deep('[', ']')],
      [`{"${first}":${deep('{"a":', '}')}}`],
      [deep('[', '')],
      [`{"${first}":"${'x'.repeat(2 ** 20)}"}`],
      [`{"${first}":[${'0,'.repeat(200_000)}0]}`],
      [`{"${first}":${'9'.repeat(100_000)}}`],
      [' '.repeat(2 ** 20)],
      ['x'.repeat(limits.requestBodyBytesMax + 1)],
      [`{"__proto__":{"a":1}}`],
      [`{"constructor":{"prototype":{"a":1}}}`],
      [right, { 'content-type': 'text/plain' }],
      [right, { 'content-type': 'application/x-www-form-urlencoded' }],
      [right, { 'content-type': 'multipart/form-data; boundary=x' }],
      [right, { 'content-type': 'application/json; charset=utf-16' }],
      [right, { 'content-type': '\u00ff' }],
      [right, { ...json, 'content-encoding': 'gzip' }],
      [Buffer.from(right, 'utf16le')],
      [''],
    ];
    if (endpoint.isLoose !== true) cases.push([`{"${'x'.repeat(2 ** 20)}":1}`]);
    for (const [body, headers] of cases) {
      const outcome = await outcomeOf(path, shape, body, headers);
      expect([String(body).slice(0, 40), headers, outcome]).toEqual([
        String(body).slice(0, 40),
        headers,
        'refused',
      ]);
    }
  });
});

describe('bodies that never come', () => {
  const half = (bytes: number): string =>
    `POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: ${bytes}\r\n\r\n{"mess`;

  it('hold up nobody, and leave nothing behind when their connections go', async () => {
    // Together they announce more than may be on its way at once, but for the last byte of one.
    const share = Math.floor(limits.requestBodiesBytesMax / limits.requestBodyBytesMax) - 1;
    const sockets = Array.from({ length: share }, () => api.connect(half(limits.requestBodyBytesMax)));
    try {
      for (const socket of sockets) socket.on('error', () => undefined);
      await Promise.all(sockets.map((socket) => once(socket, 'connect')));
      // A byte now and then, which is no end.
      for (const socket of sockets) socket.write('a');
      const answer = await api.post('/v1/completions', { prompt: 'Hi', max_tokens: 1 });
      expect([answer.status, await answer.json()]).toMatchObject([200, { choices: [{ text: 'H' }] }]);
    } finally {
      for (const socket of sockets) socket.destroy();
    }
    const big = JSON.stringify({ prompt: 'x'.repeat(limits.requestBodyBytesMax - 100) });
    const whole = async () => (await api.post('/v1/completions', big)).status;
    await expect
      .poll(() => Promise.all([whole(), whole(), whole()]), { timeout: 60_000 })
      .toEqual([400, 400, 400]);
  });

  it('may be longer or shorter than they said', async () => {
    for (const length of [1, 7, 1e6]) {
      const socket = api.connect(half(length));
      const received: Buffer[] = [];
      socket.on('data', (bytes: Buffer) => received.push(bytes)).on('error', () => undefined);
      socket.end();
      await once(socket, 'close');
      const text = Buffer.concat(received).toString();
      expect(text === '' || /^HTTP\/1\.1 4\d\d /u.test(text)).toBe(true);
    }
    expect((await api.post('/v1/completions', { prompt: 'Hi', max_tokens: 1 })).status).toBe(200);
  });
});
