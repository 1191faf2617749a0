import { extraCost, type Part, type Problem, type Search, type Sweep } from './problem.js';

/** Transitions of one sweep up to which the exact search is used: some hundred milliseconds for a whole plan. */
const transitionsMax = 8e6;

/** Whether the exact search is fast enough: up to 8 workers for 60 layers. */
export function isExactFeasible({ workers, layers }: Problem): boolean {
  const count = workers.length;
  return count <= 12 && (2 ** count * count ** 2 * layers ** 2) / 8 <= transitionsMax;
}

/**
 * Dynamic programming over (set of workers used, last of them, layers given away): every order of every subset with
 * every split, each state once.
 */
export function exactSearch(problem: Problem, stagesMin: number): Search {
  const { layers } = problem;
  const count = problem.workers.length;
  const row = layers + 1;
  const table: Table = {
    best: new Float64Array(2 ** count * count * row),
    before: new Int32Array(2 ** count * count * row),
    end: { value: Infinity, state: -1 },
  };
  return (sweep) => {
    table.best.fill(Infinity);
    table.end = { value: sweep.valueMax, state: -1 };
    const extend = extender(problem, sweep, table, stagesMin);
    for (let worker = 0; worker < count; worker += 1) extend(-1, 0, count, 0, worker);
    for (let set = 1; set < 2 ** count; set += 1)
      for (let last = 0; last < count; last += 1) {
        if ((set & (1 << last)) === 0) continue;
        const states = (set * count + last) * row;
        for (let start = 1; start < layers; start += 1) {
          if (table.best[states + start] === Infinity) continue;
          for (let worker = 0; worker < count; worker += 1)
            if ((set & (1 << worker)) === 0) extend(states + start, set, last, start, worker);
        }
      }
    return table.end.state === -1 ? null : partsTo(table, count, row);
  };
}

/** By `(set · workers + last) · (layers + 1) + layers given away`. */
interface Table {
  readonly best: Float64Array;
  /** The state before the last stage, or -1 where that is the first. */
  readonly before: Int32Array;
  /** The best so far of those with all layers, of which state -1 is none. */
  end: { value: number; state: number };
}

/** Gives the next layers of a state to a worker that is not in its set: all numbers of layers that fit. */
function extender(
  problem: Problem,
  { rates, isLargest, cap }: Sweep,
  { best, before, end }: Table,
  stagesMin: number,
): (state: number, set: number, last: number, start: number, worker: number) => void {
  const { layers, reach, mayEnd } = problem;
  const count = problem.workers.length;
  return (state, set, last, start, worker) => {
    const hopIndex = last * (count + 1) + worker;
    if (cap !== null && (cap.rates.hop[hopIndex] ?? 0) > cap.max) return;
    const hop = rates.hop[hopIndex] ?? 0;
    const [sums, output] = [rates.before[worker], rates.output[worker] ?? 0];
    const [capSums, capOutput] = [cap?.rates.before[worker], cap?.rates.output[worker] ?? 0];
    const [given, capGiven] = [sums?.[start] ?? 0, capSums?.[start] ?? 0];
    const soFar = state === -1 ? 0 : (best[state] ?? Infinity);
    const next = ((set | (1 << worker)) * count + worker) * (layers + 1);
    const isEnough = bitCount(set) + 1 >= stagesMin;
    for (let to = start + 1; to <= (reach[worker]?.[start] ?? start); to += 1) {
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
      if (value + (isLargest ? 0 : (rates.leastFrom[to] ?? 0)) > end.value) break;
      if (isEnd) {
        const back = rates.hop[worker * (count + 1) + count] ?? 0;
        value = isLargest ? Math.max(value, back) : value + back;
      }
      if (mayEnd[to] === 0 || value >= (best[next + to] ?? Infinity)) continue;
      best[next + to] = value;
      before[next + to] = state;
      if (isEnd && isEnough && (value < end.value || (value === end.value && end.state === -1))) {
        end.value = value;
        end.state = next + to;
      }
    }
  };
}

function partsTo({ before, end }: Table, count: number, row: number): Part[] {
  const parts: Part[] = [];
  for (let at = end.state; at !== -1;) {
    const previous = before[at] ?? -1;
    const start = previous === -1 ? 0 : previous % row;
    parts.unshift({ worker: Math.floor(at / row) % count, start, end: at % row });
    at = previous;
  }
  return parts;
}

function bitCount(set: number): number {
  let bits = 0;
  for (let rest = set; rest !== 0; rest &= rest - 1) bits += 1;
  return bits;
}
