import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { say, startApi, type TestApi } from '../testing/api.js';

let api: TestApi;
beforeAll(async () => {
  api = await startApi();
});
afterAll(() => api[Symbol.asyncDispose]());

const json = { 'content-type': 'application/json' };
const send = (body: Uint8Array<ArrayBuffer>, headers: Record<string, string> = json) =>
  fetch(`${api.url}/v1/completions`, { method: 'POST', headers, body });

/** A request whose prompt is these bytes, whatever they are. */
const around = (...prompt: number[]) => Buffer.from([...say('{"prompt":"a'), ...prompt, ...say('"}')]);
const body = (text: string) => Buffer.from(text);

async function refusal(response: Response): Promise<[number, string, string]> {
  const { error } = (await response.json()) as { error: { code: string; message: string } };
  return [response.status, error.code, error.message];
}

describe('bytes that are not UTF-8', () => {
  it.each([
    ['a lone byte of a longer character', [0xc3]],
    ['a byte of the middle', [0x80]],
    ['Latin-1', [0xe9, 0x20]],
    ['an overlong slash', [0xc0, 0xaf]],
    ['an overlong NUL', [0xc0, 0x80]],
    ['half a surrogate pair', [0xed, 0xa0, 0x80]],
    ['a surrogate pair (CESU-8)', [0xed, 0xa0, 0xbd, 0xed, 0xb1, 0x8b]],
    ['a code point beyond the last', [0xf4, 0x90, 0x80, 0x80]],
    ['a byte that is nowhere', [0xff]],
    ['a cut emoji', [0xf0, 0x9f, 0x91]],
  ])('are refused: %s', async (_, bytes) => {
    const before = api.engine.requests.length;
    const [status, code, message] = await refusal(await send(around(...bytes)));
    expect([status, code]).toEqual([400, 'REQUEST_INVALID']);
    expect(message).toContain('not UTF-8: byte 12 (0x');
    expect(api.engine.requests).toHaveLength(before);
  });

  it('are found however late they come', async () => {
    const start = body(`{"prompt":"a${'é'.repeat(100_000)}`);
    for (const [end, found] of [
      [[0xff, ...say('"}')], 'byte 200012 (0xff)'],
      [[0xef, 0xbf], 'byte 200013 (0xbf)'],
    ] as const)
      expect((await refusal(await send(Buffer.concat([start, Buffer.from(end)]))))[2]).toContain(found);
  });

  it('are told from a replacement character that was sent as such', async () => {
    const [status, , message] = await refusal(await send(around(...say('\ufffd'), 0xff)));
    expect([status, message]).toEqual([400, expect.stringContaining('byte 15 (0xff)')]);
    expect((await send(around(...say('\ufffd')))).status).toBe(200);
    expect(api.engine.requests.at(-1)?.promptTokens.slice(2)).toEqual(Int32Array.from(say('\ufffd')));
  });

  it.each([
    ['UTF-16', [0xff, 0xfe, ...Buffer.from('{"prompt":"a"}', 'utf16le')]],
    ['UTF-16', [0xfe, 0xff, ...Buffer.from('{"prompt":"a"}', 'utf16le').swap16()]],
    ['UTF-32', [0xff, 0xfe, 0, 0, ...say('{}').flatMap((byte) => [byte, 0, 0, 0])]],
    ['UTF-32', [0, 0, 0xfe, 0xff, ...say('{}').flatMap((byte) => [0, 0, 0, byte])]],
  ])('are called by their name where they have a mark: %s', async (name, bytes) => {
    const [status, code, message] = await refusal(await send(Buffer.from(bytes)));
    expect([status, code]).toEqual([415, 'REQUEST_INVALID']);
    expect(message).toContain(name);
  });

  it('are refused as UTF-16 without a mark too', async () => {
    expect((await send(Buffer.from('{"prompt":"a"}', 'utf16le'))).status).toBe(400);
  });

  it('may follow the mark of UTF-8, which some editors write', async () => {
    expect((await send(Buffer.from([0xef, 0xbb, 0xbf, ...say('{"prompt":"a"}')]))).status).toBe(200);
  });
});

describe('a charset', () => {
  it.each(['latin1', 'ISO-8859-1', 'utf-16', 'UTF-16LE', '"windows-1252"', 'utf-8x', 'us-ascii'])(
    '%s is refused by name',
    async (charset) => {
      const headers = { 'content-type': `application/json; charset=${charset}` };
      const [status, code, message] = await refusal(await send(body('{"prompt":"a"}'), headers));
      expect([status, code]).toEqual([415, 'REQUEST_INVALID']);
      expect(message).toContain(`charset "${charset.replaceAll('"', '')}"`);
    },
  );

  it.each(['; charset=utf-8', ';charset=UTF-8', '; charset="utf-8"', '; charset=utf8', '; charset=', ''])(
    '%j is read',
    async (parameter) => {
      const headers = { 'content-type': `application/json${parameter}` };
      expect((await send(body('{"prompt":"é"}'), headers)).status).toBe(200);
    },
  );
});

describe('a content-encoding', () => {
  it.each(['gzip', 'br', 'deflate', 'zstd', 'GZIP', 'identity, gzip', 'x-unknown'])(
    '%s is refused by name, saying what is read',
    async (encoding) => {
      const headers = { ...json, 'content-encoding': encoding };
      const response = await send(Buffer.from(gzipSync('{"prompt":"a"}')), headers);
      expect(response.headers.get('accept-encoding')).toBe('identity');
      const [status, code, message] = await refusal(response);
      expect([status, code]).toEqual([415, 'REQUEST_INVALID']);
      expect(message).toContain(`"${encoding.replace('identity, ', '')}"`);
    },
  );

  it.each(['identity', 'Identity', '', 'identity, identity'])('%j is none', async (encoding) => {
    expect((await send(body('{"prompt":"a"}'), { ...json, 'content-encoding': encoding })).status).toBe(200);
  });
});

describe('escapes of half a surrogate pair', () => {
  it.each([
    ['/v1/completions', String.raw`{"prompt":"a\ud800"}`, 'prompt'],
    ['/v1/completions', String.raw`{"prompt":"\uDC00\ud83d"}`, 'prompt'],
    ['/v1/completions', String.raw`{"prompt":["ok\ud83dx"]}`, 'prompt.0'],
    ['/v1/completions', String.raw`{"prompt":"a","stop":["\ud83d"]}`, 'stop.0'],
    ['/v1/completions', String.raw`{"prompt":"a","user":"\ud83d"}`, 'user'],
    ['/v1/completions', String.raw`{"prompt":"a","metadata":{"\udfff":1}}`, 'metadata.\ufffd'],
    [
      '/v1/chat/completions',
      String.raw`{"messages":[{"role":"user","content":[{"type":"text","text":"\ud83d"}]}]}`,
      'messages.0.content.0.text',
    ],
  ])('%s %s are refused', async (path, text, param) => {
    const response = await api.post(path, text);
    expect(response.status).toBe(400);
    expect(await response.json()).toMatchObject({ error: { code: 'REQUEST_INVALID', param } });
  });

  it('are fine as pairs, and where they are no escapes', async () => {
    const response = await api.post('/v1/completions', String.raw`{"prompt":"\ud83d\udc4b\\ud83d"}`);
    expect(response.status).toBe(200);
    const [, ...tokens] = api.engine.requests.at(-1)?.promptTokens ?? [];
    expect(Buffer.from(tokens).toString()).toBe(String.raw`👋\ud83d`);
  });
});
