import { ownCosts } from './own-cost.js';
import { offeredBytes } from './stage-memory.js';
import {
  type Effort,
  type NamedInput,
  type OwnObjective,
  type PlannerInput,
  type PlannerWorker,
  type Placement,
  objectives,
} from './types.js';
import { fits, variantsWith } from './variants.js';

type Placements = readonly Placement[];

/** How a named objective places layers on the workers of an input. */
export interface NamedPlaces {
  /** With at least `stagesMin` stages of the input, or else the most that there is a plan for; null for none. */
  readonly best: (input: NamedInput, effort: Effort) => Placements | null;
  /** With at least so many stages; null for none. */
  readonly withStages: (input: NamedInput, stages: number, effort: Effort) => Placements | null;
}

interface Judged {
  readonly placements: Placements;
  readonly cost: number;
}

/** Up to so many workers every choice among them is looked at. */
const everyChoiceMax = 5;
/** How many of the fastest, roomiest and nearest workers are looked at by themselves in larger clusters. */
const choiceSizes = [1, 2, 4, 8];
/** Stages of plans that are judged to improve one: some 100 ms. */
const judgedStagesMax = 8_000;
/** Costs that differ by less than this share are the same. */
const tolerance = 1e-9;

/**
 * The plan that costs least by an objective of somebody's own, of these: for both named objectives the best of all workers and of
 * chosen ones (every choice in small clusters, else the fastest, roomiest and nearest), and then, again and again, the best
 * of those that differ by one boundary or one worker, for as long as one of them costs less.
 * @returns null where no plan fits, which does not depend on the objective
 * @throws ButterflyError CONFIG_INVALID where the objective fails or gives no cost
 */
export function leastByOwn(
  input: PlannerInput,
  objective: OwnObjective,
  places: NamedPlaces,
  effort: Effort,
): Placements | null {
  const costOf = ownCosts(input, objective);
  const named = objectives
    .map((each) => places.best({ ...input, objective: each }, effort))
    .filter((found) => found !== null);
  if (named.length === 0) return null;
  const most = Math.max(...named.map(({ length }) => length));
  const stagesMin = Math.min(Math.max(1, Math.floor(input.stagesMin ?? 1)), most);
  let best: Judged | null = null;
  for (const placements of [...named, ...ofChoices(input, stagesMin, places, effort)]) {
    if (placements.length < stagesMin) continue;
    const cost = costOf(placements);
    if (best === null || cost < best.cost) best = { placements, cost };
  }
  return best && improved(best, input, costOf, stagesMin).placements;
}

/** The best by both named objectives of each choice of workers, with a stage for each of them where there is such a plan. */
function* ofChoices(
  input: PlannerInput,
  stagesMin: number,
  { withStages }: NamedPlaces,
  effort: Effort,
): Generator<Placements> {
  if (effort === 'quick') return;
  const isSmall = input.workers.length <= everyChoiceMax;
  for (const workers of isSmall ? everyChoice(input.workers) : likelyChoices(input)) {
    const stages = Math.min(workers.length, input.model.layerBytes.length);
    if (workers.length < stagesMin) continue;
    for (const objective of objectives) {
      const chosen = { ...input, workers, objective };
      const found =
        withStages(chosen, stages, 'quick') ??
        (stages > stagesMin && !isSmall ? withStages(chosen, stagesMin, 'quick') : null);
      if (found !== null) yield found;
    }
  }
}

function everyChoice(workers: readonly PlannerWorker[]): PlannerWorker[][] {
  return Array.from({ length: 2 ** workers.length - 1 }, (_, index) =>
    workers.filter((_worker, at) => ((index + 1) >> at) & 1),
  );
}

function likelyChoices({ workers, link }: PlannerInput): PlannerWorker[][] {
  const ranks: ((worker: PlannerWorker) => number)[] = [
    ({ layerCurve }) => layerCurve[0]?.micros ?? 0,
    (worker) => -offeredBytes(worker),
    ({ workerId }) => link(null, workerId).latencyMicros,
  ];
  return ranks.flatMap((rank) => {
    const ranked = workers.toSorted((a, b) => rank(a) - rank(b));
    return choiceSizes.filter((size) => size < workers.length).map((size) => ranked.slice(0, size));
  });
}

/** Takes the best of the neighbouring plans for as long as it costs less, within the work of `judgedStagesMax`. */
function improved(
  start: Judged,
  input: PlannerInput,
  costOf: (placements: Placements) => number,
  stagesMin: number,
): Judged {
  let best = start;
  let stagesLeft = judgedStagesMax;
  for (;;) {
    let next = best;
    for (const placements of neighbours(best.placements, input, stagesMin)) {
      if (!fits(input, placements)) continue;
      stagesLeft -= placements.length;
      if (stagesLeft < 0) return next;
      const cost = costOf(placements);
      if (cost < next.cost - tolerance * best.cost) next = { placements, cost };
    }
    if (next === best) return best;
    best = next;
  }
}

/** Plans with a boundary elsewhere, with one worker less, with another one in its place, or with one more. */
function* neighbours(placements: Placements, input: PlannerInput, stagesMin: number): Generator<Placements> {
  for (const [index, right] of placements.entries()) {
    const left = placements[index - 1];
    if (left === undefined) continue;
    for (let boundary = left.layerStart + 1; boundary < right.layerEnd; boundary += 1)
      if (boundary !== right.layerStart)
        yield placements.toSpliced(
          index - 1,
          2,
          { ...left, layerEnd: boundary },
          { ...right, layerStart: boundary },
        );
    if (placements.length === stagesMin) continue;
    yield placements.toSpliced(index - 1, 2, { ...left, layerEnd: right.layerEnd });
    yield placements.toSpliced(index - 1, 2, { ...right, layerStart: left.layerStart });
  }
  const used = new Set(placements.map(({ workerId }) => workerId));
  for (const { workerId } of input.workers)
    if (!used.has(workerId)) yield* variantsWith(placements, workerId);
}
