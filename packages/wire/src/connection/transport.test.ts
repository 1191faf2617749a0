import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { once } from 'node:events';
import { afterEach, describe, expect, it } from 'vitest';
import type { Clock } from '@butterfly/common';
import { Connection } from './connection.js';
import type { ConnectionHandlers } from './connection.js';
import { encodeControl } from '../messages/messages.js';
import { dial, listen } from './transport.js';
import type { Listener } from './transport.js';

const idle: ConnectionHandlers = { onFrame: () => undefined, onClose: () => undefined };
const host = '127.0.0.1';

const listeners: Listener[] = [];
afterEach(async () => {
  await Promise.all(listeners.splice(0).map((listener) => listener.close()));
});

async function listening(onConnection: (socket: Socket) => void, port = 0): Promise<Listener> {
  const listener = await listen({ host, port, onConnection });
  listeners.push(listener);
  return listener;
}

describe('dial and listen', () => {
  it('connect two sides', async () => {
    let greet: (kind: string) => void = () => undefined;
    const greeted = new Promise<string>((resolve) => (greet = resolve));
    const { port } = await listening((socket) => {
      new Connection(socket, { handlers: { ...idle, onFrame: (frame) => greet(frame.type) } });
    });
    expect(port).toBeGreaterThan(0);
    const connection = await dial({ host, port, handlers: idle });
    expect(connection.peer).toBe(`${host}:${port}`);
    connection.send(encodeControl({ kind: 'unassign', epoch: 1 }));
    expect(await greeted).toBe('control');
    await connection.close();
  });

  it('free the port and every socket on close, more than once without harm', async () => {
    const accepted = new Promise<void>((resolve) => {
      void listening(() => resolve()).then(async ({ port }) => {
        const socket = connect(port, host);
        socket.on('error', () => undefined);
        await once(socket, 'connect');
      });
    });
    await accepted;
    const [listener] = listeners;
    await Promise.all([listener?.close(), listener?.close()]);
    const port = listener?.port ?? 0;
    await listening(() => undefined, port);
    expect(listeners).toHaveLength(2);
  });

  it('survive a peer that resets before it has said anything', async () => {
    const closed = new Promise<void>((resolve) => {
      void listening((socket) => socket.on('close', () => resolve())).then(({ port }) => {
        const socket = connect(port, host, () => socket.resetAndDestroy());
      });
    });
    await expect(closed).resolves.toBeUndefined();
  });
});

describe('dial', () => {
  it('names the address and the remedy when nothing listens', async () => {
    const listener = await listening(() => undefined);
    await listener.close();
    await expect(dial({ host, port: listener.port, handlers: idle })).rejects.toMatchObject({
      code: 'PEER_UNREACHABLE',
      message: `Cannot reach ${host}:${listener.port}: nothing listens there; check the address and that the other side is started.`,
    });
  });

  it('refuses an unknown host and an impossible port', async () => {
    const unknown = dial({ host: 'no-such-host.invalid', port: 7600, handlers: idle });
    await expect(unknown).rejects.toMatchObject({ code: 'PEER_UNREACHABLE' });
    await expect(dial({ host, port: 70_000, handlers: idle })).rejects.toThrow(/port must be in 1 to 65535/);
  });

  it('gives up at its deadline', async () => {
    const fires: (() => void)[] = [];
    const clock: Clock = {
      nowMs: () => 0,
      after(_, callback) {
        fires.push(callback);
        return () => undefined;
      },
    };
    const { port } = await listening(() => undefined);
    const dialled = dial({ host, port, timeoutMs: 1234, clock, handlers: idle });
    for (const fire of fires) fire();
    await expect(dialled).rejects.toThrow(/no answer within 1234 ms/);
  });
});

describe('listen', () => {
  it('names the port that is in use', async () => {
    const { port } = await listening(() => undefined);
    await expect(listening(() => undefined, port)).rejects.toMatchObject({
      code: 'PORT_IN_USE',
      message: expect.stringContaining(`${host}:${port}; choose another port`) as string,
    });
  });

  it.each([
    ['192.0.2.1', 0, /not an address of this machine/],
    ['no-such-host.invalid', 0, /host name/],
    ['127.0.0.1', 65_536, /port must be in 0 to 65535/],
  ])('refuses %s port %i', async (badHost, port, message) => {
    const listener = listen({ host: badHost, port, onConnection: () => undefined });
    await expect(listener).rejects.toMatchObject({ code: 'ADDRESS_INVALID' });
    await expect(listener).rejects.toThrow(message);
  });
});
