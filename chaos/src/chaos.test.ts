import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ChaosCluster } from './cluster.js';
import { chaosRound } from './round.js';
import { faultKinds, faultsOf, type Fault, type FaultKind } from './schedule.js';
import { SmallDisk } from './small-disk.js';
import { stream } from './streams.js';

const model = fileURLToPath(new URL('../../models/butterfly-stories.gguf', import.meta.url));
/** Each kind once, in an order that this seed draws. */
const seed = 5;
/** Ten faults with their times, and the streams that run on: a minute on two free cores. */
const roundTimeoutMs = 300_000;

let disk: SmallDisk | null;
beforeAll(async () => {
  disk = await SmallDisk.mount(64);
});
afterAll(() => disk?.[Symbol.asyncDispose]());

function firstOf(kinds: readonly FaultKind[]): Fault[] {
  const faults: Fault[] = [];
  for (const fault of faultsOf(seed, 5, kinds)) {
    faults.push(fault);
    if (faults.length === kinds.length) break;
  }
  return faults;
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
        faults: firstOf(faultKinds.filter((kind) => disk !== null || kind !== 'diskFull')),
        endMs: Infinity,
        cacheDirectory: disk?.path ?? null,
      });
      expect(
        report.broken.map(({ prompt, error, text }) => ({ prompt, error, text })),
        report.log.join('\n'),
      ).toEqual([]);
      expect(report.streams).toBeGreaterThan(16);
      // The faults were noticed: each but a pause or a crawl of moments costs a plan.
      expect(report.plans).toBeGreaterThan(5);
    },
  );
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
    const begun = stream(cluster.url, 'Once upon a time', options);
    await new Promise((resolve) => setTimeout(resolve, 300));
    await cluster.workers[1]?.process?.kill();
    const outcome = await begun;
    expect(outcome.text).not.toBe('');
    expect(outcome.error).toMatch(/CLUSTER_NOT_READY/u);
    const late = await stream(cluster.url, 'Once upon a time', { ...options, timeoutMs: 1_000 });
    expect(late.text).toBe('');
    expect(late.error).toMatch(/CLUSTER_NOT_READY.*503|503.*CLUSTER_NOT_READY|CLUSTER_NOT_READY/u);
  });
});
