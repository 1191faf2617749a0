import { describe, expect, it } from 'vitest';
import { messagesOn, Recorder, socketPair, unassign } from '../testing/connections.js';
import { ManualClock } from '@butterfly/common/testing';
import { Connection } from './connection.js';
import { encodeFrame } from '../frames/frame.js';
import { encodeControl } from '../messages/messages.js';

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

  it('takes the least of the last round trips', async () => {
    const clock = new ManualClock();
    const recorder = new Recorder();
    const { near, far } = await socketPair();
    const connection = new Connection(near, { handlers: recorder, clock, heartbeat });
    const messages = messagesOn(far);
    const least: (number | null)[] = [];
    for (let beat = 0; beat < 20; beat++) {
      clock.jump(100);
      const ping = await messages.next();
      clock.jump(beat === 1 ? 5 : 40);
      const sentAtMs = ping.kind === 'ping' ? ping.sentAtMs : -1;
      far.write(Buffer.concat([...encodeControl({ kind: 'pong', sentAtMs }), ...unassign(1)]));
      await recorder.framesArrived(beat + 1);
      least.push(connection.roundTripMs);
    }
    // What was true long ago is so no more.
    expect(least).toEqual([40, ...Array<number>(16).fill(5), 40, 40, 40]);
  });

  it('does not take what a ping waits behind for distance', async () => {
    const clock = new ManualClock();
    const recorder = new Recorder();
    const { near, far } = await socketPair();
    const connection = new Connection(near, { handlers: recorder, clock, heartbeat });
    far.pause();
    connection.send(encodeFrame({ type: 'step', header: Buffer.from('h'), payload: Buffer.alloc(64 << 20) }));
    clock.jump(100);
    expect(connection.queuedBytes).toBeGreaterThan(0);
    far.write(Buffer.concat([...encodeControl({ kind: 'pong', sentAtMs: 100 }), ...unassign(1)]));
    await recorder.framesArrived(1);
    expect(connection.roundTripMs).toBeNull();
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
    expect(clock.waiting).toBe(0);
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
