import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { ButterflyError } from '@butterfly/common';
import Fastify, { type FastifyInstance } from 'fastify';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { boundBodies } from './body-budget.js';

let app: FastifyInstance;
let port = 0;

beforeEach(async () => {
  app = Fastify();
  boundBodies(app, 100);
  app.setErrorHandler((error, _request, reply) =>
    reply.code(error instanceof ButterflyError ? error.kind.httpStatus : 413).send(),
  );
  app.post('/', (_request, reply) => reply.send('taken'));
  app.post('/short', { bodyLimit: 50 }, (_request, reply) => reply.send('taken'));
  port = Number(new URL(await app.listen({ host: '127.0.0.1', port: 0 })).port);
});

afterEach(() => app.close());

/** Begins a request whose body has so many bytes, and sends `sent` of them. */
function begin(bytes: number, sent: number, path = '/'): Socket {
  const socket = connect(port, '127.0.0.1');
  socket.write(
    `POST ${path} HTTP/1.1\r\nhost: x\r\ncontent-type: text/plain\r\ncontent-length: ${bytes}\r\n\r\n${'x'.repeat(sent)}`,
  );
  return socket;
}

async function statusOf(socket: Socket): Promise<number> {
  const [chunk] = (await once(socket, 'data')) as [Buffer];
  return Number(/^HTTP\/1\.1 (\d+)/.exec(chunk.toString())?.[1]);
}

/** Until the server has the head of a request, nothing of it counts. */
async function isRefused(bytes: number): Promise<boolean> {
  const socket = begin(bytes, bytes);
  const status = await statusOf(socket);
  socket.destroy();
  return status === 429;
}

describe('bodies on their way', () => {
  it('are refused while others leave no room for them, and taken again when those are in', async () => {
    const slow = begin(80, 10);
    while (!(await isRefused(50)));
    expect(await isRefused(20)).toBe(false);
    slow.write('x'.repeat(70));
    expect(await statusOf(slow)).toBe(200);
    expect(await isRefused(90)).toBe(false);
    slow.destroy();
  });

  it('give their room back when the client leaves', async () => {
    const slow = begin(80, 10);
    while (!(await isRefused(50)));
    slow.destroy();
    while (await isRefused(50));
    expect(await isRefused(100)).toBe(false);
  });

  it('give their room back when they are refused unread, for being too long', async () => {
    for (let count = 0; count < 5; count++) {
      const long = begin(80, 10, '/short');
      expect(await statusOf(long)).toBe(413);
      long.destroy();
      await once(long, 'close');
    }
    await expect.poll(() => isRefused(100), { timeout: 60_000 }).toBe(false);
  });

  it('count as the longest when they do not say how long they are', async () => {
    const socket = connect(port, '127.0.0.1');
    socket.write(
      'POST / HTTP/1.1\r\nhost: x\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n',
    );
    expect(await statusOf(socket)).toBe(429);
    socket.destroy();
  });
});
