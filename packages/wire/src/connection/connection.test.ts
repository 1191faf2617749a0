import { once } from 'node:events';
import type { Socket } from 'node:net';
import { describe, expect, it } from 'vitest';
import { ButterflyError, limits } from '@butterfly/common';
import { ManualClock } from '@butterfly/common/testing';
import { messagesOn, Recorder, socketPair, unassign } from '../testing/connections.js';
import { Connection } from './connection.js';
import type { ConnectionOptions } from './connection.js';
import { encodeFrame, protocolVersion } from '../frames/frame.js';
import { decodeControl, encodeControl } from '../messages/messages.js';

async function pair(
  near: Recorder,
  far: Recorder,
  nearOptions: Partial<ConnectionOptions> = {},
): Promise<{ near: Connection; far: Connection; sockets: { near: Socket; far: Socket } }> {
  const sockets = await socketPair();
  return {
    near: new Connection(sockets.near, { handlers: near, ...nearOptions }),
    far: new Connection(sockets.far, { handlers: far }),
    sockets,
  };
}

const stepFrame = (payload: Uint8Array): Uint8Array[] =>
  encodeFrame({ type: 'step', header: Buffer.from('h'), payload });

describe('frames', () => {
  it('arrive whole and in order in both directions', async () => {
    const near = new Recorder();
    const far = new Recorder((frame, connection) =>
      connection.send(encodeFrame({ type: frame.type, header: frame.header, payload: frame.payload })),
    );
    const { near: connection } = await pair(near, far);
    const payloads = [1, 70_000, 8, 3_000_000, 64].map((bytes, index) => Buffer.alloc(bytes, index + 1));
    for (const payload of payloads) connection.send(stepFrame(payload));
    connection.send(unassign(7));
    const frames = await near.framesArrived(6);
    for (const [index, payload] of payloads.entries())
      expect(payload.equals(frames[index]?.payload ?? Buffer.alloc(0))).toBe(true);
    const last = frames[5];
    expect(last && decodeControl(last)).toEqual({ kind: 'unassign', epoch: 7 });
  });

  it('leave no queue behind when the kernel takes them at once', async () => {
    const { near } = await pair(new Recorder(), new Recorder());
    near.send(stepFrame(Buffer.alloc(8192)));
    expect(near.queuedBytes).toBe(0);
    await expect(near.drained()).resolves.toBeUndefined();
  });
});

describe('back-pressure', () => {
  it('makes drained wait until the peer has read', async () => {
    const far = new Recorder();
    const { near, sockets } = await pair(new Recorder(), far);
    sockets.far.pause();
    for (let index = 0; index < 8; index++) near.send(stepFrame(Buffer.alloc(4 << 20)));
    expect(near.queuedBytes).toBeGreaterThan(4 << 20);
    const drained = near.drained();
    sockets.far.resume();
    await drained;
    expect(near.queuedBytes).toBe(0);
    await far.framesArrived(8);
  });

  it('closes before the queue exceeds its limit, and frees those who wait', async () => {
    const recorder = new Recorder();
    const { near, sockets } = await pair(recorder, new Recorder());
    sockets.far.pause();
    const frame = stepFrame(Buffer.alloc(200 << 20));
    near.send(frame);
    const drained = near.drained();
    const outcome = expect(drained).rejects.toMatchObject({ code: 'CONNECTION_CLOSED' });
    near.send(frame);
    near.send(frame);
    expect(near.isOpen).toBe(false);
    await outcome;
    const { error } = await recorder.ending();
    expect(error?.code).toBe('CONNECTION_CLOSED');
    expect(error?.message).toContain(`limit of ${limits.connectionQueuedBytesMax}`);
    await expect(near.drained()).rejects.toBe(error);
  });
});

describe('a stranger', () => {
  it('is told what is wrong with a frame that it may not send', async () => {
    const [near, far] = [new Recorder(), new Recorder()];
    const { far: stranger } = await pair(near, far, { isStranger: true });
    stranger.send(stepFrame(Buffer.alloc(10)));
    for (const recorder of [near, far])
      expect((await recorder.ending()).error?.code).toBe('PROTOCOL_INVALID');
    expect(near.frames).toEqual([]);
  });

  it('may send all once its greeting is trusted, even in the same packet', async () => {
    const near = new Recorder((_, connection) => connection.trust());
    const { far: stranger } = await pair(near, new Recorder(), { isStranger: true });
    stranger.send([...unassign(1), ...stepFrame(Buffer.alloc(1_000_000))]);
    const frames = await near.framesArrived(2);
    expect(frames.map(({ type }) => type)).toEqual(['control', 'step']);
  });
});

describe('closing', () => {
  it('flushes, says goodbye and is no error on either side', async () => {
    const recorders = [new Recorder(), new Recorder()] as const;
    const { near, far } = await pair(...recorders);
    near.send(stepFrame(Buffer.alloc(5_000_000, 1)));
    await near.close('drained');
    expect(await recorders[0].ending()).toEqual({ error: null, reason: 'drained' });
    expect(await recorders[1].ending()).toEqual({ error: null, reason: 'drained' });
    expect(recorders[1].frames).toHaveLength(1);
    near.send(unassign(1));
    await Promise.all([near.close(), far.close()]);
    expect(recorders.map((recorder) => recorder.endings.length)).toEqual([1, 1]);
  });

  it('never calls back from within a call', async () => {
    const recorder = new Recorder();
    const { near } = await pair(recorder, new Recorder());
    near.destroy(new ButterflyError('CANCELLED', 'enough'));
    expect(recorder.endings).toEqual([]);
    expect((await recorder.ending()).reason).toBe('enough');
  });

  it('gives up on a peer that reads nothing', async () => {
    const clock = new ManualClock();
    const { near, sockets } = await pair(new Recorder(), new Recorder(), { clock });
    sockets.far.pause();
    near.send(stepFrame(Buffer.alloc(64 << 20)));
    const closed = near.close();
    clock.jump(60_000);
    await closed;
    expect(clock.waiting).toBe(0);
  });

  it.each([
    ['ends', (socket: Socket) => void socket.end()],
    ['is reset', (socket: Socket) => void socket.resetAndDestroy()],
  ])('is an error when the socket %s without a goodbye', async (_, cut) => {
    const recorder = new Recorder();
    const { near, far } = await socketPair();
    const connection = new Connection(near, { handlers: recorder });
    cut(far);
    const { error } = await recorder.ending();
    expect(error?.code).toBe('CONNECTION_CLOSED');
    expect(error?.message).toContain(connection.peer);
  });

  it('is noticed on a socket that was closed before', async () => {
    const { near } = await socketPair();
    near.destroy();
    await once(near, 'close');
    const clock = new ManualClock();
    const recorder = new Recorder();
    const connection = new Connection(near, { handlers: recorder, clock });
    expect((await recorder.ending()).error?.code).toBe('CONNECTION_CLOSED');
    await connection.close();
    expect(clock.waiting).toBe(0);
  });
});

describe('errors', () => {
  it('of a handler are told to the peer and close both sides with the same code', async () => {
    const near = new Recorder();
    const far = new Recorder(() => {
      throw new ButterflyError('JOIN_REFUSED', 'The token is wrong; pass --token.');
    });
    const { near: connection } = await pair(near, far);
    connection.send([...unassign(1), ...unassign(2)]);
    for (const recorder of [near, far]) {
      const { error } = await recorder.ending();
      expect(error).toMatchObject({ code: 'JOIN_REFUSED', message: 'The token is wrong; pass --token.' });
    }
    expect(far.frames).toHaveLength(1);
  });

  it('that are defects of a handler become INTERNAL', async () => {
    const near = new Recorder();
    const far = new Recorder(() => {
      throw new TypeError('undefined is not a function');
    });
    const { near: connection } = await pair(near, far);
    connection.send(unassign(1));
    expect((await near.ending()).error?.code).toBe('INTERNAL');
    expect((await far.ending()).error?.code).toBe('INTERNAL');
  });

  it('with a code that nobody knows are PROTOCOL_INVALID', async () => {
    const recorder = new Recorder();
    const { near } = await pair(new Recorder(), recorder);
    near.send(encodeControl({ kind: 'error', code: 'FROM_THE_FUTURE', message: 'oh' }));
    expect((await recorder.ending()).error).toMatchObject({ code: 'PROTOCOL_INVALID', message: 'oh' });
  });

  it('of the wire reach both sides: a peer of another version', async () => {
    const recorder = new Recorder();
    const { near, far } = await socketPair();
    new Connection(near, { handlers: recorder });
    const messages = messagesOn(far);
    far.write(Buffer.from([...Buffer.from('BFLY'), protocolVersion + 1, 1, 2, 3]));
    expect((await recorder.ending()).error?.code).toBe('PROTOCOL_VERSION');
    expect(await messages.next()).toMatchObject({ kind: 'error', code: 'PROTOCOL_VERSION' });
  });

  it('leave only as long as the linger time to a peer that does not close', async () => {
    const clock = new ManualClock();
    const { near, far } = await socketPair();
    const connection = new Connection(near, { handlers: new Recorder(), clock });
    far.pause();
    connection.send(stepFrame(Buffer.alloc(64 << 20)));
    connection.fail(new ButterflyError('WORKER_LOST', 'gone'));
    expect(near.destroyed).toBe(false);
    clock.jump(1_000);
    await connection.close();
    expect(near.destroyed).toBe(true);
  });
});
