import { describe, expect, it } from 'vitest';
import { decodePerSecond, figuresOf, runLoad, type RequestRecord } from './run-load.js';
import type { LoadRequest } from './traffic.js';

const requests: readonly LoadRequest[] = Array.from({ length: 12 }, (_, index) => ({
  prompt: [index],
  outputTokens: 2,
}));

/** A server that answers at once, and counts how many requests it has. */
function fakeServer() {
  const seen: LoadRequest[] = [];
  let running = 0;
  let runningMax = 0;
  const send = async (request: LoadRequest): Promise<RequestRecord> => {
    seen.push(request);
    runningMax = Math.max(runningMax, ++running);
    const startMs = performance.now();
    await new Promise((resolve) => setImmediate(resolve));
    running--;
    return { startMs, piecesMs: [performance.now(), performance.now()], tokens: 2 };
  };
  return { seen, send, most: () => runningMax };
}

describe('a load', () => {
  it('in a closed loop sends everything in order, never more at once than there are clients', async () => {
    const server = fakeServer();
    const { records, windowMs } = await runLoad(requests, { kind: 'closed', clients: 3 }, server.send);
    expect(server.seen).toEqual(requests);
    expect(server.most()).toBe(3);
    expect(records).toHaveLength(12);
    expect(windowMs[1]).toBeGreaterThan(windowMs[0]);
  });

  it('in an open loop sends everything in order', async () => {
    const server = fakeServer();
    const arrivalsMs = requests.map((_, index) => index * 2);
    await runLoad(requests, { kind: 'open', arrivalsMs }, server.send);
    expect(server.seen).toEqual(requests);
  });

  it('fails with a request that fails', async () => {
    const failing = () => Promise.reject(new Error('refused'));
    await expect(runLoad(requests, { kind: 'closed', clients: 2 }, failing)).rejects.toThrow('refused');
  });
});

describe('the figures', () => {
  const record = (startMs: number, piecesMs: readonly number[], tokens: number): RequestRecord => ({
    startMs,
    piecesMs,
    tokens,
  });

  it('count what lies within the steady part', () => {
    const records = [record(0, [100, 200, 300, 400], 4), record(250, [350, 450, 1350], 3)];
    const figures = figuresOf({ records, windowMs: [200, 1200] });
    // Three of the first and two of the second, in one second.
    expect(figures.tokensPerSecond).toBeCloseTo(5);
    expect(figures.requestsPerSecond).toBeCloseTo(3 / 4 + 2 / 3);
    expect(figures.firstTokenMs.p50).toBe(100);
    expect(figures.betweenTokensMs).toEqual({ p50: 100, p95: 100, p99: 100 });
  });

  it('count tokens where pieces hold several, and none of an empty answer', () => {
    const records = [record(0, [100, 200], 4), record(0, [], 0)];
    expect(figuresOf({ records, windowMs: [0, 1000] }).tokensPerSecond).toBeCloseTo(4);
    expect(decodePerSecond(record(0, [100, 600], 6))).toBeCloseTo(10);
  });

  it('are refused when there was no steady part', () => {
    expect(() => figuresOf({ records: [], windowMs: [2, 1] })).toThrow('more requests');
  });
});
