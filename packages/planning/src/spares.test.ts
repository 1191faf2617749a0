import { ButterflyError } from '@butterfly/common';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { assertPlan } from './check.js';
import { explainPlan } from './explain.js';
import { planPipeline } from './plan.js';
import { planReplicas } from './replicas.js';
import { sparesOf } from './spares.js';
import { clusters, gib, plain, plainModel, worker } from './testing/problems.js';
import type { Plan, PlannerInput } from './types.js';

function planOrNull(input: PlannerInput): Plan | null {
  try {
    return planPipeline(input);
  } catch (error) {
    if (error instanceof ButterflyError && error.code === 'MODEL_TOO_LARGE') return null;
    throw error;
  }
}

const sparesIn = (input: PlannerInput): number => {
  const plan = planOrNull(input);
  return plan === null ? 0 : sparesOf(input, plan.stages).length;
};

describe('a plan with spares', () => {
  it('leaves out as many workers as asked for, and says why', () => {
    const plan = planPipeline(plain({ spares: 1 }));
    expect(plan.stages).toHaveLength(2);
    const [spare, ...others] = plan.reasons.filter(({ isUsed }) => !isUsed);
    expect(others).toEqual([]);
    expect(spare?.reason).toMatch(/^Is kept as a spare, as --spares asks/);
    expect(planPipeline(plain({ spares: 2 })).stages).toHaveLength(1);
    expect(planPipeline(plain({ spares: 9 })).stages).toHaveLength(1);
  });

  it('has fewer stages than asked for, rather than no spare', () => {
    expect(planPipeline(plain({ spares: 1, stagesMin: 3 })).stages).toHaveLength(2);
    expect(planReplicas(plain({ spares: 1, stagesMin: 3 }), 2).groups).toHaveLength(1);
  });

  it('leaves out whoever costs least speed', () => {
    const workers = [worker('fast', 500), worker('slow', 1500), worker('middle', 1000)];
    const plan = planPipeline(plain({ workers, spares: 1 }));
    expect(plan.stages.map(({ workerId }) => workerId).sort()).toEqual(['fast', 'middle']);
  });

  it('has none where all are needed, or where whoever is left out could hold no stage', () => {
    const small = ['a', 'b', 'c'].map((id) => worker(id, 1000, 9 * gib));
    expect(planPipeline(plain({ workers: small, spares: 1 })).stages).toHaveLength(3);
    const tiny = [worker('a', 1000, 24 * gib), worker('b', 1000, 24 * gib), worker('tiny', 1000, gib)];
    expect(planPipeline(plain({ workers: tiny, spares: 1 })).stages).toHaveLength(1);
  });

  it('is as good without one of its workers as with it, where the spare steps in', () => {
    const input = plain({ spares: 1 });
    const plan = planPipeline(input);
    for (const { tokensPerSecond } of explainPlan(input, plan).without)
      expect(tokensPerSecond).toBeCloseTo(plan.predicted.tokensPerSecond, 6);
  });

  it('has every layer once, keeps to the memory, and has a spare wherever one worker can be spared', () => {
    let spared = 0;
    fc.assert(
      fc.property(clusters(1, 6, 1, 10), fc.integer({ min: 1, max: 3 }), (drawn, spares) => {
        // Otherwise hardly any cluster can do without one of its workers.
        const workers = drawn.workers.map((each, index) =>
          index % 3 === 0 ? each : { ...each, memoryBytes: 3 * each.memoryBytes + 20 },
        );
        const cluster = { ...drawn, workers, stagesMin: 6 };
        const input = { ...cluster, spares };
        const plan = planOrNull(input);
        expect(plan === null).toBe(planOrNull(cluster) === null);
        if (plan === null) return;
        assertPlan(plan, input.model.layerBytes.length, input.model.joinedLayers);
        for (const { workerId, bytes } of plan.stages)
          expect(bytes).toBeLessThanOrEqual(
            input.workers.find((each) => each.workerId === workerId)?.memoryBytes ?? -1,
          );
        const isPossible =
          sparesIn(cluster) > 0 ||
          cluster.workers.some((left) => {
            const workers = cluster.workers.filter((each) => each !== left);
            const without = planOrNull({ ...cluster, workers });
            return without !== null && sparesOf(cluster, without.stages).includes(left);
          });
        expect(sparesIn(input) > 0).toBe(isPossible);
        expect(sparesIn(input)).toBeGreaterThanOrEqual(
          sparesIn(cluster) > spares ? spares : sparesIn(cluster),
        );
        spared += Number(sparesIn(input) > sparesIn(cluster));
      }),
      { numRuns: 150 },
    );
    expect(spared).toBeGreaterThan(20);
  });

  it('has exactly as many as can be of workers with like memory', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 12 }),
        fc.integer({ min: 0, max: 12 }),
        fc.integer({ min: 3, max: 24 }),
        fc.integer({ min: 0, max: 3 }),
        (count, spares, gibs, unlikeness) => {
          const workers = Array.from({ length: count }, (_, index) =>
            worker(`w${index}`, 1000 + unlikeness * 100 * (index % 5), gibs * gib),
          );
          const most = planOrNull(plain({ workers, objective: 'latency' }))?.stages.length;
          if (most === undefined) return;
          const input = plain({ workers, spares });
          expect(sparesIn(input)).toBeGreaterThanOrEqual(Math.min(spares, count - most));
        },
      ),
      { numRuns: 60 },
    );
  });

  it('is soon made for large clusters', () => {
    const model = {
      ...plainModel,
      layerBytes: new Array<number>(128).fill(gib),
      layerKinds: new Array<number>(128).fill(0),
      kvBytesPerSlot: new Array<number>(128).fill(1024),
    };
    for (const count of [140, 1000])
      for (const objective of ['latency', 'throughput'] as const) {
        const workers = Array.from({ length: count }, (_, index) =>
          worker(`w${index}`, 300 + ((index * 7919) % 1000), (4 + ((index * 104_729) % 7)) * gib),
        );
        const input = plain({ model, workers, objective, concurrency: 64, spares: 64 });
        expect(sparesIn(input)).toBeGreaterThanOrEqual(64);
      }
  });
});
