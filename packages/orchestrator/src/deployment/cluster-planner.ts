import { type Observer, toButterflyError } from '@butterfly/common';
import type { Member } from '@butterfly/control';
import {
  type Plan,
  type PlannerInput,
  modelPlanner,
  planReplicas,
  plannerInput,
  repairPlan,
  speedsOfReplicas,
} from '@butterfly/planning';
import type { ClusterPlanner, LinkOf } from './deployment-types.js';
import { relayedLink } from '../links/link-table.js';

/**
 * Plans for a model and the workers that are there. Each replica is planned for all sequences that its cache has room for.
 * @throws ButterflyError CONFIG_INVALID for a type of cache that there is not, or that this model cannot have
 */
export function clusterPlanner(options: Parameters<typeof modelPlanner>[0]): ClusterPlanner {
  const { replicasMax } = options.wishes;
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
        plannerInput(
          options,
          members,
          substitutes.size === 0 ? asLinked(broken, link) : link,
          broken.cacheType,
        ),
      ),
    split: (members, link) => planReplicas(inputOf(members, link), replicasMax),
    speedsOf: (groups, link) =>
      speedsOfReplicas(
        inputOf(groups.flat(), link),
        groups.map((group) => group.map(({ workerId }) => workerId)),
      ),
  };
}

/** The same, but all that it throws are ButterflyErrors, and defects are logged: whoever asks goes on without an answer. */
export function watchedPlanner(planner: ClusterPlanner, observe: Observer): ClusterPlanner {
  const watched = <T>(ask: () => T): T => {
    try {
      return ask();
    } catch (thrown) {
      const error = toButterflyError(thrown);
      if (error.code !== 'MODEL_TOO_LARGE') observe({ kind: 'planningFailed', error, cause: thrown });
      throw error;
    }
  };
  return {
    plan: (...asked) => watched(() => planner.plan(...asked)),
    repair: (...asked) => watched(() => planner.repair(...asked)),
    split: (...asked) => watched(() => planner.split(...asked)),
    speedsOf: (...asked) => watched(() => planner.speedsOf(...asked)),
  };
}

/** A plan that is asked about as it is keeps the links that were relayed when it was made, whatever is known of them now. */
function asLinked({ stages }: Plan, link: LinkOf): LinkOf {
  const relayed = new Set(
    stages.flatMap(({ workerId, isRelayed }, index) =>
      isRelayed ? [`${stages.at(index - 1)?.workerId ?? ''} ${workerId}`] : [],
    ),
  );
  return (from, to) =>
    relayed.has(`${from ?? ''} ${to ?? ''}`) ? relayedLink(link(from, null), link(null, to)) : link(from, to);
}
