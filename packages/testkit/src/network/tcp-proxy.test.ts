import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterEach, describe, expect, it } from 'vitest';
import { TcpProxy } from './tcp-proxy.js';
import type { TcpProxyOptions } from './tcp-proxy.js';

const cleanups: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

interface Setup {
  readonly proxy: TcpProxy;
  readonly near: Socket;
  readonly far: Socket;
}

/** A client and a server with a proxy between them. */
async function through(options: Omit<TcpProxyOptions, 'to'> = {}): Promise<Setup> {
  let accept: (socket: Socket) => void = () => undefined;
  const accepted = new Promise<Socket>((resolve) => (accept = resolve));
  const server = createServer({ noDelay: true }, (socket) => {
    socket.on('error', () => undefined);
    cleanups.push(() => void socket.destroy());
    accept(socket);
  });
  server.listen(0, '127.0.0.1');
  cleanups.push(() => void server.close());
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const proxy = await TcpProxy.start({ to: { host: '127.0.0.1', port }, ...options });
  cleanups.push(() => proxy.close());
  const near = connect({ host: '127.0.0.1', port: proxy.port, noDelay: true });
  near.on('error', () => undefined);
  cleanups.push(() => void near.destroy());
  return { proxy, near, far: await accepted };
}

/** Collects so many bytes. */
async function read(socket: Socket, bytes: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let arrived = 0;
  while (arrived < bytes) {
    const [chunk] = (await once(socket, 'data')) as [Buffer];
    chunks.push(chunk);
    arrived += chunk.length;
  }
  return Buffer.concat(chunks);
}

/** Bytes that all differ from their neighbours. */
const pattern = (bytes: number): Buffer =>
  Buffer.from(Uint8Array.from({ length: bytes }, (_, at) => at % 251));

describe('a TCP proxy', () => {
  it('passes bytes both ways as they are, far more than it holds', async () => {
    const { near, far } = await through();
    const sent = pattern(8 << 20);
    const [there, back] = [read(far, sent.length), read(near, sent.length)];
    near.write(sent);
    far.write(sent);
    expect((await there).equals(sent)).toBe(true);
    expect((await back).equals(sent)).toBe(true);
  });

  it('takes at least its latency and the time of its bytes', async () => {
    const { near, far } = await through({ latencyMs: 30, bytesPerSecond: 1_000_000 });
    const startMs = performance.now();
    const arrived = read(far, 100_000);
    near.write(pattern(100_000));
    expect((await arrived).equals(pattern(100_000))).toBe(true);
    // 100 ms for the bytes, less the pieces that an idle line may catch up on.
    expect(performance.now() - startMs).toBeGreaterThanOrEqual(30 + 70);
  });

  it('passes nothing while it is cut, and all of it once it heals', async () => {
    const { proxy, near, far } = await through();
    proxy.cut();
    let heard = 0;
    far.on('data', (chunk: Buffer) => (heard += chunk.length));
    let isEnded = false;
    far.on('end', () => (isEnded = true));
    near.end(pattern(300_000));
    await once(near, 'finish');
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect([heard, isEnded]).toEqual([0, false]);
    const ended = once(far, 'end');
    proxy.heal();
    await ended;
    expect(heard).toBe(300_000);
  });

  it('crawls, and speeds up again', async () => {
    const { proxy, near, far } = await through();
    proxy.crawl(2_000);
    let heard = 0;
    far.on('data', (chunk: Buffer) => (heard += chunk.length));
    const whole = read(far, 1_000_000);
    near.write(pattern(1_000_000));
    await once(far, 'data');
    expect(heard).toBeLessThan(100_000);
    proxy.bytesPerSecond = Infinity;
    expect((await whole).equals(pattern(1_000_000))).toBe(true);
  });

  it('flips one bit, once', async () => {
    const { proxy, near, far } = await through();
    proxy.flipBit();
    const sent = pattern(1_000);
    for (const flips of [1, 0]) {
      const arrived = read(far, sent.length);
      near.write(sent);
      const got = await arrived;
      const changed = [...got].map((byte, at) => byte ^ (sent[at] ?? 0)).filter((bits) => bits !== 0);
      expect(changed).toHaveLength(flips);
      expect(changed.every((bits) => Number.isInteger(Math.log2(bits)))).toBe(true);
    }
  });

  it('passes on that a side ends, and lets the other one finish', async () => {
    const { near, far } = await through();
    near.end('question');
    expect((await read(far, 8)).toString()).toBe('question');
    far.end('answer');
    const answer = await read(near, 6);
    expect(answer.toString()).toBe('answer');
    await once(near, 'close');
    expect(near.destroyed).toBe(true);
  });

  it('passes on a reset, of a side and of its own', async () => {
    for (const reset of [
      ({ near }: Setup) => void near.resetAndDestroy(),
      ({ proxy }: Setup) => {
        proxy.resetAll();
      },
    ]) {
      const setup = await through();
      // A reset is an error first, and `once` would take that for its own.
      const closed = new Promise((resolve) => setup.far.on('error', () => undefined).on('close', resolve));
      setup.far.resume();
      reset(setup);
      expect(await closed).toBe(true);
    }
  });

  it('resets those who come while nobody listens behind it', async () => {
    const { proxy: gone } = await through();
    const { port } = gone;
    await gone.close();
    const proxy = await TcpProxy.start({ to: { host: '127.0.0.1', port } });
    cleanups.push(() => proxy.close());
    const socket = connect(proxy.port, '127.0.0.1');
    const closed = new Promise((resolve) => socket.on('error', () => undefined).on('close', resolve));
    expect(await closed).toBe(true);
  });

  it.each(['as it is', 'while it crawls', 'while it is cut', 'while nobody listens behind it'])(
    'leaves nothing that keeps a process, closed %s',
    async (state) => {
      const script = fileURLToPath(new URL('../../dist/network/tcp-proxy-exit-main.js', import.meta.url));
      const { stdout } = await promisify(execFile)(process.execPath, [script, state], { timeout: 120_000 });
      expect(stdout).toBe('closed\n');
    },
  );

  it('cannot start on a port in use', async () => {
    const { proxy } = await through();
    const second = TcpProxy.start({ to: { host: '127.0.0.1', port: 1 }, port: proxy.port });
    await expect(second).rejects.toThrow(/EADDRINUSE/);
  });
});
