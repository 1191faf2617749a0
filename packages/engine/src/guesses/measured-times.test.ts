import { describe, expect, it } from 'vitest';
import { DraftTimes, TimesBeyond } from './measured-times.js';

describe('TimesBeyond', () => {
  it('adds what is always about the same to what is expected', () => {
    const times = new TimesBeyond();
    expect(times.micros(100)).toBe(100);
    for (const expected of [100, 200, 400]) times.observe(expected + 50, expected);
    expect(times.micros(1000)).toBeCloseTo(1050);
    expect(times.observed).toBe(3);
  });

  it('follows shorter times soon, and longer ones slowly', () => {
    const [shorter, longer] = [new TimesBeyond(), new TimesBeyond()];
    for (const times of [shorter, longer]) for (let i = 0; i < 20; i += 1) times.observe(200, 100);
    for (let i = 0; i < 5; i += 1) {
      shorter.observe(150, 100);
      longer.observe(250, 100);
    }
    expect(shorter.micros(100)).toBeLessThan(160);
    expect(longer.micros(100)).toBeLessThan(215);
  });

  it('takes a time that is far too long for four times what it was', () => {
    const times = new TimesBeyond();
    times.observe(100, 100);
    times.observe(1_000_000, 100);
    expect(times.micros(100)).toBeLessThanOrEqual(400);
  });
});

describe('DraftTimes', () => {
  it('knows nothing, then a proportion, then a time for all and one for each', () => {
    const times = new DraftTimes();
    expect(times.micros(4)).toBeNull();
    times.observe(4, 400);
    expect(times.micros(8)).toBeCloseTo(800);
    for (let round = 0; round < 40; round += 1)
      for (const count of [1, 4, 8]) times.observe(count, 100 + 10 * count);
    expect(times.micros(15)).toBeCloseTo(250, 0);
  });

  it('never says that more guesses take less time', () => {
    const times = new DraftTimes();
    for (const [count, micros] of [
      [1, 900],
      [8, 100],
    ] as const)
      times.observe(count, micros);
    expect(times.micros(8) ?? 0).toBeGreaterThanOrEqual(times.micros(1) ?? Infinity);
  });
});
