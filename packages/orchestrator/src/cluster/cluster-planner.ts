import { modelPlanner, plannerInput } from '../planning/model-planner.js';
import { repairPlan } from '../planning/repair.js';
import type { ClusterPlanner } from './cluster-types.js';

/**
 * Plans for a model and the workers that are there.
 * @throws ButterflyError CONFIG_INVALID for a type of cache that there is not, or that this model cannot have
 */
export function clusterPlanner(options: Parameters<typeof modelPlanner>[0]): ClusterPlanner {
  return {
    plan: modelPlanner(options),
    repair: (plan, substitutes, members, link) =>
      repairPlan(
        plan,
        new Set(substitutes.keys()),
        substitutes,
        plannerInput(options, members, link, plan.cacheType),
      ),
  };
}
