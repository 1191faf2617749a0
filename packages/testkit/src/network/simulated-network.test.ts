import {
  Connection,
  type ConnectionHandlers,
  type Frame,
  type IncomingStream,
  decodeControl,
  encodeControl,
} from '@butterfly/wire';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SimulatedClock } from '../clock/simulated-clock.js';
import type { SimulatedHost } from './simulated-host.js';
import type { LinkConditions } from './simulated-link.js';
import { SimulatedNetwork } from './simulated-network.js';

/** What one side saw, with the simulated time of each thing. */
interface Log {
  readonly epochs: number[];
  readonly frames: { readonly atMs: number; readonly frame: Frame }[];
  readonly ends: { readonly atMs: number; readonly code: string | null }[];
}

function logOf(host: SimulatedHost): { log: Log; handlers: ConnectionHandlers } {
  const log: Log = { epochs: [], frames: [], ends: [] };
  const handlers: ConnectionHandlers = {
    onFrame(frame) {
      log.frames.push({ atMs: host.clock.nowMs(), frame });
      if (frame.type !== 'control') return;
      const message = decodeControl(frame);
      if (message.kind === 'unassign') log.epochs.push(message.epoch);
    },
    onClose: (error) => log.ends.push({ atMs: host.clock.nowMs(), code: error?.code ?? null }),
  };
  return { log, handlers };
}

interface Pair {
  readonly clock: SimulatedClock;
  readonly network: SimulatedNetwork;
  readonly a: SimulatedHost;
  readonly b: SimulatedHost;
  readonly near: Connection;
  readonly far: Connection;
  readonly nearLog: Log;
  readonly farLog: Log;
}

const port = 7600;

/** A connection from host a to host b. */
async function connected(conditions: Partial<LinkConditions> = {}, seed = 'pair'): Promise<Pair> {
  const clock = new SimulatedClock();
  const network = new SimulatedNetwork({ clock, seed, conditions });
  const [a, b] = [network.host('a'), network.host('b')];
  const [near, far] = [logOf(a), logOf(b)];
  let accept: (connection: Connection) => void = () => undefined;
  const accepted = new Promise<Connection>((resolve) => (accept = resolve));
  await b.transport.listen({
    host: '0.0.0.0',
    port,
    onConnection: (stream) => accept(new Connection(stream, { handlers: far.handlers, clock: b.clock })),
  });
  const dialled = a.transport.dial({ host: 'b', port, handlers: near.handlers });
  return {
    clock,
    network,
    a,
    b,
    near: await clock.settle(dialled),
    far: await clock.settle(accepted),
    nearLog: near.log,
    farLog: far.log,
  };
}

const unassign = (epoch: number): Uint8Array[] => encodeControl({ kind: 'unassign', epoch });
const upTo = (count: number): number[] => Array.from({ length: count }, (_, index) => index);
/** Some 9,000 bytes in one control frame. */
const bulk = encodeControl({
  kind: 'prepare',
  shardId: '0123456789abcdef',
  layerStart: 0,
  layerEnd: 1,
  arenaSlots: 1,
  cacheType: 'f16',
  rowsMax: 1,
  sources: Array.from({ length: 16 }, () => ({ workerId: 'w'.repeat(250), host: 'h'.repeat(250), port: 1 })),
});
const bulkBytes = bulk.reduce((sum, part) => sum + part.length, 0);

describe('a simulated link', () => {
  it('takes its latency and the time of its bytes', async () => {
    const { clock, near, farLog } = await connected({ latencyMs: 20, bytesPerSecond: 100_000 });
    const sentAtMs = clock.nowMs();
    near.send(bulk);
    await clock.advance(1_000);
    const tookMs = (farLog.frames[0]?.atMs ?? 0) - sentAtMs;
    expect(tookMs).toBeCloseTo(20 + bulkBytes / 100, 6);
  });

  it('keeps the order of what jitter delays, however it is cut into chunks', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.string(),
        fc.nat(50),
        fc.integer({ min: 1, max: 60 }),
        async (seed, jitterMs, count) => {
          const { clock, near, farLog } = await connected(
            { latencyMs: 1, jitterMs, bytesPerSecond: 1e6 },
            seed,
          );
          for (const epoch of upTo(count)) near.send(unassign(epoch));
          await clock.advance(1_000);
          expect(farLog.epochs).toEqual(upTo(count));
        },
      ),
      { numRuns: 30 },
    );
  });

  it('shares its bandwidth, so that bulk of one connection does not silence another', async () => {
    const { clock, near, network, farLog } = await connected({ bytesPerSecond: 20_000 });
    const { handlers } = logOf(network.host('a'));
    const other = await clock.settle(network.host('a').transport.dial({ host: 'b', port, handlers }));
    for (const epoch of upTo(100)) {
      near.send(bulk);
      if (epoch === 50) other.send(unassign(1));
    }
    await clock.advance(100);
    expect(farLog.epochs).toEqual([1]);
    await clock.advance(10_000);
    expect([near.isOpen, other.isOpen]).toEqual([true, true]);
    expect(farLog.frames.length).toBeLessThan(100);
  });

  it('repeats a run to the last event with the same seed, and not with another', async () => {
    const run = async (seed: string): Promise<unknown> => {
      const { clock, near, far, network, nearLog, farLog } = await connected(
        { latencyMs: 2, jitterMs: 9 },
        seed,
      );
      for (const epoch of upTo(20)) {
        near.send(unassign(epoch));
        far.send(bulk);
        await clock.advance(7);
      }
      network.link('a', 'b').cut();
      await clock.advance(20_000);
      return [
        nearLog.frames.map(({ atMs }) => atMs),
        farLog.frames.map(({ atMs }) => atMs),
        nearLog.ends,
        farLog.ends,
      ];
    };
    const first = await run('one');
    expect(await run('one')).toEqual(first);
    expect(await run('two')).not.toEqual(first);
  });

  it('crawls: bytes trickle in, and the connection stays', async () => {
    const { clock, near, network, farLog } = await connected();
    network.link('a', 'b').crawl(2_000);
    near.send(bulk);
    await clock.advance(3_000);
    expect([farLog.frames.length, near.isOpen]).toEqual([0, true]);
    network.link('a', 'b').set({ bytesPerSecond: 1e9 });
    await clock.advance(100);
    expect(farLog.frames).toHaveLength(1);
  });
});

describe('a cut link', () => {
  it('is silent until both sides suspect each other, within 2 s', async () => {
    const { clock, network, near, nearLog, farLog } = await connected();
    await clock.advance(5_000);
    const cutAtMs = clock.nowMs();
    network.link('a', 'b').cut();
    near.send(unassign(1));
    await clock.advance(2_000);
    for (const { ends } of [nearLog, farLog]) {
      expect(ends.map(({ code }) => code)).toEqual(['TIMEOUT']);
      expect((ends[0]?.atMs ?? 0) - cutAtMs).toBeGreaterThan(1_000);
    }
    expect(farLog.epochs).toEqual([]);
  });

  it('loses nothing of a connection that outlives the cut', async () => {
    const { clock, near, network, nearLog, farLog } = await connected({ latencyMs: 5, bytesPerSecond: 1e5 });
    for (const epoch of upTo(40)) {
      near.send(unassign(epoch));
      near.send(bulk);
      if (epoch % 10 === 5) network.link('a', 'b').cut();
      await clock.advance(60);
      network.link('a', 'b').heal();
      await clock.advance(300);
    }
    await clock.advance(5_000);
    expect(farLog.epochs).toEqual(upTo(40));
    expect([nearLog.ends, farLog.ends]).toEqual([[], []]);
  });

  it('lets dials time out, or come through once it heals', async () => {
    const { clock, network, a } = await connected();
    const link = network.link('a', 'b');
    link.cut();
    const { handlers } = logOf(a);
    await expect(clock.settle(a.transport.dial({ host: 'b', port, handlers }))).rejects.toMatchObject({
      code: 'PEER_UNREACHABLE',
      message: expect.stringContaining('no answer within 5000 ms') as string,
    });
    const late = a.transport.dial({ host: 'b', port, handlers });
    await clock.advance(2_500);
    link.heal();
    expect((await clock.settle(late)).isOpen).toBe(true);
  });

  it('hides a death, which shows once it heals', async () => {
    const { clock, network, b, nearLog } = await connected();
    const link = network.link('a', 'b');
    link.cut();
    b.kill();
    await clock.advance(500);
    expect(nearLog.ends).toEqual([]);
    link.heal();
    await clock.advance(700);
    expect(nearLog.ends.map(({ code }) => code)).toEqual(['CONNECTION_CLOSED']);
  });
});

describe('a flipped bit', () => {
  it('is found by the frames, and ends the connection on both sides', async () => {
    await fc.assert(
      fc.asyncProperty(fc.string(), async (seed) => {
        const { clock, near, network, nearLog, farLog } = await connected({}, seed);
        network.link('a', 'b').flipBit();
        near.send(unassign(1));
        near.send(bulk);
        await clock.advance(30_000);
        expect(farLog.epochs.filter((epoch) => epoch !== 1)).toEqual([]);
        for (const { ends } of [nearLog, farLog])
          expect(['PROTOCOL_INVALID', 'PROTOCOL_VERSION']).toContain(ends[0]?.code);
      }),
      { numRuns: 50 },
    );
  });
});

describe('a simulated host', () => {
  it('that stops is found silent, and finds out when it goes on', async () => {
    const { clock, b, nearLog, farLog } = await connected();
    b.pause();
    await clock.advance(2_500);
    expect(nearLog.ends.map(({ code }) => code)).toEqual(['TIMEOUT']);
    expect(farLog.ends).toEqual([]);
    b.resume();
    await clock.advance(10);
    expect(farLog.ends.map(({ code }) => code)).toEqual(['CONNECTION_CLOSED']);
  });

  it('that stops for a moment loses nothing, and does not blame its peers', async () => {
    const { clock, near, far, b, nearLog, farLog } = await connected();
    const fired: number[] = [];
    for (const delayMs of [100, 300, 5_000]) b.clock.after(delayMs, () => fired.push(clock.nowMs()));
    const cancel = b.clock.after(200, () => fired.push(-1));
    const startMs = clock.nowMs();
    b.pause();
    for (const epoch of upTo(10)) {
      near.send(unassign(epoch));
      await clock.advance(100);
    }
    expect([farLog.epochs, fired]).toEqual([[], []]);
    cancel();
    b.resume();
    await clock.advance(0);
    expect(farLog.epochs).toEqual(upTo(10));
    expect(fired).toEqual([startMs + 1_000, startMs + 1_000]);
    await clock.advance(10_000);
    expect([near.isOpen, far.isOpen]).toEqual([true, true]);
    expect([nearLog.ends, farLog.ends]).toEqual([[], []]);
  });

  it('that is stopped holds back senders, whose kernel alone goes on', async () => {
    const { clock, near, b, farLog } = await connected();
    b.pause();
    for (const epoch of upTo(300)) near.send(epoch === 299 ? unassign(7) : bulk);
    await clock.advance(200);
    expect(near.queuedBytes).toBeGreaterThan(0);
    const drained = near.drained();
    b.resume();
    await clock.settle(drained);
    await clock.advance(100);
    expect(farLog.epochs).toEqual([7]);
  });

  it('that is killed closes its connections at once and does nothing more', async () => {
    for (const seed of ['one', 'two', 'three', 'four']) {
      const { clock, b, near, nearLog, farLog } = await connected({ latencyMs: 3 }, seed);
      const fired: number[] = [];
      b.clock.after(1, () => fired.push(1));
      const killedAtMs = clock.nowMs();
      b.kill();
      near.send(unassign(1));
      await clock.advance(10_000);
      expect(nearLog.ends.map(({ code }) => code)).toEqual(['CONNECTION_CLOSED']);
      expect(nearLog.ends[0]?.atMs).toBeCloseTo(killedAtMs + 3, 6);
      expect([fired, farLog.epochs, farLog.ends]).toEqual([[], [], []]);
    }
  });

  it('that was killed can be started again, on the same port', async () => {
    const { clock, network, a, b } = await connected();
    b.kill();
    const { handlers, log } = logOf(a);
    const refused = clock.settle(a.transport.dial({ host: 'b', port, handlers }));
    await expect(refused).rejects.toThrow(/nothing listens there/);
    const again = network.host('b');
    expect([again === b, again.isAlive, b.isAlive]).toEqual([false, true, false]);
    await again.transport.listen({
      host: 'b',
      port,
      onConnection: (stream) => {
        new Connection(stream, { handlers: logOf(again).handlers, clock: again.clock }).send(unassign(3));
      },
    });
    await clock.settle(a.transport.dial({ host: 'b', port, handlers }));
    await clock.advance(10);
    expect(log.epochs).toEqual([3]);
  });

  it('reaches itself, under its name and as localhost', async () => {
    const { clock, a } = await connected();
    const { handlers, log } = logOf(a);
    await a.transport.listen({
      host: '127.0.0.1',
      port,
      onConnection: (stream) => {
        new Connection(stream, { handlers, clock: a.clock });
      },
    });
    for (const [epoch, host] of ['localhost', 'a'].entries())
      (await clock.settle(a.transport.dial({ host, port, handlers: logOf(a).handlers }))).send(
        unassign(epoch),
      );
    await clock.advance(10);
    expect(log.epochs).toEqual([0, 1]);
  });

  it('keeps what arrives until somebody listens, and the end behind it', async () => {
    const { clock, network } = await connected();
    const c = network.host('c');
    const streams: IncomingStream[] = [];
    await c.transport.listen({
      host: 'c',
      port,
      onConnection: (stream) => streams.push(stream),
    });
    const { handlers } = logOf(network.host('a'));
    const near = await clock.settle(network.host('a').transport.dial({ host: 'c', port, handlers }));
    near.send(unassign(5));
    const closed = near.close();
    await clock.advance(100);
    const late = logOf(c);
    const [stream] = streams;
    if (stream === undefined) throw new Error('nothing was accepted');
    new Connection(stream, { handlers: late.handlers, clock: c.clock });
    await clock.settle(closed);
    expect(late.log.epochs).toEqual([5]);
    expect(late.log.ends.map(({ code }) => code)).toEqual([null]);
  });
});
