import { describe, expect, it } from 'vitest';
import { type RoundTimes, draftsWorthwhile, prefersLookup } from './draft-choice.js';

const candidate = (rate: number, countMax = 15) => ({ rate, countMax, repeated: null });
/** Every guess takes the draft 1 µs, and the step a tenth of one. */
const times: RoundTimes = {
  plainMicros: 20,
  verifyMicros: (guesses) => 20 + guesses / 10,
  draftMicros: (guesses) => 20 + guesses / 10 + guesses,
  repeatMicros: (rows) => rows,
};

describe('draftsWorthwhile', () => {
  it('asks for more guesses the more of them are right, and for none where they cost more than they give', () => {
    const counts = [0.02, 0.3, 0.7, 0.95].map((rate) => draftsWorthwhile([candidate(rate)], times));
    expect(counts[0]).toBe(0);
    expect(counts).toEqual([...counts].sort((a, b) => a - b));
    expect(counts[3]).toBeGreaterThan(8);
  });

  it('decides for all together, and within what they may have', () => {
    expect(draftsWorthwhile([candidate(0.02), candidate(0.95)], times)).toBeGreaterThan(0);
    expect(draftsWorthwhile([candidate(1, 3)], times)).toBe(3);
    expect(draftsWorthwhile([], times)).toBe(0);
  });

  it('counts what is computed again behind a guess that is refused', () => {
    const repeated = { ...candidate(0.7), repeated: 1 };
    const dear = { ...times, repeatMicros: (rows: number) => 30 * rows };
    expect(draftsWorthwhile([repeated], dear)).toBeLessThan(draftsWorthwhile([candidate(0.7)], dear));
  });
});

describe('prefersLookup', () => {
  it('where what is there at once gives as much as what is waited for', () => {
    expect(prefersLookup(candidate(0.7), candidate(0.7, 8), times)).toBe(true);
    expect(prefersLookup(candidate(0.9), candidate(0.3, 8), times)).toBe(false);
    expect(prefersLookup(candidate(0.01), candidate(0.001, 8), times)).toBe(false);
  });
});
