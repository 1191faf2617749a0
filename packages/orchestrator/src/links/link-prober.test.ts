import { type Clock, systemClock } from '@butterfly/common';
import { decodeControl, decodeFileChunk } from '@butterfly/wire';
import { afterEach, describe, expect, it } from 'vitest';
import { ConnectedWorkers } from '../testing/cluster.js';
import { LinkProber, type LinkEnds } from './link-prober.js';
import { LinkTable } from './link-table.js';

const found = { latencyMicros: 700, bytesPerSecond: 5e6 };
const fast = { latencyMicros: 300, bytesPerSecond: 9e7 };
const notFound = { latencyMicros: null, bytesPerSecond: null };
const doubtMs = 120_000;

let close = (): Promise<void> => Promise.resolve();
afterEach(() => close());

/** Two workers on machines of their own, that answer probes as `answer` says, and blocks at the pace of `bytesPerMs`. */
async function pair(
  answer: (from: string) => typeof found | typeof notFound,
  bytesPerMs = { up: 1e6, down: 1e6 },
) {
  const connected = await ConnectedWorkers.open('a', 'b');
  const now = { skippedMs: 0 };
  const clock: Clock = { ...systemClock, nowMs: () => systemClock.nowMs() + now.skippedMs };
  const table = new LinkTable();
  const prober = new LinkProber(table, clock);
  const seen: string[] = [];
  let isOver = false;
  close = async () => {
    isOver = true;
    await connected.close();
  };
  const after = (ms: number) => new Promise<void>((resolve) => systemClock.after(ms, resolve));
  const serve = async (workerId: string): Promise<void> => {
    for (;;) {
      const frame = await connected.party(workerId).frame();
      if (isOver) return;
      if (frame.type === 'fileChunk') {
        await after(decodeFileChunk(frame).bytes.length / bytesPerMs.down);
        continue;
      }
      const message = decodeControl(frame);
      if (message.kind === 'probe') {
        seen.push(workerId);
        prober.receive(workerId, { ...message, kind: 'probed', ...answer(workerId) });
      }
      if (message.kind !== 'probeBlock') continue;
      const { requestId, bytes } = message;
      await after(bytes / bytesPerMs.up);
      prober.receiveBlock(workerId, { requestId, bytes: new Uint8Array(bytes), sha256: new Uint8Array(32) });
    }
  };
  for (const workerId of ['a', 'b']) {
    table.join(workerId, `machine ${workerId}`);
    void serve(workerId);
  }
  const { workers } = connected;
  const [a, b] = [...workers.values()];
  if (!a || !b) throw new Error('two workers');
  const link: LinkEnds = [a, b];
  return { table, prober, workers, link, seen, now };
}

describe('the prober', () => {
  it('measures the links of a plan that nothing is known of, once', async () => {
    const { table, prober, link, seen } = await pair(() => found);
    expect(table.link('a', 'b')).not.toMatchObject(found);
    expect(await prober.complete([link])).toBe(true);
    expect(table.link('a', 'b')).toEqual({ ...found, isRelayed: false });
    // Twice, as it seems slow.
    expect(seen).toEqual(['a', 'b', 'a', 'b']);
    expect(await prober.complete([link])).toBe(false);
    expect(seen).toHaveLength(4);
  });

  it('measures a link that seems slow again before it is believed, and takes the better', async () => {
    let asked = 0;
    const slowAtFirst = () => (asked++ < 2 ? { latencyMicros: 9000, bytesPerSecond: 9e5 } : fast);
    const { table, prober, workers, seen } = await pair(slowAtFirst);
    const [a, b] = [...workers.values()];
    if (!a || !b) throw new Error('two workers');
    await prober.introduce(b, [a]);
    expect(seen).toHaveLength(4);
    for (const [from, to] of [
      ['a', 'b'],
      ['b', 'a'],
    ] as const)
      expect(table.link(from, to)).toEqual({ ...fast, isRelayed: false });
    // Whatever other work makes of it later.
    asked = 0;
    await prober.remeasure([[a, b]]);
    expect(table.link('a', 'b')).toEqual({ ...fast, isRelayed: false });
    expect(seen).toHaveLength(8);
  });

  it('asks once where a link is fast, and tells when one is faster than it seemed', async () => {
    let reply = fast;
    const { table, prober, link, seen } = await pair(() => reply);
    await prober.remeasure([link]);
    expect(seen).toHaveLength(2);
    for (const [from, to] of [
      ['a', 'b'],
      ['b', 'a'],
    ] as const)
      table.flowed(from, to, 1e6);
    expect(await prober.complete([link])).toBe(true);
    expect(seen).toHaveLength(4);
    reply = { ...fast, bytesPerSecond: 1e6 };
    expect(await prober.complete([link])).toBe(false);
    expect(table.link('a', 'b').bytesPerSecond).toBe(fast.bytesPerSecond);
  });

  it('tries a way again that could not be dialled, when that is some time ago', async () => {
    let reply: typeof found | typeof notFound = notFound;
    const { table, prober, workers, link, seen, now } = await pair(() => reply);
    await prober.complete([link]);
    expect(table.link('a', 'b').isRelayed).toBe(true);
    const before = seen.length;
    expect(await prober.retry(workers)).toBe(false);
    expect(seen).toHaveLength(before);
    now.skippedMs += doubtMs;
    expect(await prober.retry(workers)).toBe(false);
    expect(seen).toHaveLength(before + 2);
    expect(table.link('a', 'b').isRelayed).toBe(true);
    reply = found;
    now.skippedMs += doubtMs;
    expect(await prober.retry(workers)).toBe(true);
    expect(table.link('a', 'b').isRelayed).toBe(false);
    expect(await prober.retry(workers)).toBe(false);
  });

  it('measures the ways over the orchestrator where a way goes there, each for itself', async () => {
    const { table, prober, link } = await pair(() => notFound, { up: 1000, down: 8000 });
    const assumed = table.link('a', null).bytesPerSecond;
    expect(await prober.complete([link])).toBe(true);
    const [up, down] = [table.link('a', null).bytesPerSecond, table.link(null, 'a').bytesPerSecond];
    // Measured; how near to the truth depends on what else the machine does.
    expect(up).not.toBe(assumed);
    expect(down).not.toBe(assumed);
    expect(table.link('a', 'b').bytesPerSecond).toBeLessThan(up);
    expect(up).toBeLessThan(assumed);
    expect(await prober.complete([link])).toBe(false);
  });

  it('does not wait for a worker that is gone', async () => {
    const { prober, link } = await pair(() => notFound, { up: 1e-6, down: 1 });
    const measured = prober.complete([link]);
    await new Promise((resolve) => systemClock.after(50, () => resolve(null)));
    prober.leave('a');
    prober.leave('b');
    await measured;
  });
});
