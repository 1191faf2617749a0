import {
  hopCost,
  hostCost,
  lapMeasure,
  latencyMeasure,
  layerCosts,
  outputCost,
  paceMeasure,
  stageBytes,
  turnsOf,
  type Measure,
  type Placement,
} from '../cost.js';
import type { PlannerInput, PlannerWorker } from '../types.js';

/** Costs of everything by one measure, in arrays, since searches look at millions of stages. */
export interface Rates {
  /** By worker, and by layer: of all layers before it; and of all layers at the end. */
  readonly before: readonly Float64Array[];
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

export interface Problem {
  readonly layers: number;
  readonly workers: readonly PlannerWorker[];
  /** By worker and first layer: the furthest end that fits its memory, or the first layer where none does. */
  readonly reach: readonly Int32Array[];
  /** By number of layers given away, whether a stage may end there: 1 or 0. */
  readonly mayEnd: Uint8Array;
  /** For the objective of the input: one goal for latency; for throughput one for each way to take turns. */
  readonly goals: readonly Goal[];
}

/** The input as arrays, over some of its workers. */
export function compileProblem(input: PlannerInput, workers: readonly PlannerWorker[]): Problem {
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
  const joined = input.model.joinedLayers;
  return {
    layers,
    workers,
    reach: workers.map(({ memoryBytes }) => reachOf(memoryBytes)),
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

/** Of a worker: all layers, which is how fast it is altogether. */
export function costOfAll({ before }: Rates, worker: number): number {
  return before[worker]?.at(-1) ?? 0;
}

function partCost(rates: Rates, { worker, start, end }: Part, layers: number): number {
  const output = end === layers ? (rates.output[worker] ?? 0) : 0;
  const before = rates.before[worker];
  return rates.host + ((before?.[end] ?? 0) - (before?.[start] ?? 0)) + output;
}

/** Of consecutive stages with the links between them and from and to the orchestrator. */
export function costOf(
  rates: Rates,
  parts: readonly Part[],
  { layers, workers }: Problem,
): { readonly sum: number; readonly largest: number } {
  const stride = workers.length + 1;
  let from = workers.length;
  let sum = 0;
  let largest = 0;
  for (const part of parts) {
    const hop = rates.hop[from * stride + part.worker] ?? 0;
    const stage = partCost(rates, part, layers);
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
