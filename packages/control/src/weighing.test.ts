import type { Plan } from '@butterfly/planning';
import { describe, expect, it } from 'vitest';
import { memberOf, planOf } from './testing/controller.js';
import { membersOf, targetOn } from './testing/targets.js';
import { fitsBeside, gainOf } from './weighing.js';

describe('fitsBeside', () => {
  it.each([
    [18, true],
    [17, false],
  ])('asks for the memory of both shards: %i bytes', (memoryBytes, expected) => {
    const members = membersOf(memberOf('a', memoryBytes), memberOf('b', 6));
    expect(fitsBeside(targetOn('a', 'b'), targetOn('a'), members)).toBe(expected);
  });

  it('asks for nothing where the shard is the same', () => {
    const members = membersOf(memberOf('a', 6), memberOf('b', 6), memberOf('c', 6));
    expect(fitsBeside(targetOn('a', 'c'), targetOn('a', 'b'), members)).toBe(true);
  });
});

describe('gainOf', () => {
  it('compares what the plans were made for', () => {
    const [slow, fast] = [planOf(['a'], { tokensPerSecond: 10 }), planOf(['a'], { tokensPerSecond: 25 })];
    expect(gainOf(fast, slow)).toBe(2.5);
    const latency = (latencyMicros: number): Plan => ({
      ...slow,
      objective: 'latency',
      predicted: { latencyMicros, tokensPerSecond: 1 },
    });
    expect(gainOf(latency(100), latency(300))).toBe(3);
    const own = (cost: number): Plan => ({ ...slow, objective: { name: 'energy', cost } });
    expect([gainOf(own(2), own(5)), gainOf(own(0), own(0)), gainOf(own(0), own(1))]).toEqual([
      2.5,
      1,
      Infinity,
    ]);
  });
});
