import type { ClusterDescription } from '@butterfly/orchestrator';
import { describe, expect, it } from 'vitest';
import { describedCluster, describedWorker } from '../testing/cluster.js';
import { type Clocks, clockAheadMs, clusterFindings } from './cluster-findings.js';
import { hasFault } from './findings.js';

const nowMs = Date.UTC(2026, 11, 2);
const hourMs = 3_600_000;
const alike: Clocks = { askedMs: nowMs - 10, answeredMs: nowMs + 10, serverMs: nowMs };
const ahead = (ms: number, roundTripMs = 20): Clocks => ({
  askedMs: nowMs - roundTripMs / 2,
  answeredMs: nowMs + roundTripMs / 2,
  serverMs: nowMs + ms,
});

const link = { toWorkerId: null, latencyMicros: 150, bytesPerSecond: 1e8, isRelayed: false };
const sound = describedCluster({ workers: [describedWorker('w1'), describedWorker('w2')] });

function findingsIn(changes: Partial<ClusterDescription>, clocks = alike, version = '0.1.0') {
  return clusterFindings({ ...sound, ...changes }, clocks, version);
}

function troubles(...args: Parameters<typeof findingsIn>): string[] {
  return findingsIn(...args)
    .filter(({ verdict }) => verdict !== 'ok')
    .map(({ verdict, what, found, remedy }) => `${verdict}: ${what}: ${found}: ${remedy ?? ''}`);
}

describe('findings of a running server', () => {
  it('are all well where all is', () => {
    expect(troubles({})).toEqual([]);
    expect(findingsIn({}).map(({ what, found }) => `${what}: ${found}`)).toEqual([
      'server: a-model is ready',
      'clocks: alike, to 1.0 s',
      'links: at most 0.15 ms one way, at least 800 Mbit/s',
      'versions of workers: 0.1.0',
      'kernels of workers: haswell on linux x64 with ggml 0.25.1 (name-of-w1, name-of-w2)',
    ]);
  });

  it.each<[Parameters<typeof findingsIn>, RegExp]>([
    [
      [{ isReady: false, detail: 'one worker is missing' }],
      /^hint: server: .*one worker is missing.*butterfly status/,
    ],
    [
      [{ trouble: { code: 'WORKER_LOST', message: 'w1 left' } }],
      /^hint: trouble: WORKER_LOST: w1 left: .*under WORKER_LOST/,
    ],
    [[{ notes: ['The file was replaced.'] }], /^hint: note: The file was replaced\.: $/],
    [[{}, ahead(300_000)], /^hint: clocks: that of the server is 5 min ahead: Set both by the network/],
    [[{}, ahead(-45_000)], /^hint: clocks: that of the server is 44\.5 s behind/],
    [[{}, ahead(-30 * hourMs)], /^fault: clocks: that of the server is 30 h behind: .*Certificates/],
    [[{}, { ...alike, serverMs: null }], /^hint: clocks: the server does not tell its time/],
    [
      [{ workers: [describedWorker('w1', { links: [{ ...link, latencyMicros: 6000 }] })] }],
      /^hint: link name-of-w1 to orchestrator: 6\.00 ms one way, 800 Mbit\/s: A cable/,
    ],
    [
      [{ workers: [describedWorker('w1', { links: [{ ...link, bytesPerSecond: 4e6 }] })] }],
      /^hint: link name-of-w1 to orchestrator: 0.15 ms one way, 32 Mbit\/s/,
    ],
    [
      [
        {
          workers: [
            describedWorker('w1', { links: [{ ...link, toWorkerId: 'w2', isRelayed: true }] }),
            describedWorker('w2', { links: [] }),
          ],
        },
      ],
      /^hint: link name-of-w1 to name-of-w2: through the orchestrator, .*--data-port.*--advertise/,
    ],
    [
      [{ workers: [describedWorker('w1'), describedWorker('w2', { version: '0.0.9' })] }],
      /^hint: versions of workers: 0\.1\.0 \(name-of-w1\); 0\.0\.9 \(name-of-w2\); here 0\.1\.0: Upgrade/,
    ],
    [[{}, alike, '0.2.0'], /^hint: versions of workers: 0\.1\.0 \(name-of-w1, name-of-w2\); here 0\.2\.0/],
    [
      [{ workers: [describedWorker('w1'), describedWorker('w2', { kernels: 'neon on linux arm64' })] }],
      /^hint: kernels of workers: haswell .*\(name-of-w1\); neon on linux arm64 \(name-of-w2\): .*--deterministic/,
    ],
  ])('have a remedy, case %$', (args, line) => {
    expect(troubles(...args)).toEqual([expect.stringMatching(line)]);
    expect(hasFault(findingsIn(...args))).toBe(line.source.startsWith('^fault'));
  });

  it('are faults where it has trouble and is not ready', () => {
    const trouble = { code: 'MODEL_TOO_LARGE', message: 'No room.' };
    expect(hasFault(findingsIn({ isReady: false, trouble }))).toBe(true);
  });

  it('leave out what a server of another version does not tell', () => {
    const workers = [describedWorker('w1', { version: null, kernels: null, links: [] })];
    expect(findingsIn({ workers }).map(({ what }) => what)).toEqual(['server', 'clocks']);
  });
});

describe('clocks', () => {
  it('are held against the middle of the round trip, and half of the second that was cut', () => {
    expect(clockAheadMs({ askedMs: 1000, answeredMs: 3000, serverMs: 9000 })).toBe(7500);
  });

  it('are not called apart for what the network may be to blame', () => {
    expect(troubles({}, ahead(32_000, 6000))).toEqual([]);
    expect(troubles({}, ahead(32_000, 20))).toEqual([expect.stringMatching(/^hint: clocks/)]);
  });
});
