import { costOfAll, type Goal, type Problem, type Rates } from './problem.js';
import { orderSearch, type Meter } from './search-order.js';
import { offeredBytes } from '../stage-memory.js';
import { isBetter, solve, type Candidate } from './solve.js';

/** Work of one plan after which its local search ends: some 200 to 400 ms. */
const transitionsMax = 8e6;
/** Goals that are looked at with all orders, the most promising on the first order. */
const goalsTried = 3;
/** Workers without a place that the local search tries to find one for. */
const outsidersTried = 8;
/** Workers that are tried as the first and as the last, which hold more than the others. */
const endsTried = 8;

export interface FoundCandidate extends Candidate {
  readonly goal: Goal;
}

/**
 * Good stages for clusters of any size. It puts the workers into several orders, finds the best split along each, and
 * then moves workers to other places of the order for as long as that helps.
 * @param stagesMin at least 1
 */
export function heuristicSearch(
  problem: Problem,
  stagesMin: number,
  isThorough: boolean,
): FoundCandidate | null {
  const meter: Meter = { transitions: 0 };
  const found: { best: FoundCandidate | null } = { best: null };
  const attempt: Attempt = (goal, order) => {
    const costMax = found.best?.cost ?? Infinity;
    const solved = solve(goal, problem, orderSearch(problem, order, stagesMin, meter), costMax);
    if (solved === null || (goal.kind === 'throughput' && solved.parts.length < goal.stagesMin)) return null;
    const candidate = { ...solved, goal };
    if (isBetter(candidate, found.best)) found.best = candidate;
    return candidate;
  };
  // Most turns first: where the pace decides, what is found soon tells the search where not to look.
  const promising = problem.goals
    .toReversed()
    .map((goal) => ({ goal, cost: attempt(goal, fastestFirst(problem, goal))?.cost ?? Infinity }))
    .sort((a, b) => a.cost - b.cost)
    .slice(0, goalsTried);
  for (const { goal } of promising) for (const order of ordersOf(problem, goal)) attempt(goal, order);
  if (found.best === null) rescue(problem, attempt);
  if (isThorough) improve(problem, () => found.best, attempt, meter);
  return found.best;
}

type Attempt = (goal: Goal, order: readonly number[]) => FoundCandidate | null;

/** Where nothing fitted: who holds the embedding and who the head may decide whether anything does. */
function rescue(problem: Problem, attempt: Attempt): void {
  const roomiest = roomiestFirst(problem);
  const [goal] = problem.goals;
  if (goal === undefined) return;
  for (const first of roomiest.slice(0, endsTried))
    for (const last of roomiest.slice(0, endsTried)) {
      if (first === last) continue;
      const others = roomiest.filter((worker) => worker !== first && worker !== last);
      if (attempt(goal, [first, ...others, last]) !== null) return;
    }
}

/** Moves one worker at a time to another place of the order, for as long as that makes the plan better. */
function improve(
  problem: Problem,
  bestSoFar: () => FoundCandidate | null,
  attempt: Attempt,
  meter: Meter,
): void {
  for (let best = bestSoFar(); best !== null;) {
    const order = orderAround(problem, best);
    for (const [from, worker] of order.entries()) {
      const others = order.toSpliced(from, 1);
      for (let to = 0; to <= others.length && bestSoFar() === best; to += 1) {
        if (meter.transitions > transitionsMax) return;
        if (to !== from) attempt(best.goal, others.toSpliced(to, 0, worker));
      }
    }
    if (bestSoFar() === best) return;
    best = bestSoFar();
  }
}

/** Who has a place, in order, and then the fastest of the others. */
function orderAround(problem: Problem, { goal, parts }: FoundCandidate): number[] {
  const used = new Set(parts.map(({ worker }) => worker));
  const others = fastestFirst(problem, goal).filter((worker) => !used.has(worker));
  return [...used, ...others.slice(0, outsidersTried)];
}

const ratesOf = (goal: Goal): Rates => (goal.kind === 'latency' ? goal.latency : goal.pace);

function fastestFirst({ workers }: Problem, goal: Goal): number[] {
  const rates = ratesOf(goal);
  return [...workers.keys()].sort((a, b) => costOfAll(rates, a) - costOfAll(rates, b) || a - b);
}

function roomiestFirst({ workers }: Problem): number[] {
  const room = (index: number): number => {
    const worker = workers[index];
    return worker ? offeredBytes(worker) : 0;
  };
  return [...workers.keys()].sort((a, b) => room(b) - room(a) || a - b);
}

function ordersOf(problem: Problem, goal: Goal): number[][] {
  const [roomiest, ...others] = roomiestFirst(problem);
  const chain = nearestNext(problem, goal);
  const fastest = fastestFirst(problem, goal);
  return [
    chain,
    chain.toReversed(),
    [...problem.workers.keys()],
    fastest.toReversed(),
    roomiest === undefined ? [] : [...others, roomiest],
  ];
}

/** From the orchestrator always to who is reached and computes a usual share of the layers soonest. */
function nearestNext(problem: Problem, goal: Goal): number[] {
  const count = problem.workers.length;
  const rates = goal.kind === 'latency' ? goal.latency : goal.lap;
  /** Of all layers; one of them at least. */
  const share = Math.max(1 / problem.layers, 1 / Math.max(1, count));
  const left = new Set<number>(problem.workers.keys());
  const order: number[] = [];
  for (let from = count; left.size > 0; from = order.at(-1) ?? count) {
    let nearest = -1;
    let least = Infinity;
    for (const worker of left) {
      const micros = (rates.hop[from * (count + 1) + worker] ?? 0) + share * costOfAll(rates, worker);
      if (micros < least || nearest === -1) [nearest, least] = [worker, micros];
    }
    left.delete(nearest);
    order.push(nearest);
  }
  return order;
}
