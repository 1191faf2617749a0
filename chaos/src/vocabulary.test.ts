import { describe, expect, it } from 'vitest';
import { fuzzVocabularies } from './vocabulary/fuzz.js';

describe('a vocabulary that was changed at random', () => {
  it('is read or refused, and never ends its process', async () => {
    const report = await fuzzVocabularies({ cases: 1000, seed: 'gate', processes: 2 });
    expect(report.fatal).toEqual([]);
    // Both links are taken, else the cases would show nothing.
    expect(report.outcomes.loaded).toBeGreaterThan(300);
    expect(report.outcomes['openGguf: MODEL_CORRUPT']).toBeGreaterThan(50);
    expect(Object.values(report.outcomes).reduce((sum, count) => sum + count, 0)).toBe(1000);
  }, 300_000);
});
