import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as wait } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { resumingFetch } from './resuming-fetch.js';

/** A server that does this at each request, and what it was asked with. */
async function serverOf(...turns: RequestListener[]): Promise<
  AsyncDisposable & {
    readonly url: string;
    readonly keys: (string | undefined)[];
    readonly last: (string | undefined)[];
  }
> {
  const keys: (string | undefined)[] = [];
  const last: (string | undefined)[] = [];
  const server = createServer((request, response) => {
    keys.push(request.headers['idempotency-key'] as string | undefined);
    last.push(request.headers['last-event-id'] as string | undefined);
    turns.shift()?.(request, response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    ...{ keys, last, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/` },
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** Sends this and breaks the connection. */
const cutBehind =
  (text: string): RequestListener =>
  (_request, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.write(text, () => setTimeout(() => response.destroy(), 20));
  };
const ends =
  (text: string, type = 'text/event-stream'): RequestListener =>
  (_request, response) => {
    response.writeHead(200, { 'content-type': type }).end(text);
  };
const refuses =
  (status: number): RequestListener =>
  (_request, response) => {
    response.writeHead(status).end('{}');
  };

describe('a fetch that resumes', () => {
  it('goes on behind the last whole event, however often the server is gone', async () => {
    await using server = await serverOf(
      cutBehind('id: 0\ndata: a\n\nid: 1\ndata: b\n\nid: 2\nda'),
      (_request, response) => response.destroy(),
      refuses(503),
      cutBehind('id: 2\ndata: ü\n\n'),
      ends('id: 3\ndata: d\n\n'),
    );
    const response = await resumingFetch()(server.url, { method: 'POST', body: '{}' });
    expect(await response.text()).toBe(
      'id: 0\ndata: a\n\nid: 1\ndata: b\n\nid: 2\ndata: ü\n\nid: 3\ndata: d\n\n',
    );
    expect(new Set(server.keys).size).toBe(1);
    expect(server.last).toEqual([undefined, '1', '1', '1', '2']);
  });

  it('asks again where a server breaks off before its first word, but not where nobody is', async () => {
    await using server = await serverOf((request) => request.socket.destroy(), ends('id: 0\ndata: a\n\n'));
    const response = await resumingFetch()(server.url, { method: 'POST', body: '{}' });
    expect(await response.text()).toBe('id: 0\ndata: a\n\n');
    const { url } = server;
    await server[Symbol.asyncDispose]();
    await expect(resumingFetch()(url, { method: 'POST', body: '{}' })).rejects.toThrow();
  });

  it('asks again for a whole answer, with the key that was given', async () => {
    await using server = await serverOf(
      (_request, response) => {
        response.writeHead(200, { 'content-type': 'application/json', 'content-length': '9' });
        response.write('{', () => setTimeout(() => response.destroy(), 20));
      },
      ends('{"a": 1}\n', 'application/json'),
    );
    const response = await resumingFetch()(server.url, {
      ...{ method: 'POST', body: '{}' },
      headers: { 'idempotency-key': 'mine' },
    });
    expect(await response.json()).toEqual({ a: 1 });
    expect(server.keys).toEqual(['mine', 'mine']);
  });

  it('gives up where the answer is not there any more, and in time', async () => {
    await using gone = await serverOf(cutBehind('id: 0\ndata: a\n\n'), refuses(404));
    const lost = await resumingFetch()(gone.url, { method: 'POST', body: '{}' });
    await expect(lost.text()).rejects.toThrow();
    expect(gone.last).toEqual([undefined, '0']);
    await using away = await serverOf(cutBehind(''), refuses(503), refuses(503), refuses(503), refuses(503));
    const late = await resumingFetch({ goneMs: 150 })(away.url, { method: 'POST', body: '{}' });
    await expect(late.text()).rejects.toThrow();
  });

  it('ends the answer when its reader leaves', async () => {
    const deleted: (string | undefined)[] = [];
    await using server = await serverOf(cutBehind('id: 0\ndata: a\n\n'), (request, response) => {
      deleted.push(request.method, request.url);
      response.writeHead(204).end();
    });
    const response = await resumingFetch()(`${server.url}v1/chat/completions`, {
      method: 'POST',
      body: '{}',
    });
    const reader = response.body?.getReader();
    await reader?.read();
    await reader?.cancel();
    for (let turn = 0; turn < 200 && deleted.length === 0; turn++) await wait(5);
    expect(deleted).toEqual(['DELETE', '/v1/stream']);
    expect(server.keys[1]).toBe(server.keys[0]);
  });

  it('leaves refusals and other methods as they are', async () => {
    await using server = await serverOf(refuses(503), ends('x', 'text/plain'));
    const ask = resumingFetch();
    expect((await ask(server.url, { method: 'POST', body: '{}' })).status).toBe(503);
    expect(await (await ask(server.url)).text()).toBe('x');
    expect(server.keys[1]).toBeUndefined();
  });
});
