import { triedOf } from '@butterfly/testkit';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ChaosCluster } from './cluster.js';
import { chaosRound, type RoundReport } from './round.js';
import { faultKinds, faultsOf, type Fault, type FaultKind } from './schedule.js';
import { SmallDisk } from './small-disk.js';
import { stream } from './streams.js';

const model = fileURLToPath(
  new URL('../../packages/butterfly/models/butterfly-stories.gguf', import.meta.url),
);
/** Each kind once, in an order that this seed draws. */
const seed = 5;
/** Eleven faults with their times, and the streams that run on: a minute on two free cores. */
const roundTimeoutMs = 300_000;

let disk: SmallDisk | null;
beforeAll(async () => {
  disk = await SmallDisk.mount(64);
});
afterAll(() => disk?.[Symbol.asyncDispose]());

function firstOf(kinds: readonly FaultKind[], workers = 5): Fault[] {
  const faults: Fault[] = [];
  for (const fault of faultsOf(seed, workers, kinds)) {
    faults.push(fault);
    if (faults.length === kinds.length) break;
  }
  return faults;
}

function expectSame({ broken, faults, log }: RoundReport): void {
  expect(
    broken.map(({ prompt, error, text }) => ({ prompt, error, text })),
    log.join('\n'),
  ).toEqual([]);
  expect(faults.filter(({ isAsNamed }) => !isAsNamed)).toEqual([]);
}

describe('five workers and sixteen streams', () => {
  it(
    'lose, double and change no token under any fault',
    { timeout: roundTimeoutMs },
    async ({ annotate }) => {
      if (!disk) await annotate('No disk can be mounted here, so none is filled.');
      const report = await chaosRound({
        model,
        workers: 5,
        streams: 16,
        tokens: 200,
        faults: firstOf(
          triedOf(
            faultKinds.filter((kind) => disk !== null || kind !== 'diskFull'),
            0,
            3,
          ),
        ),
        endMs: Infinity,
        cacheDisk: disk?.path ?? null,
      });
      expectSame(report);
      expect(report.streams).toBeGreaterThan(16);
      // The faults were noticed: each but a pause or a crawl of moments costs a plan.
      expect(report.plans).toBeGreaterThan(report.faults.length / 2);
    },
  );
});

describe('two replicas of two workers each', () => {
  it('say the same whichever of them is lost', { timeout: roundTimeoutMs }, async () => {
    const report = await chaosRound({
      model,
      workers: 4,
      replicas: 2,
      streams: 8,
      tokens: 200,
      faults: firstOf(['kill', 'pause', 'cutControl', 'drain'], 4),
      endMs: Infinity,
      cacheDisk: null,
    });
    expectSame(report);
    // Both were live, and one of them anew.
    expect(report.plans).toBeGreaterThan(2);
  });
});

describe('workers without whom there is no plan', () => {
  it('end streams with a typed error by their deadlines, and others before they begin', async () => {
    // Either of the two has the memory for little more than half of the model.
    await using cluster = await ChaosCluster.start({
      model,
      workers: 2,
      streams: 2,
      contextTokens: 512,
      isDeterministic: false,
      worker: ['--memory', '137M'],
    });
    const options = { tokens: 400, timeoutMs: 8_000 };
    let tellBegun: () => void = () => undefined;
    const hasBegun = new Promise<void>((resolve) => (tellBegun = resolve));
    const begun = stream(cluster.url, 'Once upon a time', { ...options, onPiece: () => tellBegun() });
    await hasBegun;
    await cluster.workers[1]?.process?.kill();
    const outcome = await begun;
    expect(outcome.text).not.toBe('');
    // An event of the stream, whose status had long been told.
    expect(outcome).toMatchObject({ reason: null, status: null });
    expect(outcome.error).toMatch(/^CLUSTER_NOT_READY: /u);
    expect(outcome.elapsedMs).toBeGreaterThanOrEqual(options.timeoutMs);
    const late = await stream(cluster.url, 'Once upon a time', { ...options, timeoutMs: 1_000 });
    expect(late).toMatchObject({ text: '', reason: null, status: 503 });
    expect(late.error).toMatch(/CLUSTER_NOT_READY/u);
  });
});
