import type { Plan } from '@butterfly/planning';
import type { ControllerConfig, Target } from './controller-types.js';
import type { Members } from './members.js';

/** The plan with the shards that it takes. */
export function targetOf(plan: Plan, shardIdOf: ControllerConfig['shardIdOf']): Target {
  return { plan, shardIds: plan.stages.map((stage) => shardIdOf(stage, plan)) };
}

export function uses({ plan }: Target, workerId: string): boolean {
  return plan.stages.some((stage) => stage.workerId === workerId);
}

export function shardOf({ plan, shardIds }: Target, workerId: string): string | null {
  const index = plan.stages.findIndex((stage) => stage.workerId === workerId);
  return shardIds[index] ?? null;
}

/** Indices of stages whose workers do not hold their shards yet. */
export function missingStages({ plan, shardIds }: Target, members: Members): number[] {
  return plan.stages.flatMap(({ workerId }, index) =>
    members.holds(workerId, shardIds[index] ?? '') === 'held' ? [] : [index],
  );
}

/** Whether both have the same shards on the same workers, linked in the same ways. */
export function isSameTarget(a: Target, b: Target): boolean {
  return (
    a.shardIds.join() === b.shardIds.join() &&
    a.plan.stages.every(
      ({ workerId, isRelayed }, index) =>
        b.plan.stages[index]?.workerId === workerId && b.plan.stages[index].isRelayed === isRelayed,
    )
  );
}
