import { describe, expect, it } from 'vitest';
import { explainPlan } from './explain.js';
import { drawPlan } from './picture.js';
import { planPipeline } from './plan.js';
import { gib, lan, plain, worker } from './testing/problems.js';

const input = plain({
  workers: [
    worker('a', 1000, 12 * gib),
    worker('b', 2000, 12 * gib),
    worker('laptop', 90_000, 10 * gib),
    { ...worker('d', 1000, gib), name: 'a machine with a very long name '.repeat(6) },
  ],
  link: (from, to) => ({ ...lan, isRelayed: from !== null && to !== null }),
});
const plan = planPipeline(input);

describe('explainPlan', () => {
  it('plans without each worker; without one that has no place it is the same plan', () => {
    const { without } = explainPlan(input, plan);
    expect(without.map(({ workerId }) => workerId)).toEqual(['a', 'b', 'laptop', 'd']);
    const [a, b, laptop] = without;
    expect(laptop).toEqual({ workerId: 'laptop', ...plan.predicted });
    for (const each of [a, b]) expect(each?.tokensPerSecond).toBeLessThan(plan.predicted.tokensPerSecond / 2);
    const two = plain({ workers: input.workers.slice(0, 2) });
    expect(explainPlan(two, planPipeline(two)).without[0]).toEqual({
      workerId: 'a',
      tokensPerSecond: null,
      latencyMicros: null,
    });
  });

  it('tells only of workers with a place in a large cluster', () => {
    const workers = Array.from({ length: 40 }, (_, index) => worker(`w${index}`, 1000 + index));
    const large = plain({ workers, objective: 'latency' });
    const largePlan = planPipeline(large);
    const { without } = explainPlan(large, largePlan);
    expect(without.map(({ workerId }) => workerId)).toEqual(['w0']);
    expect(without[0]?.latencyMicros).toBeGreaterThan(largePlan.predicted.latencyMicros);
  });
});

describe('drawPlan', () => {
  it('shows stages, links, speeds and reasons within the columns of a terminal', () => {
    const lines = drawPlan(input, plan, explainPlan(input, plan));
    expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(100);
    const text = lines.join('\n');
    expect(text).toContain('plain: 2 of 4 workers, 16 layers');
    expect(lines.filter((line) => line.startsWith('├'))).toHaveLength(2);
    expect(text).toContain('│ 0.10 ms through the orchestrator');
    expect(text).toMatch(/├ name of [ab] +layers 0-\d+ +█+░* +[\d.]+ ms {2}[\d.]+ GiB of 12\.00 GiB/u);
    expect(text).toMatch(/with\s+it,\s+[\d.]+\s+tokens\/s\s+without\./u);
    expect(text).toContain('- name of laptop   Would slow');
    expect(text).toContain('It offers 1.00 GiB');
  });

  it('draws the longest bar for the stage that takes the longest', () => {
    const bars = drawPlan(input, plan, null)
      .filter((line) => line.startsWith('├'))
      .map((line) => line.split('█').length - 1);
    expect(Math.max(...bars)).toBe(24);
    expect(Math.min(...bars)).toBeGreaterThan(0);
  });

  it('shows what was measured beside what was predicted', () => {
    const [stage] = plan.stages;
    if (stage === undefined) throw new Error('a stage');
    const { tokensPerSecond } = plan.predicted;
    const lines = drawPlan(input, plan, null, {
      tokensPerSecond: tokensPerSecond * 0.9,
      latencyMicros: null,
      stageMicros: new Map([[stage.workerId, stage.decodeMicros * 1.25]]),
    });
    expect(lines.filter((line) => line.includes('measured'))).toEqual([
      expect.stringMatching(/tokens\/s \(-10%\)$/u),
      expect.stringMatching(/measured [\d.]+ ms \(\+25%\)$/u),
    ]);
  });
});
