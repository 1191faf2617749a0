import { describe, expect, it } from 'vitest';
import { planPipeline } from './plan.js';
import { repairPlan } from './repair.js';
import { gib, plain, worker } from './testing/problems.js';

describe('repairPlan', () => {
  const before = plain({ workers: ['a', 'b'].map((id) => worker(id, 1000, 12 * gib)) });
  const plan = planPipeline(before);
  const [first] = plan.stages;
  if (first === undefined) throw new Error('a stage');
  const lostId = first.workerId;
  const lost = new Set([lostId]);
  const now = (memoryBytes: number) => ({
    ...before,
    workers: [...before.workers, worker('spare', 5000, memoryBytes)],
  });

  it('puts the substitute in the place of the lost worker and predicts anew', () => {
    const repaired = repairPlan(plan, lost, new Map([[lostId, 'spare']]), now(12 * gib));
    const { layerStart, layerEnd, bytes } = first;
    expect(repaired?.stages[0]).toMatchObject({ workerId: 'spare', layerStart, layerEnd, bytes });
    expect(repaired?.stages.slice(1).map(({ workerId }) => workerId)).toEqual(
      plan.stages.slice(1).map(({ workerId }) => workerId),
    );
    expect(repaired?.predicted.tokensPerSecond).toBeLessThan(plan.predicted.tokensPerSecond);
    expect(repaired?.reasons.map(({ workerId }) => workerId)).not.toContain(lostId);
    expect(Object.isFrozen(repaired)).toBe(true);
  });

  it('is the same plan where nobody with a place was lost', () => {
    expect(repairPlan(plan, new Set(['other']), new Map(), before)).toEqual(plan);
  });

  it('repairs no plan that parts layers which stay together', () => {
    const begins = plan.stages[1]?.layerStart ?? 0;
    const { model } = before;
    const joined = { ...now(12 * gib), model: { ...model, joinedLayers: new Set([begins]) } };
    expect(repairPlan(plan, lost, new Map([[lostId, 'spare']]), joined)).toBeNull();
  });

  it('cannot repair without a substitute, memory, or a worker of its own', () => {
    const other = plan.stages[1]?.workerId ?? '';
    for (const repaired of [
      repairPlan(plan, lost, new Map(), now(12 * gib)),
      repairPlan(plan, lost, new Map([[lostId, 'spare']]), now(2 * gib)),
      repairPlan(plan, lost, new Map([[lostId, 'nobody']]), now(12 * gib)),
      repairPlan(plan, lost, new Map([[lostId, other]]), now(12 * gib)),
      repairPlan(plan, new Set([lostId, 'spare']), new Map([[lostId, 'spare']]), now(12 * gib)),
    ])
      expect(repaired).toBeNull();
  });
});
