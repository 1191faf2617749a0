import { toButterflyError, type Logger } from '@butterfly/common';
import { modelPlanner, plannerInput } from '../planning/model-planner.js';
import { repairPlan } from '../planning/repair.js';
import { planReplicas, speedsOfReplicas } from '../planning/replicas.js';
import type { PlannerInput } from '../planning/types.js';
import type { ClusterPlanner, LinkOf } from './cluster-types.js';
import type { Member } from './members.js';

/**
 * Plans for a model and the workers that are there. Each replica is planned for all sequences that its cache has room for.
 * @throws ButterflyError CONFIG_INVALID for a type of cache that there is not, or that this model cannot have
 */
export function clusterPlanner(
  options: Parameters<typeof modelPlanner>[0] & { readonly replicasMax: number },
): ClusterPlanner {
  const { replicasMax } = options;
  const { plan, cacheTypeOf } = modelPlanner(options);
  const inputOf = (members: readonly Member[], link: LinkOf): PlannerInput =>
    plannerInput(options, members, link, cacheTypeOf(members));
  return {
    plan,
    repair: (broken, substitutes, members, link) =>
      repairPlan(
        broken,
        new Set(substitutes.keys()),
        substitutes,
        plannerInput(options, members, link, broken.cacheType),
      ),
    split: (members, link) => planReplicas(inputOf(members, link), replicasMax),
    speedsOf: (groups, link) =>
      speedsOfReplicas(
        inputOf(groups.flat(), link),
        groups.map((group) => group.map(({ workerId }) => workerId)),
      ),
  };
}

/** The same, but that it throws nothing else than ButterflyErrors, and defects are told in the log: whoever asks goes on without an answer. */
export function watchedPlanner(planner: ClusterPlanner, log: Logger): ClusterPlanner {
  const watched =
    <A extends readonly unknown[], T>(ask: (...asked: A) => T) =>
    (...asked: A): T => {
      try {
        return ask(...asked);
      } catch (thrown) {
        const error = toButterflyError(thrown);
        if (error.code !== 'MODEL_TOO_LARGE') log.error({ code: error.code, err: thrown }, error.message);
        throw error;
      }
    };
  return {
    plan: watched(planner.plan),
    repair: watched(planner.repair),
    split: watched(planner.split),
    speedsOf: watched(planner.speedsOf),
  };
}
