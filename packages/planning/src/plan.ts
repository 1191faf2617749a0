import { leastByOwn } from './own-search.js';
import { isOwn, ownCosts } from './own-cost.js';
import { assertPlan, checkInput, tooLarge } from './check.js';
import { predict } from './cost.js';
import { compileProblem, placementsOf, type Problem } from './search/problem.js';
import { reasonsFor } from './reasons.js';
import { exactSearch, isExactFeasible } from './search/search-exact.js';
import { heuristicSearch } from './search/search-heuristic.js';
import { shortlist } from './shortlist.js';
import { isBetter, solve, type Candidate } from './search/solve.js';
import { keepSpares, sparesOf } from './spares.js';
import type { Effort, NamedInput, OwnCost, Plan, PlannerInput, Placement } from './types.js';

/**
 * Chooses which workers take part, in which order, and with which layers: every layer once, nobody over its memory. For
 * latency the time of one token of a single stream is the least; for throughput the time per token of all sequences
 * together, and then the former. Exact for small clusters. By an objective of one's own it costs least of those that
 * `leastByOwn` looks at. Workers that would not help are left out, and so are as
 * many as are to be spares; of the others there are at least `stagesMin` stages where layers and memory allow that many.
 * @throws ButterflyError MODEL_TOO_LARGE when no plan fits; CONFIG_INVALID for an input that makes no sense,
 * and where an objective of one's own fails.
 */
export function planPipeline(input: PlannerInput, effort: Effort = 'thorough'): Plan {
  const { placements, spareIds } = choose(input, effort);
  return assemblePlan(input, placements, spareIds);
}

/** The places of the plan alone, for which its reasons need not be found. @throws ButterflyError as `planPipeline` */
export function bestPlacements(input: PlannerInput, effort: Effort = 'thorough'): readonly Placement[] {
  return choose(input, effort).placements;
}

function choose(
  input: PlannerInput,
  effort: Effort,
): { readonly placements: readonly Placement[]; readonly spareIds: ReadonlySet<string> } {
  checkInput(input);
  const fastest = place(input, effort);
  if (fastest === null) throw tooLarge(input);
  const placements = keepSpares(input, fastest, place, effort);
  const spares = placements === fastest ? [] : sparesOf(input, placements);
  return { placements, spareIds: new Set(spares.map(({ workerId }) => workerId)) };
}

function place(input: PlannerInput, effort: Effort): readonly Placement[] | null {
  const { objective } = input;
  if (!isOwn(objective)) return placeByName({ ...input, objective }, effort);
  return leastByOwn(input, objective, { best: placeByName, withStages: placeWithStages }, effort);
}

function placeByName(input: NamedInput, effort: Effort): readonly Placement[] | null {
  const problem = compileProblem(input, shortlist(input));
  const best = withStages(problem, input.stagesMin ?? 1, effort);
  return best && placementsOf(best.parts, problem);
}

function placeWithStages(input: NamedInput, stages: number, effort: Effort): readonly Placement[] | null {
  const problem = compileProblem(input, shortlist(input));
  if (stages > problem.workers.length) return null;
  const best = search(problem, stages, effort);
  return best && placementsOf(best.parts, problem);
}

/**
 * A checked and frozen plan of these placements with its predictions and reasons.
 * @param spareIds workers that have no place because they are wanted as spares
 */
export function assemblePlan(
  input: PlannerInput,
  placements: readonly Placement[],
  spareIds: ReadonlySet<string> = new Set(),
): Plan {
  const { predicted, stages } = predict(placements, input);
  const { concurrency, model } = input;
  const objective = objectiveOf(input, placements);
  const plan: Plan = Object.freeze({
    objective,
    concurrency,
    stages: Object.freeze(stages.map((stage) => Object.freeze(stage))),
    cacheType: model.cacheType,
    predicted: Object.freeze(predicted),
    reasons: Object.freeze(
      reasonsFor(input, { objective, stages, predicted }, spareIds).map((reason) => Object.freeze(reason)),
    ),
  });
  assertPlan(plan, model.layerBytes.length, model.joinedLayers);
  return plan;
}

function objectiveOf(input: PlannerInput, placements: readonly Placement[]): Plan['objective'] {
  const { objective } = input;
  if (!isOwn(objective)) return objective;
  const own: OwnCost = { name: objective.name, cost: ownCosts(input, objective)(placements) };
  return Object.freeze(own);
}

/** With as many stages as are wanted, or else with the most that there is a plan for. */
function withStages(problem: Problem, wanted: number, effort: Effort): Candidate | null {
  const most = Math.max(1, Math.min(Math.floor(wanted), problem.workers.length, problem.layers));
  const best = search(problem, most, effort);
  if (best !== null || most === 1) return best;
  let found: Candidate | null = null;
  for (let [low, high] = [1, most - 1]; low <= high;) {
    const middle = Math.ceil((low + high) / 2);
    const candidate = search(problem, middle, effort);
    if (candidate === null) high = middle - 1;
    else {
      found = candidate;
      low = candidate.parts.length + 1;
    }
  }
  return found;
}

function search(problem: Problem, stagesMin: number, effort: Effort): Candidate | null {
  const good = heuristicSearch(problem, stagesMin, effort === 'thorough');
  if (!isExactFeasible(problem) || (effort === 'quick' && good !== null)) return good;
  let best: Candidate | null = good;
  // What the heuristic found is most often the best already, and then tells the exact search soon where not to look.
  for (const goal of problem.goals) {
    const needed = Math.max(stagesMin, goal.kind === 'throughput' ? goal.stagesMin : 1);
    if (needed > problem.workers.length) continue;
    const found = solve(goal, problem, exactSearch(problem, needed), best?.cost ?? Infinity);
    if (found !== null && isBetter(found, best)) best = found;
  }
  return best;
}
