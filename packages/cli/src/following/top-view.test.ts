import { describe, expect, it } from 'vitest';
import type { ShownCluster, ShownMessage, ShownRequest } from './live-schema.js';
import { emptyTop, formatTop, nextTop, type TopState } from './top-view.js';

const worker = (workerId: string, name: string) => ({ workerId, name, memoryBytes: 8 * 2 ** 30 });
const placed = (workerId: string, first: number, last: number) => ({
  ...{ workerId, state: 'serving', replica: 1, stepMicros: 4_000, residentBytes: 2 ** 30 },
  layers: [first, last] as [number, number],
});

const cluster: ShownCluster = {
  ...{ isReady: true, detail: 'All layers are live.', version: '0.1.0', startedMs: 0 },
  workers: [worker('w1', 'desk'), worker('w2', 'attic')],
  models: [{ id: 'stories', state: 'loaded', workers: [placed('w2', 4, 7), placed('w1', 0, 3)] }],
};

const request = (id: string, over: Partial<ShownRequest> = {}): ShownRequest => ({
  ...{ id, modelId: 'stories', state: 'decode', startedMs: 1_000, endedMs: null },
  ...{ promptTokens: 10, cachedTokens: 4, outputTokens: 20, firstTokenMs: 150, tokensPerSecond: 25 },
  ...{ replays: 0, error: null },
  ...over,
});

const pulse = (atMs: number): ShownMessage => ({
  kind: 'pulse',
  pulse: {
    ...{ atMs, lengthMs: 500 },
    models: [
      {
        ...{ id: 'stories', running: 1, queued: 2, steps: 10, rows: 15, outputTokens: 12 },
        busyShares: { w1: 0.62, w2: 0.1 },
      },
    ],
  },
});

const after = (...messages: readonly ShownMessage[]): TopState =>
  messages.reduce((state, message) => nextTop(state, message, 3_000), emptyTop);

describe('what top shows', () => {
  it('is that it waits, before it knows anything', () => {
    expect(formatTop(emptyTop, 0, 40)).toBe('Waiting for the server ...\n');
  });

  it('are models, stages in order of their layers, and requests that run before those that are over', () => {
    const requests = [
      request('req_over', { state: 'done', endedMs: 2_000 }),
      request('req_failed', { endedMs: 2_500, error: { code: 'TIMEOUT', message: '' } }),
      request('req_runs', { replays: 1 }),
    ];
    const text = formatTop(
      after({ kind: 'cluster', cluster }, pulse(3_000), { kind: 'requests', requests }),
      3_000,
      40,
    );
    expect(text).toMatch(/^Butterfly 0\.1\.0, up 3\.0 s: ready\. All layers are live\.$/m);
    expect(text).toMatch(/^stories +loaded +24\.0 +20\.0 +1\.5 +1 +2$/m);
    expect(
      [...text.matchAll(/^stories +1 +(\w+) +serving +(\S+) +(\S+ \d+%)/gm)].map((found) => found.slice(1)),
    ).toEqual([
      ['desk', '0-3', '######.... 62%'],
      ['attic', '4-7', '#......... 10%'],
    ]);
    expect([...text.matchAll(/^(req_\w+) +\S+ +(\w+)/gm)].map((found) => found.slice(1))).toEqual([
      ['req_runs', 'decode'],
      ['req_failed', 'TIMEOUT'],
      ['req_over', 'done'],
    ]);
  });

  it('are as many requests as there is room for', () => {
    const requests = Array.from({ length: 50 }, (_, index) => request(`req_${index}`));
    const text = formatTop(after({ kind: 'cluster', cluster }, { kind: 'requests', requests }), 3_000, 20);
    expect(text.split('\n').length).toBeLessThanOrEqual(21);
  });

  it('is out of date without a sign of life, and says so', () => {
    const state = after({ kind: 'cluster', cluster }, pulse(3_000));
    expect(formatTop(state, 7_000, 40)).toMatch(/^Butterfly/);
    expect(formatTop(state, 9_000, 40)).toMatch(/^No sign of life for 6 s/);
  });

  it('is nothing of a server that was started anew', () => {
    const requests = [request('req_old')];
    const state = after({ kind: 'cluster', cluster }, pulse(3_000), { kind: 'requests', requests });
    const anew = nextTop(state, { kind: 'cluster', cluster: { ...cluster, startedMs: 9 } }, 3_000);
    expect([anew.requests.size, anew.pulse]).toEqual([0, null]);
  });

  it('changes a request where it is told of again, and keeps few', () => {
    const many = Array.from({ length: 300 }, (_, index) => request(`req_${index}`));
    const state = after(
      { kind: 'requests', requests: many },
      { kind: 'requests', requests: [request('req_299', { outputTokens: 99 })] },
    );
    expect([state.requests.size, state.requests.get('req_299')?.outputTokens]).toEqual([200, 99]);
  });
});
