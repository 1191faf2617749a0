import {
  hopCost,
  hostCost,
  hostExtras,
  lapMeasure,
  latencyMeasure,
  layerCosts,
  outputCost,
  paceMeasure,
  turnsOf,
  type Measure,
} from '../cost.js';
import { fitsWorker, stageBytes, stageMemory } from '../stage-memory.js';
import type { NamedInput, PlannerInput, PlannerWorker, Placement } from '../types.js';

/** Costs of everything by one measure, in arrays, since searches look at millions of stages. */
export interface Rates {
  /** By worker, and by layer: of all layers before it; and of all layers at the end. */
  readonly before: readonly Float64Array[];
  /** By worker, and by layer: what all layers before it cost more with their experts in the memory of the host; null where there is none. */
  readonly extraBefore: readonly (Float64Array | null)[];
  /** By worker: of the output. */
  readonly output: Float64Array;
  /** Of any stage. */
  readonly host: number;
  /** By `from · (workers + 1) + to`, where the number of workers stands for the orchestrator. */
  readonly hop: Float64Array;
  /** By layer: the least that it and all layers behind it cost, each on the worker that is the fastest with it; 0 at the end. */
  readonly leastFrom: Float64Array;
}

/** What a search is to minimise. */
export type Goal =
  | { readonly kind: 'latency'; readonly latency: Rates }
  | {
      readonly kind: 'throughput';
      readonly latency: Rates;
      readonly pace: Rates;
      readonly lap: Rates;
      readonly sequences: number;
      /** The engine takes so many turns only where there are as many stages. */
      readonly stagesMin: number;
    };

/** A stage in numbers: the index of its worker, and its layers. */
export interface Part {
  readonly worker: number;
  readonly start: number;
  readonly end: number;
}

/** Asks for the stages with the least sum, or the smallest maximum, of their costs and those of the links. */
export interface Sweep {
  readonly rates: Rates;
  readonly isLargest: boolean;
  /** No stage and no link may cost more than `max` by these rates. */
  readonly cap: { readonly rates: Rates; readonly max: number } | null;
  /** Results above are of no use. */
  readonly valueMax: number;
}
/** Finds the stages that a sweep asks for, of those that fit the memory; null where there are none. */
export type Search = (sweep: Sweep) => readonly Part[] | null;

export interface Problem {
  readonly layers: number;
  readonly workers: readonly PlannerWorker[];
  /** By worker and first layer: the furthest end that fits its memory, or the first layer where none does. */
  readonly reach: readonly Int32Array[];
  /** By worker, and by `start · (layers + 1) + end`: of how many layers the experts lie with the host; null where none do. */
  readonly hostExperts: readonly (Int16Array | null)[];
  /** By number of layers given away, whether a stage may end there: 1 or 0. */
  readonly mayEnd: Uint8Array;
  /** For the objective of the input: one goal for latency; for throughput one for each way to take turns. */
  readonly goals: readonly Goal[];
}

/** The input as arrays, over some of its workers. */
export function compileProblem(input: NamedInput, workers: readonly PlannerWorker[]): Problem {
  const layers = input.model.layerBytes.length;
  const ratesOf = rateTables(input, workers);
  const latency = ratesOf(latencyMeasure);
  const goals: Goal[] =
    input.objective === 'latency'
      ? [{ kind: 'latency', latency }]
      : turnsOf(input.concurrency, Math.max(1, Math.min(workers.length, layers))).map((turns) => ({
          kind: 'throughput',
          latency,
          pace: ratesOf(paceMeasure(turns)),
          lap: ratesOf(lapMeasure(turns)),
          sequences: turns.sequences,
          stagesMin: Math.ceil(turns.steps / 2),
        }));
  const reachOf = reachTables(input);
  const reach = workers.map((worker) =>
    worker.host ? hostReach(input, worker) : reachOf(worker.memoryBytes),
  );
  const joined = input.model.joinedLayers;
  return {
    layers,
    workers,
    reach,
    hostExperts: workers.map((worker, index) => hostExpertTable(input, worker, reach[index])),
    mayEnd: Uint8Array.from({ length: layers + 1 }, (_, layer) => (joined?.has(layer) ? 0 : 1)),
    goals,
  };
}

function rateTables(input: PlannerInput, workers: readonly PlannerWorker[]): (measure: Measure) => Rates {
  const ids = [...workers.map(({ workerId }) => workerId), null];
  const links = ids.map((from) => ids.map((to) => (from === to ? null : input.link(from, to))));
  return (measure) => {
    const before = workers.map((worker) => layerCosts(measure, input.model, worker));
    const hop = new Float64Array(ids.length ** 2);
    links.forEach((row, from) =>
      row.forEach((link, to) => {
        if (link === null) return;
        const rowBytes = ids[from] === null || ids[to] === null ? 0 : input.model.activationBytes;
        hop[from * ids.length + to] = hopCost(measure, link, rowBytes);
      }),
    );
    return {
      before,
      extraBefore: workers.map((worker) => hostExtras(measure, input.model, worker)),
      output: Float64Array.from(workers, ({ outputCurve }) => outputCost(measure, outputCurve)),
      host: hostCost(measure),
      hop,
      leastFrom: leastCosts(before, input.model.layerBytes.length),
    };
  };
}

function leastCosts(before: readonly Float64Array[], layers: number): Float64Array {
  const least = new Float64Array(layers + 1);
  for (let layer = layers - 1; layer >= 0; layer -= 1) {
    const cost = before.reduce(
      (most, sums) => Math.min(most, (sums[layer + 1] ?? 0) - (sums[layer] ?? 0)),
      Infinity,
    );
    least[layer] = (least[layer + 1] ?? 0) + cost;
  }
  return least;
}

/** Furthest ends by memory. More layers never take less memory, so two pointers find them all in one pass. */
function reachTables({ model }: PlannerInput): (memoryBytes: number) => Int32Array {
  const layers = model.layerBytes.length;
  return (memoryBytes) => {
    const reach = new Int32Array(layers);
    let end = 0;
    let bytes = model.overheadBytes + model.inputBytes;
    const needed = (layer: number): number =>
      (model.layerBytes[layer] ?? 0) +
      (model.kvBytesPerSlot[layer] ?? 0) * model.arenaSlots +
      (layer === layers - 1 ? model.outputBytes : 0);
    for (let start = 0; start < layers; start += 1) {
      while (end < layers && bytes + needed(end) <= memoryBytes) {
        bytes += needed(end);
        end += 1;
      }
      // The sum of sizes in another order may differ in the last bit from the size of the stage, which decides.
      while (end > start && stageBytes(model, start, end) > memoryBytes) {
        end -= 1;
        bytes -= needed(end);
      }
      reach[start] = end;
      if (end > start) bytes -= needed(start);
      else end = start + 1;
      if (start === 0) bytes -= model.inputBytes;
    }
    return reach;
  };
}

/** The same for a worker on a card, whose experts may lie with the host. */
function hostReach({ model }: PlannerInput, worker: PlannerWorker): Int32Array {
  const layers = model.layerBytes.length;
  const reach = new Int32Array(layers);
  for (let [layerStart, end] = [0, 0]; layerStart < layers; layerStart += 1) {
    end = Math.max(end, layerStart);
    while (end < layers && fitsWorker(model, worker, { layerStart, layerEnd: end + 1 })) end += 1;
    // The head may not fit behind layers that the embedding stood before, though fewer of them do.
    while (end > layerStart && !fitsWorker(model, worker, { layerStart, layerEnd: end })) end -= 1;
    reach[layerStart] = end;
  }
  return reach;
}

function hostExpertTable(
  { model }: PlannerInput,
  worker: PlannerWorker,
  reach: Int32Array | undefined,
): Int16Array | null {
  if (!worker.host) return null;
  const layers = model.layerBytes.length;
  const table = new Int16Array(layers * (layers + 1));
  for (let layerStart = 0; layerStart < layers; layerStart += 1)
    for (let layerEnd = layerStart + 1; layerEnd <= (reach?.[layerStart] ?? 0); layerEnd += 1)
      table[layerStart * (layers + 1) + layerEnd] =
        stageMemory(model, worker, { layerStart, layerEnd }).host?.experts ?? 0;
  return table;
}

/** What the layers of a stage cost more because of the experts that lie with the host. */
export function extraCost(
  { extraBefore }: Rates,
  { hostExperts, layers }: Pick<Problem, 'hostExperts' | 'layers'>,
  worker: number,
  start: number,
  end: number,
): number {
  const extras = extraBefore[worker];
  if (!extras) return 0;
  const experts = hostExperts[worker]?.[start * (layers + 1) + end] ?? 0;
  return (extras[start + experts] ?? 0) - (extras[start] ?? 0);
}

/** Of a worker: all layers, which is how fast it is altogether. */
export function costOfAll({ before }: Rates, worker: number): number {
  return before[worker]?.at(-1) ?? 0;
}

function partCost(
  rates: Rates,
  { worker, start, end }: Part,
  problem: Pick<Problem, 'hostExperts' | 'layers'>,
): number {
  const { layers } = problem;
  const output = end === layers ? (rates.output[worker] ?? 0) : 0;
  const before = rates.before[worker];
  const own = (before?.[end] ?? 0) - (before?.[start] ?? 0);
  return rates.host + own + extraCost(rates, problem, worker, start, end) + output;
}

/** Of consecutive stages with the links between them and from and to the orchestrator. */
export function costOf(
  rates: Rates,
  parts: readonly Part[],
  problem: Problem,
): { readonly sum: number; readonly largest: number } {
  const { workers } = problem;
  const stride = workers.length + 1;
  let from = workers.length;
  let sum = 0;
  let largest = 0;
  for (const part of parts) {
    const hop = rates.hop[from * stride + part.worker] ?? 0;
    const stage = partCost(rates, part, problem);
    sum += hop + stage;
    largest = Math.max(largest, hop, stage);
    from = part.worker;
  }
  const back = rates.hop[from * stride + workers.length] ?? 0;
  return { sum: sum + back, largest: Math.max(largest, back) };
}

export function placementsOf(parts: readonly Part[], { workers }: Problem): Placement[] {
  return parts.map(({ worker, start, end }) => ({
    workerId: workers[worker]?.workerId ?? '',
    layerStart: start,
    layerEnd: end,
  }));
}
