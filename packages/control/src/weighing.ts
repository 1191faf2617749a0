import { type Plan, holds } from '@butterfly/planning';
import type { Target } from './controller-types.js';
import type { Members } from './members.js';
import { isSameTarget, shardOf, uses } from './target.js';

/** A change of plan costs everybody a recomputation, so a better one must be so much better. */
const gainMin = 1.1;
/** Where there is no memory to load it beside the live one, the cluster stands still meanwhile. */
const gainInForegroundMin = 1.5;

/** What to do about a plan that could be made: nothing, load it beside the live one, or stop for it. */
export type Verdict = 'stay' | 'prepare' | 'switch';

/** Whether somebody waits for the change: a worker that is to be emptied, or whoever asked for more stages. */
export function isUrgent(target: Target, current: Target, members: Members, stagesMin: number): boolean {
  const stages = current.plan.stages.length;
  return (
    (stages < stagesMin && target.plan.stages.length > stages) ||
    members.draining().some(({ workerId }) => uses(current, workerId))
  );
}

/** Whether the target is worth a change from the current one. */
export function weigh(target: Target, current: Target, members: Members, urgent: boolean): Verdict {
  if (isSameTarget(target, current)) return 'stay';
  const gain = gainOf(target.plan, current.plan);
  if (!urgent && gain < gainMin) return 'stay';
  if (fitsBeside(target, current, members)) return 'prepare';
  return urgent || gain >= gainInForegroundMin ? 'switch' : 'stay';
}

/** Whether every worker has the memory to load its part of the target beside the one that it serves with. */
export function fitsBeside(target: Target, current: Target, members: Members): boolean {
  return target.plan.stages.every(({ workerId, bytes, host }) => {
    if (shardOf(target, workerId) === shardOf(current, workerId)) return true;
    const serving = current.plan.stages.find((stage) => stage.workerId === workerId);
    const hostBytes = (host?.bytes ?? 0) + (serving?.host?.bytes ?? 0);
    const both = { bytes: bytes + (serving?.bytes ?? 0), host: { bytes: hostBytes, experts: 0 } };
    const member = members.get(workerId);
    return member !== undefined && holds(member, both);
  });
}

/** How many times as good as the other plan it is predicted to be, at what both were made for. */
export function gainOf(plan: Plan, over: Plan): number {
  if (typeof plan.objective === 'object' && typeof over.objective === 'object')
    return plan.objective.cost === over.objective.cost ? 1 : over.objective.cost / plan.objective.cost;
  return plan.objective === 'latency'
    ? over.predicted.latencyMicros / plan.predicted.latencyMicros
    : plan.predicted.tokensPerSecond / over.predicted.tokensPerSecond;
}
