import { costOf, type Goal, type Part, type Problem, type Search } from './problem.js';

export interface Candidate {
  readonly parts: readonly Part[];
  /** What the goal minimises: time of a token of one stream, or time per token of all sequences. */
  readonly cost: number;
  readonly latency: number;
}

/** Costs that differ by less than this share are the same. */
const tolerance = 1e-9;
/** To which share the best compromise between pace and lap is found, which predictions are far from reaching. */
const compromise = 1e-3;

/** Whether the first is the better one: by cost, and then by latency. */
export function isBetter(a: Candidate, b: Candidate | null): boolean {
  if (b === null || a.cost < b.cost * (1 - tolerance)) return true;
  return a.cost <= b.cost * (1 + tolerance) && a.latency < b.latency * (1 - tolerance);
}

/** The best stages for a goal, with a search that is exact for sums and for maxima; null for none up to `costMax`. */
export function solve(goal: Goal, problem: Problem, search: Search, costMax: number): Candidate | null {
  if (goal.kind === 'throughput') return solveThroughput(goal, problem, search, costMax);
  const parts = search({ rates: goal.latency, isLargest: false, cap: null, valueMax: costMax });
  return parts && scored(goal, problem, parts);
}

function scored(goal: Goal, problem: Problem, parts: readonly Part[]): Candidate {
  const latency = costOf(goal.latency, parts, problem).sum;
  if (goal.kind === 'latency') return { parts, cost: latency, latency };
  const lapShare = costOf(goal.lap, parts, problem).sum / goal.sequences;
  return { parts, cost: Math.max(costOf(goal.pace, parts, problem).largest, lapShare), latency };
}

/**
 * Minimises the larger of two costs, the pace (a maximum) and the share of a lap (a sum), and then the latency: first
 * the best pace; where a lap at this pace is too long for it, a bisection over the pace to allow; and last the least
 * latency that this cost allows.
 */
function solveThroughput(
  goal: Goal & { readonly kind: 'throughput' },
  problem: Problem,
  search: Search,
  costMax: number,
): Candidate | null {
  const { pace, lap, sequences } = goal;
  const fastest = search({ rates: pace, isLargest: true, cap: null, valueMax: costMax });
  if (fastest === null) return null;
  let best = scored(goal, problem, fastest);
  const paceMicros = costOf(pace, fastest, problem).largest;
  /** The shortest lap at a pace; its share, or infinity where no lap is of use. */
  const lapShareAt = (paceMax: number): number => {
    const parts = search({
      rates: lap,
      isLargest: false,
      cap: { rates: pace, max: paceMax * (1 + tolerance) },
      valueMax: sequences * Math.min(best.cost, costMax) * (1 + tolerance),
    });
    if (parts === null) return Infinity;
    const candidate = scored(goal, problem, parts);
    if (isBetter(candidate, best)) best = candidate;
    return costOf(lap, parts, problem).sum / sequences;
  };
  if (best.cost > paceMicros * (1 + tolerance)) {
    lapShareAt(paceMicros);
    let high = Math.min(best.cost, costMax);
    let low = Math.max(paceMicros, lapShareAt(high));
    while (high > low * (1 + compromise)) {
      const middle = (low + high) / 2;
      if (lapShareAt(middle) > middle) low = middle;
      else high = middle;
    }
  }
  if (best.cost > costMax * (1 + tolerance)) return null;
  const quickest = search({
    rates: goal.latency,
    isLargest: false,
    cap: { rates: pace, max: best.cost * (1 + tolerance) },
    valueMax: best.latency,
  });
  const candidate = quickest && scored(goal, problem, quickest);
  return candidate && isBetter(candidate, best) ? candidate : best;
}
