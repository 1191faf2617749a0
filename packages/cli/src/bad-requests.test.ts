import { setTimeout as delay } from 'node:timers/promises';
import { type ControlMessage, encodeControl, protocolVersion } from '@butterfly/wire';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { Butterfly } from './testing/butterfly.js';
import { Peer } from './testing/peer.js';
import { Server, startWorker } from './testing/server.js';

let server: Server;
beforeAll(async () => {
  // In the clear, so that peers may say anything; what certificates keep out is tested elsewhere.
  server = await new Server(['--workers', '2', '--insecure'], {
    env: { BUTTERFLY_TOKEN: 'a token' },
  }).ready();
});
afterAll(() => server[Symbol.asyncDispose]());

// Whatever was asked of it, it goes on.
afterEach(async () => {
  const response = await server.post('/v1/completions', {
    prompt: 'Once upon a time',
    max_tokens: 5,
    temperature: 0,
  });
  expect(response.status).toBe(200);
});

const messages = [{ role: 'user', content: 'Hi' }];

describe('HTTP requests', () => {
  it.each([
    ['malformed JSON', '/v1/completions', '{"prompt": "a', 400, 'REQUEST_INVALID', null],
    ['an array', '/v1/completions', [], 400, 'REQUEST_INVALID', null],
    ['no prompt', '/v1/completions', {}, 400, 'REQUEST_INVALID', 'prompt'],
    [
      'a wrong type',
      '/v1/completions',
      { prompt: 'a', max_tokens: '5' },
      400,
      'REQUEST_INVALID',
      'max_tokens',
    ],
    [
      'a value out of range',
      '/v1/completions',
      { prompt: 'a', temperature: -1 },
      400,
      'REQUEST_INVALID',
      'temperature',
    ],
    ['an unknown token', '/v1/completions', { prompt: [0, 512] }, 400, 'REQUEST_INVALID', 'prompt'],
    [
      'an unknown option',
      '/v1/completions',
      { prompt: 'a', turbo: true },
      400,
      'REQUEST_UNSUPPORTED',
      'turbo',
    ],
    [
      'a lacking option',
      '/v1/chat/completions',
      { messages, tools: [{ type: 'web_search' }] },
      400,
      'REQUEST_UNSUPPORTED',
      'tools.0.type',
    ],
    [
      'an unknown role',
      '/v1/chat/completions',
      { messages: [{ role: 'cat', content: '' }] },
      400,
      'REQUEST_UNSUPPORTED',
      'messages.0.role',
    ],
    ['another model', '/v1/chat/completions', { messages, model: 'gpt-9' }, 404, 'NOT_FOUND', 'model'],
    [
      'a prompt over the context',
      '/v1/completions',
      { prompt: 'word '.repeat(200) },
      400,
      'context_length_exceeded',
      'prompt',
    ],
    [
      'a chat over the context',
      '/v1/chat/completions',
      { messages: [{ role: 'user', content: 'word '.repeat(200) }] },
      400,
      'context_length_exceeded',
      'messages',
    ],
    ['an unknown path', '/v1/moderations', {}, 404, 'NOT_FOUND', null],
  ])('with %s are refused in the shape of OpenAI', async (_, path, body, status, code, param) => {
    const response = await server.post(path, body);
    expect(response.status).toBe(status);
    const { error } = (await response.json()) as { error: Record<string, unknown> };
    expect(error).toMatchObject({ code, param });
    expect(error.type).toMatch(/^(invalid_request|not_found)_error$/);
    expect(String(error.message).length).toBeGreaterThan(20);
  });

  it('refuse a stream before its first event', async () => {
    const response = await server.post('/v1/completions', { prompt: 'word '.repeat(200), stream: true });
    expect(response.status).toBe(400);
    expect(response.headers.get('content-type')).toContain('application/json');
  });

  it('with what changes nothing, or asks for more than there is room for, are answered', async () => {
    const fields = { prompt: 'a', max_tokens: 500, temperature: 0, ignore_eos: true, model: '', stop: '' };
    const response = await server.post('/v1/completions', {
      ...fields,
      store: true,
      seed: 2 ** 63,
      top_k: -1,
    });
    expect([response.status, response.headers.get('x-butterfly-no-effect')]).toEqual([200, 'store']);
    const { choices, usage } = (await response.json()) as {
      choices: { finish_reason: string }[];
      usage: { total_tokens: number };
    };
    expect([choices[0]?.finish_reason, usage.total_tokens]).toEqual(['length', 128]);
  });

  it('refuse bytes that are no HTTP', async () => {
    using peer = await Peer.connect(Number(new URL(server.url).port));
    expect(await peer.exchange(Buffer.from('BFLY\x01\x01\0\0 not HTTP\r\n\r\n'))).toMatch(
      /^HTTP\/1\.1 400 [^]*REQUEST_INVALID/,
    );
  });
});

const hello: ControlMessage = {
  kind: 'hello',
  token: 'a token',
  worker: {
    name: 'stranger',
    machineId: 'elsewhere',
    butterflyVersion: '0',
    ggmlVersion: '0',
    cpuVariant: 'any',
    cpuFeatures: [],
    platform: 'any',
    arch: 'any',
    threads: 1,
    memoryBytes: 1,
    dataPort: 1,
  },
};
const frame = (message: ControlMessage): Buffer => Buffer.concat(encodeControl(message));

/** Bytes that look random and are the same each time. */
function noise(length: number): Buffer {
  let state = 7;
  return Buffer.from(
    Array.from({ length }, () => (state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0) >>> 24),
  );
}

function ofVersion(version: number): Buffer {
  const bytes = frame(hello);
  bytes.writeUInt8(version, 4);
  return bytes;
}

// Each from an address of its own, since whoever breaks the protocol is kept out for a while; where a machine has but one
// loopback address, that is waited for.
const hasManyAddresses = process.platform === 'linux' || process.platform === 'win32';
let strangers = 0;

async function strangerSays(bytes: Uint8Array): Promise<string> {
  const address = hasManyAddresses ? `127.0.0.${10 + strangers++}` : '127.0.0.1';
  for (;;) {
    using peer = await Peer.connect(server.clusterPort, address);
    const answer = await peer.exchange(bytes);
    if (!answer.includes('KEPT_OUT')) return answer;
    await delay(100);
  }
}

describe('peers on the cluster port', () => {
  it.each([
    [
      'a later version of the protocol',
      ofVersion(protocolVersion + 1),
      /PROTOCOL_VERSION.*upgrade.*this one/,
    ],
    [
      'an earlier version of the protocol',
      ofVersion(protocolVersion - 1),
      /PROTOCOL_VERSION.*upgrade.*the peer/,
    ],
    ['noise', noise(100_000), /PROTOCOL_INVALID.*does not speak the Butterfly protocol/],
    ['noise after its hello', Buffer.concat([frame(hello), noise(1000)]), /"welcome"[^]*PROTOCOL_INVALID/],
    ['HTTP', Buffer.from('GET / HTTP/1.1\r\nhost: a\r\n\r\n'), /PROTOCOL_INVALID.*cluster port/],
    [
      'a message that no worker begins with',
      frame({ kind: 'linked', epoch: 1 }),
      /PROTOCOL_INVALID.*instead of \\"hello\\"/,
    ],
    ['a wrong token', frame({ ...hello, token: 'guess' }), /JOIN_REFUSED.*--token/],
    ['no token', frame({ ...hello, token: null }), /JOIN_REFUSED.*--token/],
    [
      'a damaged frame',
      Buffer.concat([frame(hello).subarray(0, -1), Buffer.from('!')]),
      /PROTOCOL_INVALID.*checksum/,
    ],
  ])('that send %s are told and cut off', async (_, bytes, answer) => {
    expect(await strangerSays(bytes)).toMatch(answer);
  });

  it('that come back at once are told that they are kept out', async () => {
    const say = async (): Promise<string> => {
      using peer = await Peer.connect(server.clusterPort, hasManyAddresses ? '127.0.0.8' : '127.0.0.1');
      return await peer.exchange(noise(1000));
    };
    // Longer each time, so that a slow machine comes in time at last.
    const isKeptOut = /KEPT_OUT.*Somebody at this address.*"retryAfterMs":\d+/;
    await expect.poll(say, { timeout: 60_000 }).toMatch(isKeptOut);
  });

  it('that say nothing, or half a word, are let be for a while', async () => {
    using silent = await Peer.connect(server.clusterPort);
    using halting = await Peer.connect(server.clusterPort);
    halting.socket.write(frame(hello).subarray(0, 30));
    const { ready } = await server.status();
    expect(ready).toBe(true);
    expect(silent.socket.closed).toBe(false);
  });
});

describe('a worker with a wrong', () => {
  it('token ends and says so', async () => {
    await using worker = startWorker(server, ['--insecure'], { token: 'guess' });
    expect(await worker.ended()).toEqual({ code: 4, signal: null });
    expect(worker.stderr.at(-1)).toMatch(/^butterfly: JOIN_REFUSED: .*--token/);
  });

  it('port, that of the API, ends and says so', async () => {
    await using worker = new Butterfly(['worker', '--insecure', '--join', new URL(server.url).host]);
    expect(await worker.ended()).toEqual({ code: 4, signal: null });
    expect(worker.stderr.at(-1)).toMatch(/^butterfly: PROTOCOL_INVALID: .*not the API port/);
  });
});
