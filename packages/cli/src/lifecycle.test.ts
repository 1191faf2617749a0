import { triedOf } from '@butterfly/testkit';
import { once } from 'node:events';
import { connect } from 'node:net';
import { describe, expect, it } from 'vitest';
import { Peer } from './testing/peer.js';
import { isAlive, Server } from './testing/server.js';

/** Long enough to be under way when something happens, and short enough for the time that a busy machine has to drain. */
const long = { model: 'aidreams-260k', prompt: 'The', max_tokens: 300, temperature: 0 };

async function refusesConnections(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1');
  const connected = once(socket, 'connect').then(
    () => false,
    () => true,
  );
  const isRefused = await connected;
  socket.destroy();
  return isRefused;
}

/** What must be true after every end in order. */
async function expectNothingLeft(server: Server): Promise<void> {
  expect(await server.ended()).toEqual({ code: 0, signal: null });
  expect(server.workerPids.length).toBeGreaterThan(0);
  expect(server.workerPids.filter(isAlive)).toEqual([]);
  expect(await refusesConnections(Number(new URL(server.url).port))).toBe(true);
  expect(await refusesConnections(server.clusterPort)).toBe(true);
}

describe.concurrent.each(triedOf(['SIGINT', 'SIGTERM', 'SIGHUP'] as const, 2))('%s', (signal) => {
  it('ends an idle server, in spite of peers that say nothing', async () => {
    await using server = await new Server().ready();
    using worker = await Peer.connect(server.clusterPort);
    using client = await Peer.connect(Number(new URL(server.url).port));
    expect([worker.socket.closed, client.socket.closed]).toEqual([false, false]);
    server.kill(signal);
    await expectNothingLeft(server);
  });

  it('lets the streams under way come to their end, also when it reaches the workers too', async () => {
    await using server = await new Server(['--workers', '2', '--ctx', '2048']).ready();
    const { openai } = server;
    const whole = await openai.completions.create(long);
    const stream = await openai.completions.create({ ...long, stream: true });
    const texts: string[] = [];
    const reasons: string[] = [];
    for await (const { choices } of stream) {
      for (const { text, finish_reason } of choices) {
        texts.push(text);
        reasons.push(finish_reason);
      }
      // As terminals and service managers do.
      if (texts.length === 5) for (const pid of [...server.workerPids, server.pid]) process.kill(pid, signal);
    }
    expect(texts.join('')).toBe(whole.choices[0]?.text);
    expect(reasons.at(-1)).toBe(whole.choices[0]?.finish_reason);
    // Nobody had to be started again for that.
    expect(server.workerPids).toHaveLength(2);
    await expectNothingLeft(server);
  });

  it('ends a server that still loads', async () => {
    await using server = new Server(['--workers', '2']);
    await server.line(/loading/);
    server.kill(signal);
    await expectNothingLeft(server);
    expect(server.stdout).not.toContain('Ready.');
  });
});

describe.concurrent('a server that is killed', () => {
  it('takes its workers along', async () => {
    await using server = await new Server(['--workers', '3']).ready();
    server.kill('SIGKILL');
    expect(await server.ended()).toEqual({ code: null, signal: 'SIGKILL' });
  });
});

describe.concurrent('a server whose workers end again and again', () => {
  it('gives up, says so and ends', async () => {
    await using server = new Server([], { clusterHost: null });
    const killed = new Set<number>();
    await server.until('the end', () => {
      for (const pid of server.workerPids) if (!killed.has(pid)) process.kill(pid, 'SIGKILL');
      for (const pid of server.workerPids) killed.add(pid);
      return server.ending;
    });
    expect(await server.ended()).toEqual({ code: 5, signal: null });
    expect(killed.size).toBe(6);
    expect(server.stderr.at(-1)).toMatch(/^butterfly: WORKER_LOST: .*BUTTERFLY_LOG=info/);
  });
});
