import { extraCost, type Part, type Problem, type Search } from './problem.js';

/** What looking at a worker behind some label takes besides. */
const callTransitions = 4;

/** Counts the work of searches, so that they end after the same work on every machine. */
export interface Meter {
  transitions: number;
}

/** The best way found to give the layers before some layer to some of the workers so far. */
interface Label {
  readonly before: Label | null;
  readonly part: Part;
  readonly value: number;
}

/**
 * Dynamic programming over (workers in a given order, layers given away), where any worker may be skipped. Of the ways
 * to give away as many layers it keeps the best, whoever comes last in it, so that what a link costs behind it is
 * seen too late: exact where all links are alike, and an approximation else.
 */
export function orderSearch(
  problem: Problem,
  order: readonly number[],
  stagesMin: number,
  meter: Meter,
): Search {
  const { layers, reach, mayEnd } = problem;
  const stride = problem.workers.length + 1;
  const orchestrator = problem.workers.length;
  const row = layers + 1;
  return ({ rates, isLargest, cap, valueMax }) => {
    /** By number of stages, counted up to `stagesMin`, and layers given away; null before the first stage. */
    const labels: (Label | null)[] = new Array<null>((stagesMin + 1) * row).fill(null);
    let valueBest = valueMax;

    /** Gives layers from `start` on to the worker, after the stages of `label`. */
    const extend = (label: Label | null, stages: number, start: number, worker: number): void => {
      const hopIndex = (label?.part.worker ?? orchestrator) * stride + worker;
      if (cap !== null && (cap.rates.hop[hopIndex] ?? 0) > cap.max) return;
      const hop = rates.hop[hopIndex] ?? 0;
      const back = rates.hop[worker * stride + orchestrator] ?? 0;
      const [sums, output] = [rates.before[worker], rates.output[worker] ?? 0];
      const [capSums, capOutput] = [cap?.rates.before[worker], cap?.rates.output[worker] ?? 0];
      const [given, capGiven] = [sums?.[start] ?? 0, capSums?.[start] ?? 0];
      const soFar = label?.value ?? 0;
      const end = reach[worker]?.[start] ?? start;
      const next = Math.min(stages + 1, stagesMin) * row;
      meter.transitions += callTransitions;
      for (let to = start + 1; to <= end; to += 1) {
        meter.transitions += 1;
        const isEnd = to === layers;
        if (
          cap !== null &&
          cap.rates.host +
            ((capSums?.[to] ?? 0) - capGiven) +
            extraCost(cap.rates, problem, worker, start, to) +
            (isEnd ? capOutput : 0) >
            cap.max
        )
          break;
        const extra = extraCost(rates, problem, worker, start, to);
        const micros = rates.host + ((sums?.[to] ?? 0) - given) + extra + (isEnd ? output : 0);
        let value = isLargest ? Math.max(soFar, hop, micros) : soFar + hop + micros;
        if (value + (isLargest ? 0 : (rates.leastFrom[to] ?? 0)) > valueBest) break;
        if (isEnd) value = isLargest ? Math.max(value, back) : value + back;
        if (mayEnd[to] === 0 || value > valueBest || value >= (labels[next + to]?.value ?? Infinity))
          continue;
        labels[next + to] = { before: label, part: { worker, start, end: to }, value };
        if (isEnd && next === stagesMin * row) valueBest = value;
      }
    };

    for (const worker of order)
      // From behind, so that no stage is put after one of the same worker.
      for (let start = layers - 1; start >= 0; start -= 1)
        for (let stages = start === 0 ? 0 : stagesMin; stages >= (start === 0 ? 0 : 1); stages -= 1) {
          const label = start === 0 ? null : (labels[stages * row + start] ?? null);
          if (start === 0 || label !== null) extend(label, stages, start, worker);
        }
    return partsOf(labels[stagesMin * row + layers] ?? null);
  };
}

function partsOf(last: Label | null): Part[] | null {
  const parts: Part[] = [];
  for (let label = last; label !== null; label = label.before) parts.unshift(label.part);
  return parts.length === 0 ? null : parts;
}
