import { describe, expect, it } from 'vitest';
import { fuzzArchitectures } from './architecture/fuzz.js';

describe('a model whose header was changed at random', () => {
  it('is described or refused for a reason, and never ends the process that asks', async () => {
    const cases = 60;
    const report = await fuzzArchitectures({ cases, seed: 'gate', processes: 3 });
    expect(report.wrong).toEqual([]);
    // Every link is taken, else the cases would show nothing.
    expect(report.outcomes.described).toBeGreaterThan(5);
    expect(report.outcomes.MODEL_UNSUPPORTED).toBeGreaterThan(10);
    expect(report.outcomes.MODEL_CORRUPT).toBeGreaterThan(5);
    expect(Object.values(report.outcomes).reduce((sum, count) => sum + count, 0)).toBe(cases);
  }, 600_000);
});
