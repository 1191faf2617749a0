import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { type ButterflyEvent, limits } from '@butterfly/common';
import { makeServerCertificate } from '@butterfly/identity/testing';
import { afterEach, describe, expect, it } from 'vitest';
import { createApi } from '../server.js';
import { apiContext, hugeToken, say, startApi, type TestApi } from '../testing/api.js';
import { usualBounds } from './connection-bounds.js';

const body = JSON.stringify({ model: 'echo', messages: [{ role: 'user', content: 'Hi' }] });
const head = 'POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n';
const whole = `${head}content-length: ${body.length}\r\n\r\n${body}`;
const patient = { requestHeadersMs: 60_000, requestArrivalMs: 60_000, idleConnectionMs: 60_000 };
const impatient = { lookedAtEveryMs: 20, ...patient };
const slowly = { timeout: 30_000 };
const sockets: Socket[] = [];
afterEach(() => {
  for (const socket of sockets.splice(0)) socket.destroy();
});

/** A connection from one of the addresses of this machine. */
async function dial({ url }: Pick<TestApi, 'url'>, localAddress = '127.0.0.1'): Promise<Socket> {
  const socket = connect({ host: '127.0.0.1', port: Number(new URL(url).port), localAddress });
  sockets.push(socket);
  socket.on('error', () => undefined);
  await once(socket, 'connect');
  return socket;
}

/** All that comes until the server closes the connection. */
async function heard(socket: Socket): Promise<string> {
  const chunks: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => chunks.push(chunk));
  if (!socket.closed) await once(socket, 'close');
  return Buffer.concat(chunks).toString();
}

/** Until the other side has this connection. */
async function isServed(socket: Socket): Promise<string> {
  socket.write('GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n');
  const [bytes] = (await once(socket, 'data')) as [Buffer];
  return bytes.toString().slice(0, 15);
}

/** On a busy machine a proper client may be too slow as well, where a test allows next to no time. */
async function expectServed(api: TestApi): Promise<void> {
  const ask = async (): Promise<number> => (await api.post('/v1/chat/completions', body)).status;
  await expect.poll(ask, slowly).toBe(200);
}

describe('a client that is slow', () => {
  it.each([
    ['to say anything', ''],
    ['with its headers', head],
  ])('%s is told so and cut off, while others are served', async (_, sent) => {
    await using api = await startApi(undefined, { bounds: { ...impatient, requestHeadersMs: 300 } });
    const socket = await dial(api);
    socket.write(sent);
    await expectServed(api);
    expect(await heard(socket)).toMatch(/^HTTP\/1\.1 408 .*did not arrive in time/su);
  });

  it('with its body is told so and cut off, while others are served', async () => {
    const bounds = { ...impatient, requestHeadersMs: 300, requestArrivalMs: 300 };
    await using api = await startApi(undefined, { bounds });
    const socket = await dial(api);
    socket.write(whole.slice(0, -5));
    await expectServed(api);
    expect(await heard(socket)).toMatch(/^HTTP\/1\.1 408 .*did not arrive in time/su);
    expect(api.engine.requests).toHaveLength(1);
  });

  it('to ask again is cut off, and not before it has its answer', async () => {
    await using api = await startApi(undefined, { bounds: { ...impatient, idleConnectionMs: 100 } });
    const socket = await dial(api);
    socket.write(whole);
    expect(await heard(socket)).toMatch(/^HTTP\/1\.1 200 .*user=Hi/su);
    await expectServed(api);
  });

  it('to read an answer that is over is cut off, and told of in the log', async () => {
    const events: ButterflyEvent[] = [];
    const observe = (event: ButterflyEvent): void => void events.push(event);
    const bounds = { ...impatient, answerTakenMs: 100, answerBytesPerMs: Infinity };
    await using api = await startApi(undefined, { bounds, observe });
    // Far more than the system buffers, in one piece.
    api.engine.contextTokensMax = 2048;
    api.engine.script = () => Array<number>(320).fill(hugeToken);
    const socket = await dial(api);
    socket.pause();
    socket.write(whole);
    const isCut = (): boolean => events.some(({ kind }) => kind === 'readerTooSlow');
    await expect.poll(isCut, slowly).toBe(true);
    api.engine.script = () => say('b');
    await expectServed(api);
    expect((await heard(socket.resume())).length).toBeLessThan(320 * 64 * 1024);
  });

  it('to read but reads gets all of a long answer', async () => {
    await using api = await startApi(undefined, { bounds: { ...impatient, answerTakenMs: 10_000 } });
    api.engine.contextTokensMax = 2048;
    api.engine.script = () => Array<number>(100).fill(hugeToken);
    const socket = await dial(api);
    socket.write(whole.replace('content-type', 'connection: close\r\ncontent-type'));
    expect((await heard(socket)).length).toBeGreaterThan(100 * 64 * 1024);
  });
});

describe('connections', () => {
  it('of one address leave some for others, and are refused with a reason beyond that', async () => {
    const bounds = { ...impatient, connectionsMax: 8, isShared: () => false };
    await using api = await startApi(undefined, { bounds });
    for (let count = 0; count < 4; count++) expect(await isServed(await dial(api))).toBe('HTTP/1.1 200 OK');
    const refused = await heard(await dial(api));
    expect(refused).toMatch(/^HTTP\/1\.1 429 Too Many Requests\r\n.*x-butterfly-code: QUEUE_FULL/su);
    expect(refused).toContain('This server has 4 connections from your address');
    expect(refused).toMatch(/\r\nretry-after: 1\r\n/u);
    if (process.platform === 'linux')
      expect(await isServed(await dial(api, '127.0.0.2'))).toBe('HTTP/1.1 200 OK');
    sockets[0]?.destroy();
    await expect.poll(async () => isAnswered(await dial(api)), slowly).toBe(true);
  });

  it('of a proxy on the same machine share all places, and give them back', async () => {
    await using api = await startApi(undefined, { bounds: { ...impatient, connectionsMax: 8 } });
    for (let count = 0; count < 8; count++) expect(await isServed(await dial(api))).toBe('HTTP/1.1 200 OK');
    expect(await heard(await dial(api))).toMatch(/^HTTP\/1\.1 429 .*takes no more/su);
    for (const socket of sockets.splice(0)) socket.destroy();
    await expect.poll(async () => isAnswered(await dial(api)), slowly).toBe(true);
  });

  it('over TLS are refused before their handshake', async () => {
    const { certificate: cert, privateKey: key, authority: ca } = await makeServerCertificate();
    const app = createApi(apiContext(), { cert, key }, { ...usualBounds, connectionsMax: 1 });
    const url = await app.listen({ host: '127.0.0.1', port: 0 });
    try {
      const first = connectTls({ host: '127.0.0.1', port: Number(new URL(url).port), ca });
      sockets.push(first);
      await once(first, 'secureConnect');
      expect(await heard(await dial({ url }))).toBe('');
      expect(await isServed(first)).toBe('HTTP/1.1 200 OK');
    } finally {
      await app.close();
    }
  });

  it('may ask early, but not for ever more before the answers are read', async () => {
    await using api = await startApi();
    api.engine.script = () => ['hang'];
    const socket = await dial(api);
    socket.write(whole.repeat(limits.requestsPerConnectionMax + 3));
    await expect.poll(() => api.engine.requests.length, slowly).toBe(limits.requestsPerConnectionMax);
    api.engine.script = () => say('b');
    await expectServed(api);
    expect(api.engine.requests).toHaveLength(limits.requestsPerConnectionMax + 1);
    socket.destroy();
    await api.engine.idle();
    expect(api.engine.cancellations).toBe(limits.requestsPerConnectionMax);
  });
});

async function isAnswered(socket: Socket): Promise<boolean> {
  socket.write('GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n');
  const [bytes] = (await once(socket, 'data')) as [Buffer];
  socket.destroy();
  return bytes.toString().startsWith('HTTP/1.1 200');
}
