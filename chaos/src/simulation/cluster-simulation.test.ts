import { triedOf } from '@butterfly/testkit';
import { describe, expect, it } from 'vitest';
import { knownSeeds } from './known-seeds.js';
import { scheduleOf } from './schedule.js';
import { fingerprint, simulate } from './simulate.js';

const seedsOfCi = triedOf(Array.from({ length: 120 }, (_, index) => index + 1));

describe('a simulated cluster under faults', () => {
  it('does the same for the same seed', async () => {
    for (const seed of [3, 11]) {
      const [first, second] = [await simulate(seed), await simulate(seed)];
      expect(second.lines).toEqual(first.lines);
      expect(fingerprint(second)).toBe(fingerprint(first));
    }
    expect(scheduleOf(5)).toEqual(scheduleOf(5));
    expect(scheduleOf(5)).not.toEqual(scheduleOf(6));
  });

  it.each(knownSeeds)('keeps what seed $seed found mended: $found', async ({ seed }) => {
    const { violations } = await simulate(seed);
    expect(violations).toEqual([]);
  });

  it('gives every request its own words or a reason, and is live again, whatever happens', async () => {
    const outcomes = new Map<string, number>();
    const failed: string[] = [];
    let replicated = 0;
    let verifiedSteps = 0;
    for (const seed of seedsOfCi) {
      const report = await simulate(seed);
      for (const outcome of report.outcomes) outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
      if (report.replicas > 1) replicated += 1;
      verifiedSteps += report.verifiedSteps;
      for (const violation of report.violations) failed.push(`seed ${seed}: ${violation}`);
    }
    expect(failed).toEqual([]);
    // The simulation is about something.
    expect(replicated).toBeGreaterThan(0.1 * seedsOfCi.length);
    expect(verifiedSteps).toBeGreaterThan(0);
    const all = [...outcomes.values()].reduce((sum, count) => sum + count, 0);
    expect(outcomes.get('end') ?? 0).toBeGreaterThan(0.8 * all);
  }, 180_000);
});
