import { ButterflyError } from '@butterfly/common';
import { planPipeline } from './plan.js';
import type { Effort, Plan, PlanExplanation, PlannerInput, WithoutWorker } from './types.js';

/** Up to so many workers each of them is left out once in a plan that is made as carefully as the first. */
const workersMax = 32;

/**
 * Plans again without each worker, in the order of the input: what each is good for. A plan without one that has no
 * place is the same plan, and a spare takes the place of one that has. In large clusters only the workers with a place are told of, by plans made quickly.
 */
export function explainPlan(input: PlannerInput, plan: Plan): PlanExplanation {
  const used = new Set(plan.stages.map(({ workerId }) => workerId));
  const spares = Math.max(0, (input.spares ?? 0) - 1);
  const isLarge = input.workers.length > workersMax;
  const without = input.workers
    .filter(({ workerId }) => !isLarge || used.has(workerId))
    .map(({ workerId }): WithoutWorker => {
      if (!used.has(workerId)) return { workerId, ...plan.predicted };
      const workers = input.workers.filter((worker) => worker.workerId !== workerId);
      const predicted = planOrNull({ ...input, workers, spares }, isLarge ? 'quick' : 'thorough')?.predicted;
      return { workerId, ...(predicted ?? { tokensPerSecond: null, latencyMicros: null }) };
    });
  return { without };
}

function planOrNull(input: PlannerInput, effort: Effort): Plan | null {
  try {
    return planPipeline(input, effort);
  } catch (error) {
    if (error instanceof ButterflyError && error.code === 'MODEL_TOO_LARGE') return null;
    throw error;
  }
}
