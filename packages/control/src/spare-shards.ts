import { holds } from '@butterfly/planning';
import type { ControllerConfig, Target } from './controller-types.js';
import type { Member, Members } from './members.js';
import { targetOf, uses } from './target.js';

/**
 * Which copies idle workers shall hold: of the stages that take longest to load, one copy each, where there is one
 * already or else on whoever has the memory, as many as asked for.
 */
export function spareShards(
  target: Target,
  idle: readonly Member[],
  count: number,
  members: Members,
): { readonly workerId: string; readonly stageIndex: number }[] {
  const stages = [...target.plan.stages.entries()].sort(([, a], [, b]) => b.bytes - a.bytes);
  const chosen: { readonly workerId: string; readonly stageIndex: number }[] = [];
  const free = [...idle].sort((a, b) => b.memoryBytes - a.memoryBytes);
  const has = ({ workerId }: Member, shardId = ''): boolean => members.holds(workerId, shardId) !== null;
  const isBare = (worker: Member): boolean => !target.shardIds.some((shardId) => has(worker, shardId));
  for (let round = 0; chosen.length < count && free.length > 0; round += 1) {
    const before = chosen.length;
    for (const [stageIndex, stage] of stages) {
      const able = free.filter((worker) => holds(worker, stage));
      const holder = able.find((worker) => has(worker, target.shardIds[stageIndex]));
      const worker = holder ?? able.find(isBare) ?? able[0];
      if (chosen.length === count || worker === undefined) continue;
      free.splice(free.indexOf(worker), 1);
      chosen.push({ workerId: worker.workerId, stageIndex });
    }
    if (chosen.length === before) break;
  }
  return chosen;
}

/** The target with workers that hold copies of the shards in the places of those that are gone; null without such. */
export function repairedBySpares(
  target: Target,
  available: readonly Member[],
  members: Members,
  config: Pick<ControllerConfig, 'repair' | 'shardIdOf'>,
): Target | null {
  const isHere = new Set(available.map(({ workerId }) => workerId));
  const substitutes = new Map<string, string>();
  const free = available.filter(({ workerId }) => !uses(target, workerId));
  for (const [index, { workerId }] of target.plan.stages.entries()) {
    if (isHere.has(workerId)) continue;
    const shardId = target.shardIds[index] ?? '';
    const at = free.findIndex((each) => members.holds(each.workerId, shardId) === 'held');
    const [substitute] = at === -1 ? [] : free.splice(at, 1);
    if (substitute === undefined) return null;
    substitutes.set(workerId, substitute.workerId);
  }
  if (substitutes.size === 0) return null;
  const plan = config.repair(target.plan, substitutes, available);
  return plan && targetOf(plan, config.shardIdOf);
}
