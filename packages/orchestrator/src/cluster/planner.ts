import { ButterflyError, type CacheType } from '@butterfly/common';

export interface PlannerWorker {
  readonly workerId: string;
  /** What it offers for weights, KV arena and compute buffers together. */
  readonly memoryBytes: number;
  /** Measured rate at which it works through weights of this model when it decodes. */
  readonly weightBytesPerSecond: number;
}

export interface PlannerInput {
  /** Weights of each layer; at least one layer. */
  readonly layerBytes: readonly number[];
  /** Embedding: memory of the first stage. Only a row of it is read for a token, so it costs no time. */
  readonly inputBytes: number;
  /** Norm and head: memory and time of the last stage. */
  readonly outputBytes: number;
  readonly cacheType: CacheType;
  /** With a cache of that type. */
  readonly kvBytesPerSlotPerLayer: number;
  readonly arenaSlots: number;
  /** Compute buffers and the like, for each worker. */
  readonly overheadBytes: number;
  /** In the order of the pipeline. */
  readonly workers: readonly PlannerWorker[];
}

/** The layers from `layerStart` up to, but not including, `layerEnd`. */
export interface PlanStage {
  readonly workerId: string;
  readonly layerStart: number;
  readonly layerEnd: number;
  /** Memory that the stage takes: weights, KV arena and overhead. */
  readonly bytes: number;
  /** Time of one decode step in this stage, in milliseconds. */
  readonly predictedMs: number;
}

export interface Plan {
  readonly stages: readonly PlanStage[];
  /** Of all stages. */
  readonly cacheType: CacheType;
  /** Time of one decode step through all stages, without the network; a full pipeline gives one per slowest stage. */
  readonly predictedStepMs: number;
  readonly leftOut: readonly { readonly workerId: string; readonly reason: string }[];
}

/** The best way to give the layers before some layer to the workers before some worker. */
interface Prefix {
  readonly before: Prefix | null;
  readonly stage: PlanStage | null;
  readonly stageCount: number;
  readonly slowestMs: number;
  readonly sumMs: number;
}

const start: Prefix = { before: null, stage: null, stageCount: 0, slowestMs: 0, sumMs: 0 };

/**
 * Gives each worker a contiguous range of layers, in the order of the workers: every layer once, nobody over its
 * memory. As many workers as possible take part; among such plans the slowest stage is as fast as possible, and
 * among those the sum of all stages.
 * @throws ButterflyError MODEL_TOO_LARGE when no plan fits; CONFIG_INVALID for an input that makes no sense.
 */
export function planPipeline(input: PlannerInput): Plan {
  checkInput(input);
  const stageOf = stageCosts(input);
  // Two passes, since the best sum is not found among prefixes that are each the fastest: the first finds how fast
  // the slowest stage can be, the second the smallest sum under that bound.
  const fastest = bestPlan(input, stageOf, Infinity, (prefix) => prefix.slowestMs);
  if (fastest === null) throw tooLarge(input);
  const best = bestPlan(input, stageOf, fastest.slowestMs, (prefix) => prefix.sumMs) ?? fastest;
  const stages: PlanStage[] = [];
  for (let prefix: Prefix | null = best; prefix !== null; prefix = prefix.before)
    if (prefix.stage !== null) stages.unshift(Object.freeze(prefix.stage));
  const plan: Plan = Object.freeze({
    stages: Object.freeze(stages),
    cacheType: input.cacheType,
    predictedStepMs: best.sumMs,
    leftOut: Object.freeze(explainLeftOut(input, stages)),
  });
  assertPlan(plan, input.layerBytes.length);
  return plan;
}

/**
 * Checks that the stages cover all layers exactly once, in order, and that no worker comes twice.
 * @throws ButterflyError INTERNAL
 */
export function assertPlan(plan: Plan, layers: number): void {
  let end = 0;
  for (const { workerId, layerStart, layerEnd } of plan.stages) {
    if (layerStart !== end || layerEnd <= layerStart || !Number.isSafeInteger(layerEnd))
      throw broken(`${workerId} has layers ${layerStart} to ${layerEnd} where ${end} is next`);
    end = layerEnd;
  }
  if (end !== layers) throw broken(`it covers ${end} of ${layers} layers`);
  const ids = [...plan.stages, ...plan.leftOut].map(({ workerId }) => workerId);
  const twice = ids.find((id, index) => ids.indexOf(id) !== index);
  if (twice !== undefined) throw broken(`worker ${twice} comes twice`);
}

/** The stage of a worker over a range of layers; sums of prefixes make it cheap. */
type StageOf = (worker: PlannerWorker, layerStart: number, layerEnd: number) => PlanStage;

function stageCosts(input: PlannerInput): StageOf {
  const bytesBefore = [0];
  for (const bytes of input.layerBytes) bytesBefore.push((bytesBefore.at(-1) ?? 0) + bytes);
  const kvBytesPerLayer = input.kvBytesPerSlotPerLayer * input.arenaSlots;
  return ({ workerId, weightBytesPerSecond }, layerStart, layerEnd) => {
    const layerBytes = (bytesBefore[layerEnd] ?? 0) - (bytesBefore[layerStart] ?? 0);
    const readBytes = layerBytes + (layerEnd === input.layerBytes.length ? input.outputBytes : 0);
    const idleBytes = input.overheadBytes + (layerStart === 0 ? input.inputBytes : 0);
    return {
      workerId,
      layerStart,
      layerEnd,
      bytes: readBytes + idleBytes + kvBytesPerLayer * (layerEnd - layerStart),
      predictedMs: (readBytes / weightBytesPerSecond) * 1000,
    };
  };
}

/** Dynamic programming over (workers, layers): most stages first, then the least cost; no stage over `stageMsMax`. */
function bestPlan(
  input: PlannerInput,
  stageOf: StageOf,
  stageMsMax: number,
  cost: (prefix: Prefix) => number,
): Prefix | null {
  const layers = input.layerBytes.length;
  const better = (a: Prefix, b: Prefix | null): boolean =>
    b === null || a.stageCount > b.stageCount || (a.stageCount === b.stageCount && cost(a) < cost(b));
  /** By number of layers given away; null where the workers so far cannot hold as many. */
  let best: (Prefix | null)[] = [start, ...new Array<null>(layers).fill(null)];
  for (const worker of input.workers) {
    const next = [...best];
    for (let layerEnd = 1; layerEnd <= layers; layerEnd += 1)
      for (let layerStart = layerEnd - 1; layerStart >= 0; layerStart -= 1) {
        const stage = stageOf(worker, layerStart, layerEnd);
        if (stage.bytes > worker.memoryBytes || stage.predictedMs > stageMsMax) break;
        const before = best[layerStart] ?? null;
        if (before === null) continue;
        const prefix = {
          before,
          stage,
          stageCount: before.stageCount + 1,
          slowestMs: Math.max(before.slowestMs, stage.predictedMs),
          sumMs: before.sumMs + stage.predictedMs,
        };
        if (better(prefix, next[layerEnd] ?? null)) next[layerEnd] = prefix;
      }
    best = next;
  }
  return best[layers] ?? null;
}

function explainLeftOut(input: PlannerInput, stages: readonly PlanStage[]): Plan['leftOut'][number][] {
  const used = new Set(stages.map(({ workerId }) => workerId));
  const layers = input.layerBytes.length;
  const smallestBytes =
    Math.min(...input.layerBytes) + input.kvBytesPerSlotPerLayer * input.arenaSlots + input.overheadBytes;
  return input.workers
    .filter(({ workerId }) => !used.has(workerId))
    .map(({ workerId, memoryBytes }) => {
      const reason =
        memoryBytes < smallestBytes
          ? `It offers ${inGiB(memoryBytes)}, but even one layer with its KV cache needs ${inGiB(smallestBytes)}.`
          : stages.length === layers
            ? `Each of the ${layers} layers has a worker of its own already, and this one would be slower.`
            : `Its ${inGiB(memoryBytes)} do not suffice for any range of layers at its place in the pipeline.`;
      return Object.freeze({ workerId, reason });
    });
}

function tooLarge(input: PlannerInput): ButterflyError {
  const layers = input.layerBytes.length;
  const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);
  const weightBytes = sum(input.layerBytes) + input.inputBytes + input.outputBytes;
  const kvBytes = input.kvBytesPerSlotPerLayer * input.arenaSlots * layers;
  const count = input.workers.length;
  const overheadBytes = input.overheadBytes * Math.max(1, Math.min(count, layers));
  const neededBytes = weightBytes + kvBytes + overheadBytes;
  const availableBytes = sum(input.workers.map(({ memoryBytes }) => memoryBytes));
  const why =
    neededBytes > availableBytes
      ? ''
      : ', but whole layers in a row, with the embedding on the first worker and the head on the last, do not fit';
  return new ButterflyError(
    'MODEL_TOO_LARGE',
    `The model needs ${inGiB(neededBytes)} (weights ${inGiB(weightBytes)}, KV cache ${inGiB(kvBytes)}, buffers ` +
      `${inGiB(overheadBytes)}) and ${count} ${count === 1 ? 'worker offers' : 'workers offer'} ` +
      `${inGiB(availableBytes)}${why}. Lower --ctx, add workers or memory, or use a smaller quantisation.`,
  );
}

function inGiB(bytes: number): string {
  const mebibytes = bytes / 2 ** 20;
  return mebibytes < 1024 ? `${mebibytes.toFixed(1)} MiB` : `${(mebibytes / 1024).toFixed(2)} GiB`;
}

function checkInput(input: PlannerInput): void {
  const { layerBytes, inputBytes, outputBytes, kvBytesPerSlotPerLayer, arenaSlots, overheadBytes, workers } =
    input;
  const sizes = { inputBytes, outputBytes, kvBytesPerSlotPerLayer, arenaSlots, overheadBytes };
  const check = (value: number, param: string, min: number): void => {
    if (!Number.isFinite(value) || value < min)
      throw new ButterflyError(
        'CONFIG_INVALID',
        `${param} must be a number of at least ${min}, not ${value}.`,
        {
          param,
        },
      );
  };
  check(layerBytes.length, 'number of layers', 1);
  for (const [param, value] of Object.entries(sizes)) check(value, param, 0);
  for (const bytes of layerBytes) check(bytes, 'layerBytes', 0);
  for (const { workerId, memoryBytes, weightBytesPerSecond } of workers) {
    check(memoryBytes, `memoryBytes of ${workerId}`, 0);
    check(weightBytesPerSecond, `weightBytesPerSecond of ${workerId}`, 1);
  }
}

function broken(what: string): ButterflyError {
  return new ButterflyError('INTERNAL', `The plan is broken: ${what}. This is a defect, please report it.`);
}
