import type { Placement } from './types.js';
import { assemblePlan } from './plan.js';
import { fits } from './variants.js';
import type { Plan, PlannerInput } from './types.js';

/**
 * The same ranges of layers with others in the place of lost workers: what can be live at once where the others hold
 * these shards already.
 * @param substitutes by lost worker, who takes its place
 * @param input as it is now; lost workers in it are left aside
 * @returns null where a lost worker has no substitute, or where one is lost itself, has a place already, is not among
 * the workers of the input, or has too little memory
 */
export function repairPlan(
  plan: Plan,
  lost: ReadonlySet<string>,
  substitutes: ReadonlyMap<string, string>,
  input: PlannerInput,
): Plan | null {
  const workers = input.workers.filter(({ workerId }) => !lost.has(workerId));
  const ids = new Set(workers.map(({ workerId }) => workerId));
  const placements: Placement[] = [];
  for (const { workerId: planned, layerStart, layerEnd, host } of plan.stages) {
    const workerId = lost.has(planned) ? substitutes.get(planned) : planned;
    // Each worker once: a second stage of one finds it gone from those that are left.
    if (workerId === undefined || !ids.delete(workerId)) return null;
    // The shards that they hold are the same ones only with the experts where they were.
    placements.push({ workerId, layerStart, layerEnd, hostExperts: host?.experts ?? 0 });
  }
  const now = {
    ...input,
    workers,
    // What somebody's own objective does is not in a plan; of a planner it is the same one always.
    objective: typeof plan.objective === 'object' ? input.objective : plan.objective,
    concurrency: plan.concurrency,
    model: { ...input.model, cacheType: plan.cacheType },
  };
  return fits(now, placements) ? assemblePlan(now, placements) : null;
}
