import { once } from 'node:events';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import type { Clock } from '../clock.js';
import { ButterflyError } from '../errors.js';
import { limits } from '../limits.js';
import { Connection } from './connection.js';
import type { ConnectionHandlers, ConnectionOptions } from './connection.js';
import { encodeFrame, FrameDecoder } from './frame.js';
import type { Frame } from './frame.js';
import { decodeControl, encodeControl } from './messages.js';
import type { ControlMessage } from './messages.js';
import { listen } from './transport.js';

interface Ending {
  readonly error: ButterflyError | null;
  readonly reason: string;
}

/** What happened on one side, and promises of what will. */
class Recorder implements ConnectionHandlers {
  readonly frames: Frame[] = [];
  readonly endings: Ending[] = [];
  #wake: (() => void)[] = [];

  constructor(readonly react: (frame: Frame, connection: Connection) => void = () => undefined) {}

  onFrame(frame: Frame, connection: Connection): void {
    this.frames.push(frame);
    for (const wake of this.#wake.splice(0)) wake();
    this.react(frame, connection);
  }

  onClose(error: ButterflyError | null, reason: string): void {
    this.endings.push({ error, reason });
    for (const wake of this.#wake.splice(0)) wake();
  }

  async framesArrived(count: number): Promise<readonly Frame[]> {
    while (this.frames.length < count) await this.#change();
    return this.frames;
  }

  async ending(): Promise<Ending> {
    for (;;) {
      const [ending] = this.endings;
      if (ending !== undefined) return ending;
      await this.#change();
    }
  }

  #change(): Promise<void> {
    return new Promise((resolve) => this.#wake.push(resolve));
  }
}

/** Timers that fire only when the test moves the time. */
class ManualClock implements Clock {
  #nowMs = 0;
  readonly timers = new Map<() => void, number>();

  nowMs(): number {
    return this.#nowMs;
  }

  after(delayMs: number, callback: () => void): () => void {
    const fire = (): void => callback();
    this.timers.set(fire, this.#nowMs + delayMs);
    return () => this.timers.delete(fire);
  }

  /** A jump: what is due within it fires once, at its end, as after a stall of the process. */
  jump(byMs: number): void {
    this.#nowMs += byMs;
    for (const [fire, dueMs] of [...this.timers])
      if (dueMs <= this.#nowMs && this.timers.delete(fire)) fire();
  }
}

const cleanups: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function socketPair(): Promise<{ near: Socket; far: Socket }> {
  let accept: (socket: Socket) => void = () => undefined;
  const accepted = new Promise<Socket>((resolve) => (accept = resolve));
  const listener = await listen({ host: '127.0.0.1', port: 0, onConnection: (socket) => accept(socket) });
  const near = connect(listener.port, '127.0.0.1');
  cleanups.push(
    () => listener.close(),
    () => {
      near.destroy();
    },
  );
  await once(near, 'connect');
  return { near, far: await accepted };
}

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

/** Messages as a bare socket sees them, without a connection that would deal with some itself. */
function messagesOn(socket: Socket): { next(): Promise<ControlMessage> } {
  const decoder = new FrameDecoder();
  const messages: ControlMessage[] = [];
  let wake: () => void = () => undefined;
  socket.on('data', (chunk: Buffer) => {
    decoder.push(chunk);
    for (const frame of decoder.frames()) messages.push(decodeControl(frame));
    wake();
  });
  return {
    async next() {
      for (;;) {
        const message = messages.shift();
        if (message !== undefined) return message;
        await new Promise<void>((resolve) => (wake = resolve));
      }
    },
  };
}

const stepFrame = (payload: Uint8Array): Uint8Array[] =>
  encodeFrame({ type: 'step', header: Buffer.from('h'), payload });
const unassign = (epoch: number): Uint8Array[] => encodeControl({ kind: 'unassign', epoch });

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
    expect(clock.timers.size).toBe(0);
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
    expect(clock.timers.size).toBe(0);
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
    far.write(Buffer.from([...Buffer.from('BFLY'), 9, 1, 2, 3]));
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

describe('heartbeat', () => {
  const heartbeat = { everyMs: 100, silenceMs: 400 };

  it('pings, answers pings, and measures the round trip', async () => {
    const clock = new ManualClock();
    const recorder = new Recorder();
    const { near, far } = await socketPair();
    const connection = new Connection(near, { handlers: recorder, clock, heartbeat });
    const messages = messagesOn(far);
    clock.jump(100);
    expect(await messages.next()).toEqual({ kind: 'ping', sentAtMs: 100 });
    far.write(Buffer.concat(encodeControl({ kind: 'ping', sentAtMs: 5.5 })));
    expect(await messages.next()).toEqual({ kind: 'pong', sentAtMs: 5.5 });
    expect(connection.roundTripMs).toBeNull();
    clock.jump(40);
    far.write(Buffer.concat([...encodeControl({ kind: 'pong', sentAtMs: 100 }), ...unassign(1)]));
    await recorder.framesArrived(1);
    expect(connection.roundTripMs).toBe(40);
  });

  it('closes after the longest silence, whatever the rhythm', async () => {
    const clock = new ManualClock();
    const recorder = new Recorder();
    const { near } = await socketPair();
    const connection = new Connection(near, { handlers: recorder, clock, heartbeat });
    for (let beat = 0; beat < 3; beat++) clock.jump(100);
    expect(connection.isOpen).toBe(true);
    clock.jump(100);
    expect(connection.isOpen).toBe(false);
    expect((await recorder.ending()).error?.code).toBe('TIMEOUT');
    await connection.close();
    expect(clock.timers.size).toBe(0);
  });

  it('does not take its own stall for silence of the peer', async () => {
    const clock = new ManualClock();
    const { near } = await socketPair();
    const connection = new Connection(near, { handlers: new Recorder(), clock, heartbeat });
    clock.jump(100);
    clock.jump(60_000);
    expect(connection.isOpen).toBe(true);
    clock.jump(100);
    expect(connection.isOpen).toBe(false);
  });

  it.each([
    ['on a calm network within 2 s', [1, 1, 1, 1], [1_500, 2_000]],
    ['on a jittery one later', [4, 1, 1, 1], [2_000, 9_000]],
  ] as const)('closes for silence %s', async (_, beatsBetween, [leastMs, mostMs]) => {
    const clock = new ManualClock();
    const recorder = new Recorder();
    const { near, far } = await socketPair();
    const options = { handlers: recorder, clock, heartbeat: { everyMs: 250, silenceMs: 10_000 } };
    const connection = new Connection(near, options);
    for (let frame = 1; frame <= 60; frame++) {
      for (let beat = 0; beat < (beatsBetween[frame % 4] ?? 1); beat++) clock.jump(250);
      far.write(Buffer.concat(unassign(frame)));
      await recorder.framesArrived(frame);
    }
    let silentMs = 0;
    for (; connection.isOpen; silentMs += 250) clock.jump(250);
    expect(silentMs).toBeGreaterThanOrEqual(leastMs);
    expect(silentMs).toBeLessThanOrEqual(mostMs);
    const { error } = await recorder.ending();
    expect(error).toMatchObject({
      code: 'TIMEOUT',
      message: expect.stringContaining(`${silentMs} ms`) as string,
    });
  });

  it('counts any bytes as life and follows a new rhythm', async () => {
    const clock = new ManualClock();
    const recorder = new Recorder();
    const { near, far } = await socketPair();
    const connection = new Connection(near, { handlers: recorder, clock, heartbeat });
    for (let frame = 1; frame <= 6; frame++) {
      far.write(Buffer.concat(unassign(frame)));
      await recorder.framesArrived(frame);
      clock.jump(100);
      clock.jump(100);
    }
    connection.setHeartbeat({ everyMs: 1_000, silenceMs: 5_000 });
    clock.jump(900);
    expect(connection.isOpen).toBe(true);
    for (let beat = 0; beat < 5; beat++) clock.jump(1_000);
    expect(connection.isOpen).toBe(false);
  });
});
