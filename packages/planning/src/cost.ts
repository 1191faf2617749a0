import { StepCurve, type StepTime } from '@butterfly/common';
import type { TimedLayers } from '@butterfly/model';
import { stageMemory } from './stage-memory.js';
import type {
  Link,
  PlannerInput,
  PlannerModel,
  PlannerWorker,
  PlanStage,
  Prediction,
  Placement,
} from './types.js';

/** What a step costs a stage beside its arithmetic: frames, buffers, and the way from the socket to the kernels. */
export const hostMicros = 300;
/** What the orchestrator takes to read a frame and to write it again. */
export const relayMicros = 200;
/**
 * Chat has about as many tokens of prompt as of answer, so each token of an answer is charged with one of a prompt.
 * Prompts are computed in chunks; one of so many rows is where the kernels of all machines that we know have reached
 * most of their speed.
 */
export const promptRows = 64;

/** How the sequences take turns: so many steps of so many rows each give every sequence one token. */
export interface Turns {
  readonly steps: number;
  readonly rows: number;
  readonly sequences: number;
}

/**
 * The ways to let sequences decode in turn, as `decodeGroups` of the engine tries them: up to two steps for a stage. Of
 * those with as many rows only the one with the fewest steps can be best.
 */
export function turnsOf(sequences: number, stages: number): Turns[] {
  const turns: Turns[] = [];
  for (let steps = 1; steps <= Math.min(sequences, 2 * stages); steps += 1) {
    const rows = Math.ceil(sequences / steps);
    if (turns.at(-1)?.rows !== rows) turns.push({ steps, rows, sequences });
  }
  return turns;
}

/**
 * What to make of the times of steps: a cost of `decodeWeight · t(rows) + promptWeight · t(promptRows)`. Every cost of
 * a plan is a sum or a maximum of such costs of its stages and links, and that of a stage is the sum over its layers.
 */
export interface Measure {
  readonly rows: number;
  readonly decodeWeight: number;
  readonly promptWeight: number;
  /** Whether a link costs only the time that it is busy; else the time until the last byte arrives. */
  readonly isBusyTime: boolean;
}

/** The time of a token of a single stream: each stage and link once, with one row. */
export const latencyMeasure: Measure = { rows: 1, decodeWeight: 1, promptWeight: 0, isBusyTime: false };

/**
 * How long a stage or a link is busy for each token of all sequences. In a round of `steps` steps of `t(rows)` every
 * one of the sequences gets a token, and each of these comes with its token of a prompt:
 * `steps · t(rows) / sequences + t(64) / 64`. The largest of them is the pace of the pipeline.
 */
export function paceMeasure({ steps, rows, sequences }: Turns): Measure {
  return { rows, decodeWeight: steps / sequences, promptWeight: 1 / promptRows, isBusyTime: true };
}

/**
 * How long a sequence is under way for a token of it, with its token of a prompt: `t(rows) + t(64) / 64`, summed over
 * all stages and links. So many sequences cannot have more tokens than one each in such a time.
 */
export function lapMeasure({ rows }: Turns): Measure {
  return { rows, decodeWeight: 1, promptWeight: 1 / promptRows, isBusyTime: false };
}

const weigh = ({ rows, decodeWeight, promptWeight }: Measure, micros: (rows: number) => number): number =>
  decodeWeight * micros(rows) + (promptWeight === 0 ? 0 : promptWeight * micros(promptRows));

/** Cost of one layer of each kind. */
function kindCosts(measure: Measure, { curvesByKind }: Pick<PlannerWorker, 'curvesByKind'>): number[] {
  return curvesByKind.map((points) => {
    const curve = new StepCurve(points);
    return weigh(measure, (rows) => curve.micros(rows));
  });
}

/** By layer, the cost of all layers before it, and at the end that of all: a range costs the difference of two. */
export function layerCosts(
  measure: Measure,
  { layerBytes, layerKinds }: PlannerModel,
  worker: Pick<PlannerWorker, 'curvesByKind'>,
): Float64Array {
  const costs = kindCosts(measure, worker);
  const sums = new Float64Array(layerBytes.length + 1);
  for (let layer = 0; layer < layerBytes.length; layer += 1)
    sums[layer + 1] = (sums[layer] ?? 0) + (costs[layerKinds[layer] ?? 0] ?? 0);
  return sums;
}

/**
 * By layer, what all layers before it cost more where their experts lie with the host, and at the end that of all. Nothing is
 * expected of a host that is the faster one: experts go there for want of memory.
 */
export function hostExtras(
  measure: Measure,
  { layerBytes, layerKinds }: PlannerModel,
  worker: Pick<PlannerWorker, 'curvesByKind' | 'host'>,
): Float64Array | null {
  if (!worker.host) return null;
  const costs = kindCosts(measure, worker);
  const hostCosts = kindCosts(measure, worker.host);
  const sums = new Float64Array(layerBytes.length + 1);
  for (let layer = 0; layer < layerBytes.length; layer += 1) {
    const kind = layerKinds[layer] ?? 0;
    sums[layer + 1] = (sums[layer] ?? 0) + Math.max(0, (hostCosts[kind] ?? 0) - (costs[kind] ?? 0));
  }
  return sums;
}

/** Cost of norm, head and sampling; prompts need none of them. */
export function outputCost(measure: Measure, outputCurve: readonly StepTime[]): number {
  return weigh({ ...measure, promptWeight: 0 }, (rows) => new StepCurve(outputCurve).micros(rows));
}

/** Cost of a stage beside its layers and output. */
export function hostCost(measure: Measure): number {
  return weigh(measure, () => hostMicros);
}

/** @param rowBytes of a row of activations, or 0 for token ids, whose few bytes take no time worth counting */
export function hopCost(measure: Measure, link: Link, rowBytes: number): number {
  const fixedMicros = (measure.isBusyTime ? 0 : link.latencyMicros) + (link.isRelayed ? relayMicros : 0);
  return weigh(measure, (rows) => fixedMicros + (rows * rowBytes * 1e6) / link.bytesPerSecond);
}

/** Cost of a stage: its layers, the output where it is the last, and the host. */
export function stageCost(
  measure: Measure,
  model: PlannerModel,
  worker: PlannerWorker,
  range: Pick<Placement, 'layerStart' | 'layerEnd' | 'hostExperts'>,
): number {
  const { layerBytes, layerKinds } = model;
  const { layerStart, layerEnd } = range;
  const costs = kindCosts(measure, worker);
  let layers = 0;
  for (let layer = layerStart; layer < layerEnd; layer += 1) layers += costs[layerKinds[layer] ?? 0] ?? 0;
  const extras = hostExtras(measure, model, worker);
  const experts = extras ? (stageMemory(model, worker, range).host?.experts ?? 0) : 0;
  const extra = (extras?.[layerStart + experts] ?? 0) - (extras?.[layerStart] ?? 0);
  const output = layerEnd === layerBytes.length ? outputCost(measure, worker.outputCurve) : 0;
  return hostCost(measure) + layers + extra + output;
}

/**
 * Times of the steps of a stage, by their rows and by those of them that have logits.
 * @param layers of the stage
 * @param outputCurve of its worker where it is the last stage, else null
 */
export function stageTime(
  layers: readonly TimedLayers[],
  outputCurve: readonly StepTime[] | null,
): (rows: number, logitRows: number) => number {
  const kinds = layers.map((each) => ({ count: each.layers, curve: new StepCurve(each.curve) }));
  const output = outputCurve && new StepCurve(outputCurve);
  return (rows, logitRows) =>
    hostMicros +
    sum(kinds.map(({ count, curve }) => count * curve.micros(rows))) +
    (output && logitRows > 0 ? output.micros(logitRows) : 0);
}

interface PlacedWorker extends Placement {
  readonly worker: PlannerWorker;
}

/** The costs of all stages, and of all links with those from and to the orchestrator. */
function costsOf(
  placed: readonly PlacedWorker[],
  input: PlannerInput,
  measure: Measure,
): { stages: number[]; hops: number[] } {
  return {
    stages: placed.map((each) => stageCost(measure, input.model, each.worker, each)),
    hops: hopCosts(measure, placed, input.link, input.model.activationBytes),
  };
}

function hopCosts(
  measure: Measure,
  stages: readonly { readonly workerId: string }[],
  link: PlannerInput['link'],
  activationBytes: number,
): number[] {
  const ids = [null, ...stages.map(({ workerId }) => workerId), null];
  return ids.slice(1).map((to, index) => {
    const from = ids[index] ?? null;
    return hopCost(measure, link(from, to), from === null || to === null ? 0 : activationBytes);
  });
}

/** How long a step of so many rows is on its way from the orchestrator through all stages and back, beside the stages. */
export function linksMicros(
  rows: number,
  stages: readonly { readonly workerId: string }[],
  link: PlannerInput['link'],
  activationBytes: number,
): number {
  return sum(hopCosts({ ...latencyMeasure, rows }, stages, link, activationBytes));
}

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);

/**
 * What stages would reach. Time of a token of one stream: the sum of all stages and links at one row. Time per token of
 * all sequences: the largest of what each stage and each link is busy for it and of its share of a whole lap, with the
 * turns that make it smallest.
 * @param placements all layers once, in order, on workers of the input
 */
export function predict(
  placements: readonly Placement[],
  input: PlannerInput,
): { readonly predicted: Prediction; readonly stages: readonly PlanStage[] } {
  const placed = placements.map((placement) => ({
    ...placement,
    worker: workerOf(input, placement.workerId),
  }));
  const single = costsOf(placed, input, latencyMeasure);
  let best = { microsPerToken: Infinity, stages: single.stages };
  for (const turns of turnsOf(input.concurrency, placed.length)) {
    const pace = costsOf(placed, input, paceMeasure(turns));
    const lap = costsOf(placed, input, lapMeasure(turns));
    const lapMicros = (sum(lap.stages) + sum(lap.hops)) / turns.sequences;
    const microsPerToken = Math.max(...pace.stages, ...pace.hops, lapMicros);
    if (microsPerToken < best.microsPerToken) best = { microsPerToken, stages: pace.stages };
  }
  return {
    predicted: {
      latencyMicros: sum(single.stages) + sum(single.hops),
      tokensPerSecond: 1e6 / best.microsPerToken,
    },
    stages: placed.map(({ worker, ...placement }, index) => ({
      workerId: placement.workerId,
      layerStart: placement.layerStart,
      layerEnd: placement.layerEnd,
      ...stageMemory(input.model, worker, placement),
      decodeMicros: single.stages[index] ?? 0,
      microsPerToken: best.stages[index] ?? 0,
      isRelayed:
        placements.length > 1 &&
        input.link(placements.at(index - 1)?.workerId ?? null, placement.workerId).isRelayed,
    })),
  };
}

function workerOf(input: PlannerInput, workerId: string): PlannerWorker {
  const worker = input.workers.find((each) => each.workerId === workerId);
  if (worker === undefined) throw new RangeError(`Worker ${workerId} is not among those to choose from.`);
  return worker;
}
