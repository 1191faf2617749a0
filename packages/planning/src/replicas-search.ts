import { offeredBytes } from './stage-memory.js';
import type { PlannerInput, PlannerWorker } from './types.js';

type Group = readonly PlannerWorker[];
type Split = readonly Group[];

/** How many plans may be made to improve a split, as workers in them. */
const workersPlannedMax = 1_000;

/** Simple ways to deal the workers out into so many groups: alike in speed, alike in memory, and each close together. */
export function dealt(input: PlannerInput, count: number): Split[] {
  const { workers } = input;
  const speedOf = ({ layerCurve }: PlannerWorker): number => 1 / Math.max(1, layerCurve[0]?.micros ?? 1);
  return [
    inTurns(workers, count, speedOf),
    inTurns(workers, count, offeredBytes),
    closeTogether(input, count, speedOf),
  ];
}

/** The largest first, each to the group that has least. */
function inTurns(workers: Group, count: number, weightOf: (worker: PlannerWorker) => number): Split {
  const groups = emptyGroups(count);
  for (const worker of [...workers].sort((a, b) => weightOf(b) - weightOf(a)))
    lightest(groups, weightOf).push(worker);
  return groups;
}

/** One after the other the group that has least takes whoever is nearest to its first worker. */
function closeTogether(
  { workers, link }: PlannerInput,
  count: number,
  weightOf: (worker: PlannerWorker) => number,
): Split {
  const distance = (a: PlannerWorker, b: PlannerWorker): number => {
    const { latencyMicros, bytesPerSecond } = link(a.workerId, b.workerId);
    return latencyMicros + 1e12 / bytesPerSecond / 1e3;
  };
  const left = [...workers];
  const groups = emptyGroups(count);
  /** To the first workers of all groups that have one, the least. */
  const apart = (worker: PlannerWorker): number =>
    Math.min(...groups.map(([seed]) => (seed === undefined ? Infinity : distance(seed, worker))));
  for (const group of groups) {
    const seed = take(left, (worker) => (groups[0] === group ? -weightOf(worker) : -apart(worker)));
    if (seed) group.push(seed);
  }
  while (left.length > 0) {
    const group = lightest(groups, weightOf);
    const [seed] = group;
    const nearest = take(left, (worker) => (seed === undefined ? 0 : distance(seed, worker)));
    if (nearest) group.push(nearest);
  }
  return groups;
}

function emptyGroups(count: number): PlannerWorker[][] {
  return Array.from({ length: count }, () => []);
}

function lightest(groups: PlannerWorker[][], weightOf: (worker: PlannerWorker) => number): PlannerWorker[] {
  const weight = (group: Group): number => group.reduce((sum, worker) => sum + weightOf(worker), 0);
  const [first = [], ...others] = groups;
  return others.reduce((least, group) => (weight(group) < weight(least) ? group : least), first);
}

/** Takes the worker with the least rank out of the list. */
function take(
  workers: PlannerWorker[],
  rankOf: (worker: PlannerWorker) => number,
): PlannerWorker | undefined {
  let least = 0;
  let leastRank = Infinity;
  for (const [index, worker] of workers.entries()) {
    const rank = rankOf(worker);
    if (rank < leastRank) [least, leastRank] = [index, rank];
  }
  return workers.splice(least, 1)[0];
}

/** The best of the splits, made better by moves and swaps of single workers as long as time allows. */
export function improved(splits: readonly Split[], speedOf: (group: Group) => number): Split {
  const [first = [], ...others] = splits;
  let best = others.reduce((good, each) => (isBetter(each, good, speedOf) ? each : good), first);
  let left = workersPlannedMax;
  for (let isStuck = false; !isStuck && left > 0;) {
    isStuck = true;
    for (const variant of variantsOf(best)) {
      left -= variant.cost;
      if (left < 0) break;
      if (!isBetter(variant.split, best, speedOf)) continue;
      best = variant.split;
      isStuck = false;
      break;
    }
  }
  return best;
}

/** More groups that hold the model, and then more tokens per second. */
function isBetter(a: Split, b: Split, speedOf: (group: Group) => number): boolean {
  const [ofA, ofB] = [a.map(speedOf), b.map(speedOf)];
  const able = (speeds: readonly number[]): number => speeds.filter((speed) => speed > 0).length;
  const sum = (speeds: readonly number[]): number => speeds.reduce((total, speed) => total + speed, 0);
  if (able(ofA) !== able(ofB)) return able(ofA) > able(ofB);
  return sum(ofA) > sum(ofB) * (1 + 1e-9);
}

/** Splits in which one worker is in another group, or two have changed places, with the size of the groups that changed. */
function* variantsOf(split: Split): Generator<{ readonly split: Split; readonly cost: number }> {
  for (const [from, source] of split.entries())
    for (const [to, target] of split.entries()) {
      if (from === to) continue;
      const cost = source.length + target.length;
      for (const worker of source) {
        const without = source.filter((each) => each !== worker);
        yield { split: split.with(from, without).with(to, [...target, worker]), cost };
        if (from > to) continue;
        for (const other of target) {
          const swapped = target.map((each) => (each === other ? worker : each));
          yield { split: split.with(from, [...without, other]).with(to, swapped), cost };
        }
      }
    }
}
