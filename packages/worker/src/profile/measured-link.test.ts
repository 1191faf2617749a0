import { createHash } from 'node:crypto';
import { createServer } from 'node:net';
import { ButterflyError, type Clock, systemClock } from '@butterfly/common';
import {
  Connection,
  type Frame,
  type Listener,
  decodeControl,
  encodeControl,
  encodeFileChunk,
  tcpTransport,
} from '@butterfly/wire';
import { afterEach, describe, expect, it } from 'vitest';
import { measureLink } from './measured-link.js';

const listeners: Listener[] = [];
afterEach(async () => {
  await Promise.all(listeners.splice(0).map((listener) => listener.close()));
});

/** A peer that answers as `answer` says. */
async function listenAs(answer: (frame: Frame, connection: Connection) => void): Promise<number> {
  const listener = await tcpTransport.listen({
    host: '127.0.0.1',
    port: 0,
    onConnection: (stream) => {
      new Connection(stream, { handlers: { onFrame: answer, onClose: () => undefined } });
    },
  });
  listeners.push(listener);
  return listener.port;
}

const sendBlock = (connection: Connection, requestId: number, length: number): void => {
  const bytes = new Uint8Array(length);
  const sha256 = createHash('sha256').update(bytes).digest();
  connection.send(encodeFileChunk({ requestId, bytes, sha256 }));
};

/** As a worker does; `delayMs` is what a block of so many bytes waits for. */
function worker(delayMs: (bytes: number) => number = () => 0) {
  return (frame: Frame, connection: Connection): void => {
    const message = decodeControl(frame);
    if (message.kind === 'peer' && message.peerToken === 'friend')
      connection.send(encodeControl({ kind: 'peerWelcome' }));
    if (message.kind !== 'probeBlock') return;
    const { requestId, bytes } = message;
    systemClock.after(delayMs(bytes), () => sendBlock(connection, requestId, bytes));
  };
}

/** Whose deadlines come ten times sooner. */
const hasty: Clock = {
  ...systemClock,
  after: (delayMs, callback) => systemClock.after(delayMs / 10, callback),
};

const probe = (port: number, clock = systemClock, peerToken = 'friend') =>
  measureLink({ host: '127.0.0.1', port, peerToken, transport: tcpTransport, clock });

describe('measureLink', () => {
  it('finds latency and bandwidth of this machine to itself', async () => {
    const speed = await probe(await listenAs(worker()));
    expect(speed?.latencyMicros).toBeGreaterThan(0);
    expect(speed?.bytesPerSecond).toBeGreaterThan(0);
  });

  it('tells a slow and far peer from a near one', async () => {
    const speed = await probe(await listenAs(worker((bytes) => 30 + bytes / 1000)));
    expect(speed?.latencyMicros).toBeGreaterThanOrEqual(14_500);
    // Timers may only be late, and of the time of a block some counts whatever the round trip took.
    expect(speed?.bytesPerSecond).toBeGreaterThan(0);
    expect(speed?.bytesPerSecond).toBeLessThan(2e7);
  });

  it('gives null where nobody listens', async () => {
    const server = createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => server.once('listening', resolve));
    const address = server.address();
    const port = typeof address === 'object' && address ? address.port : 1;
    await new Promise((resolve) => server.close(resolve));
    expect(await probe(port)).toBeNull();
  });

  it.each<[string, (frame: Frame, connection: Connection) => void]>([
    ['is silent', () => undefined],
    ['hangs up', (_, connection) => void connection.close('no')],
    ['answers something else', (_, connection) => sendBlock(connection, 0, 1)],
    [
      'greets and then is silent',
      (frame, connection) => {
        if (decodeControl(frame).kind === 'peer') connection.send(encodeControl({ kind: 'peerWelcome' }));
      },
    ],
    [
      'sends other blocks',
      (frame, connection) => {
        const message = decodeControl(frame);
        if (message.kind === 'peer') connection.send(encodeControl({ kind: 'peerWelcome' }));
        else if (message.kind === 'probeBlock') sendBlock(connection, message.requestId + 1, message.bytes);
      },
    ],
  ])('gives null for a peer that %s', async (_, answer) => {
    expect(await probe(await listenAs(answer), hasty)).toBeNull();
  });

  it('gives null for a peer of another cluster', async () => {
    expect(await probe(await listenAs(worker()), hasty, 'stranger')).toBeNull();
  });

  it.each<[string, (connection: Connection, requestId: number) => void]>([
    ['hangs up', (connection) => void connection.close('no time')],
    ['is cut off', (connection) => connection.destroy(new ButterflyError('CANCELLED', 'no power'))],
    ['sends other blocks', (connection, requestId) => sendBlock(connection, requestId, 5)],
  ])('gives null for a peer that %s while its bandwidth is measured', async (_, end) => {
    const answer = worker();
    let blocks = 0;
    const port = await listenAs((frame, connection) => {
      const message = decodeControl(frame);
      // The second of the growing ones.
      if (message.kind === 'probeBlock' && message.bytes > 1 && ++blocks === 2)
        end(connection, message.requestId);
      else answer(frame, connection);
    });
    expect(await probe(port)).toBeNull();
    expect(blocks).toBe(2);
  });

  it('bounds the bandwidth by the first block when that does not come in time', async () => {
    const port = await listenAs(worker((bytes) => (bytes > 1 ? 60_000 : 0)));
    const speed = await probe(port);
    expect(speed?.bytesPerSecond).toBeGreaterThan(0);
    expect(speed?.bytesPerSecond).toBeLessThan(16 * 1024 * 1000);
  });
});
