import { ButterflyError } from '@butterfly/common';
import { predict } from './cost.js';
import { isOwn } from './own-cost.js';
import { bestPlacements } from './plan.js';
import { dealt, improved } from './replicas-search.js';
import { shortlist } from './shortlist.js';
import type { Effort, PlannerInput, PlannerWorker, Placement } from './types.js';

/** Which workers make a replica of the pipeline of their own. */
export interface ReplicaGroups {
  /** Ids of workers; every worker is in one of them. */
  readonly groups: readonly (readonly string[])[];
  /** Predicted of all of them together. */
  readonly tokensPerSecond: number;
}

type Split = readonly (readonly PlannerWorker[])[];
type SpeedOf = (workers: readonly PlannerWorker[]) => number;

/** Up to so many workers every way to split them is looked at. */
const exactWorkersMax = 6;
/** From so many on less is looked at. */
const manyWorkers = 32;

/**
 * Splits the workers into at most `replicasMax` groups, each of which holds the whole model (in as many stages as are
 * asked for), so that all together are predicted to make the most tokens per second when each runs as many sequences as
 * the input says, for which each has a cache of its own. Exact for small clusters, and never worse than one pipeline.
 * @throws ButterflyError MODEL_TOO_LARGE when not even all workers together hold the model; CONFIG_INVALID for an input
 * that makes no sense
 */
export function planReplicas(asked: PlannerInput, replicasMax: number): ReplicaGroups {
  const input = bySpeed(asked);
  const { workers } = input;
  let best: { readonly groups: Split; readonly tokensPerSecond: number } = {
    groups: [workers],
    tokensPerSecond: speedOfPlan(input, bestPlacements(input)),
  };
  const speedOf = groupSpeed(input, input.stagesMin ?? 1);
  for (const count of countsToTry(Math.min(replicasMax, workers.length), workers.length)) {
    const groups =
      workers.length <= exactWorkersMax
        ? exactSplit(workers, count, speedOf)
        : heuristicSplit(input, count, speedOf);
    const tokensPerSecond = groups === null ? 0 : sumOf(groups.map(speedOf));
    if (groups !== null && tokensPerSecond > best.tokensPerSecond) best = { groups, tokensPerSecond };
  }
  const groups = best.groups.map((group) => group.map(({ workerId }) => workerId));
  return { groups, tokensPerSecond: best.tokensPerSecond };
}

/** Groups are compared by speed; an objective of one's own is for one pipeline, and is not asked here. */
function bySpeed(input: PlannerInput): PlannerInput {
  return isOwn(input.objective) ? { ...input, objective: 'throughput' } : input;
}

/** All numbers of groups from two on; for large clusters, whose plans take their time, the most and ever half of that. */
function countsToTry(most: number, workers: number): number[] {
  if (workers <= manyWorkers) return Array.from({ length: Math.max(0, most - 1) }, (_, index) => index + 2);
  const counts: number[] = [];
  for (let count = most; count > 1; count = Math.floor(count / 2)) counts.push(count);
  return counts;
}

/** What each of these groups is predicted to make; 0 for one that cannot hold the model. */
export function speedsOfReplicas(asked: PlannerInput, groups: readonly (readonly string[])[]): number[] {
  const input = bySpeed(asked);
  const byId = new Map(input.workers.map((worker) => [worker.workerId, worker]));
  const speedOf = groupSpeed(input, 1);
  return groups.map((group) => speedOf(group.flatMap((workerId) => byId.get(workerId) ?? [])));
}

/** Predicted tokens per second of a group; 0 when it does not hold the model in so many stages. Groups are remembered. */
function groupSpeed(input: PlannerInput, stagesMin: number): SpeedOf {
  const stages = Math.min(stagesMin, input.model.layerBytes.length);
  const effort: Effort = input.workers.length <= exactWorkersMax ? 'thorough' : 'quick';
  const known = new Map<string, number>();
  return (workers) => {
    if (workers.length < stages) return 0;
    const ids = workers.map(({ workerId }) => workerId);
    const key = ids.sort().join();
    const remembered = known.get(key);
    if (remembered !== undefined) return remembered;
    const speed = speedOrNothing({ ...input, workers }, stages, effort);
    known.set(key, speed);
    return speed;
  };
}

function speedOrNothing(input: PlannerInput, stages: number, effort: Effort): number {
  try {
    const placements = bestPlacements(input, effort);
    return placements.length + (input.spares ?? 0) < stages ? 0 : speedOfPlan(input, placements);
  } catch (error) {
    if (error instanceof ButterflyError && error.code === 'MODEL_TOO_LARGE') return 0;
    throw error;
  }
}

function speedOfPlan(input: PlannerInput, placements: readonly Placement[]): number {
  return predict(placements, input).predicted.tokensPerSecond;
}

/** The best of all ways to split the workers into so many replicas; null when there is none. */
function exactSplit(workers: readonly PlannerWorker[], count: number, speedOf: SpeedOf): Split | null {
  const membersOf = (mask: number): PlannerWorker[] => workers.filter((_, index) => (mask >> index) & 1);
  const best = (mask: number, groups: number): { readonly split: Split; readonly speed: number } | null => {
    if (groups === 1) {
      const speed = speedOf(membersOf(mask));
      return speed > 0 ? { split: [membersOf(mask)], speed } : null;
    }
    // The first group is that of the first worker, so that the order of the groups makes no difference.
    const lowest = mask & -mask;
    let found: { readonly split: Split; readonly speed: number } | null = null;
    for (let part = (mask - 1) & mask; part > 0; part = (part - 1) & mask) {
      const speed = part & lowest ? speedOf(membersOf(part)) : 0;
      const rest = speed > 0 ? best(mask & ~part, groups - 1) : null;
      if (rest !== null && speed + rest.speed > (found?.speed ?? 0))
        found = { split: [membersOf(part), ...rest.split], speed: speed + rest.speed };
    }
    return found;
  };
  return best((1 << workers.length) - 1, count)?.split ?? null;
}

/** A good way to split them, found from several simple ones; null when none was found. */
function heuristicSplit(input: PlannerInput, count: number, speedOf: SpeedOf): Split | null {
  const { workers, model } = input;
  // A pipeline of more stages than layers there is none of, so the best of many workers are enough to choose from.
  const chosen = shortlist(input, 2 * count * model.layerBytes.length);
  const split = improved(dealt({ ...input, workers: chosen }, count), speedOf);
  if (!split.every((group) => speedOf(group) > 0)) return null;
  const others = workers.filter((worker) => !chosen.includes(worker));
  return split.map((group, at) => [...group, ...others.filter((_, index) => index % count === at)]);
}

function sumOf(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0);
}
