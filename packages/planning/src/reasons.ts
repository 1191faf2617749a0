import { formatBytes, formatMicros, formatRate } from '@butterfly/common';
import { predict } from './cost.js';
import { fitsWorker, holdsSomeLayer, offeredBytes, stageBytes } from './stage-memory.js';
import type { Plan, PlannerInput, PlannerWorker, PlanStage, Prediction, Placement } from './types.js';

const reasonOfSpare = 'Is kept as a spare, as --spares asks: it takes the place of one that is lost.';

type Reason = Plan['reasons'][number];

/** Stages to predict up to which everybody who is left out is told what the plan would be with it. */
const predictedStagesMax = 30_000;

/**
 * Why each worker has its place or none, with numbers, in the order of the input.
 * @param spareIds those that would have a place if they were not wanted as spares
 */
export function reasonsFor(
  input: PlannerInput,
  stages: readonly PlanStage[],
  predicted: Prediction,
  spareIds: ReadonlySet<string>,
): readonly Reason[] {
  const places = new Map(stages.map((stage) => [stage.workerId, stage]));
  const leftOut = input.workers.length - stages.length;
  const isAffordable =
    leftOut * 3 * stages.length ** 2 * Math.min(input.concurrency, 2 * stages.length) <= predictedStagesMax;
  const slowest = stages.reduce((most, { microsPerToken }) => Math.max(most, microsPerToken), 0);
  return input.workers.map((worker) => {
    const { workerId } = worker;
    const stage = places.get(workerId);
    if (stage !== undefined) {
      const reason = reasonForStage(input, stage, worker, predicted);
      const setsPace =
        input.objective === 'throughput' && stages.length > 1 && stage.microsPerToken === slowest;
      return {
        workerId,
        isUsed: true,
        reason: setsPace ? `${reason} Of all stages it takes the longest.` : reason,
      };
    }
    if (spareIds.has(workerId)) return { workerId, isUsed: false, reason: reasonOfSpare };
    const reason =
      reasonOfMemory(input, worker) ??
      (isAffordable
        ? reasonByPrediction(input, stages, worker, predicted)
        : reasonBySpeed(input, stages, worker));
    return { workerId, isUsed: false, reason };
  });
}

function reasonForStage(
  { objective }: PlannerInput,
  { layerStart, layerEnd, bytes, host, decodeMicros, microsPerToken }: PlanStage,
  worker: PlannerWorker,
  { latencyMicros, tokensPerSecond }: Prediction,
): string {
  const [own, all] =
    objective === 'latency' ? [decodeMicros, latencyMicros] : [microsPerToken, 1e6 / tokensPerSecond];
  const share =
    objective === 'latency'
      ? `${formatMicros(own)} of the ${formatMicros(all)} of each token`
      : `busy for ${formatMicros(own)} of the ${formatMicros(all)} that each token takes at full load`;
  const memory = `${formatBytes(bytes)} of its ${formatBytes(worker.memoryBytes)}`;
  const taken = `Takes ${layersInWords(layerStart, layerEnd)}: ${share}, with ${memory}`;
  if (!host || !worker.host) return `${taken}.`;
  const beside = `${formatBytes(host.bytes)} of the ${formatBytes(worker.host.memoryBytes)} beside it`;
  if (host.experts === 0) return `${taken}, and ${beside}.`;
  const experts = layersInWords(layerStart, layerStart + host.experts);
  const why = worker.host.experts === 'host' ? 'as --experts asks' : 'as the card has no room for them';
  return `${taken}, and ${beside}, where the experts of ${experts} are, ${why}.`;
}

/** Null for a worker that holds some layer. */
function reasonOfMemory({ model }: PlannerInput, worker: PlannerWorker): string | null {
  if (holdsSomeLayer(model, worker)) return null;
  const sizes = model.layerBytes.map((_, layer) => stageBytes(model, layer, layer + 1));
  const offered = worker.host
    ? `${formatBytes(worker.memoryBytes)} on its card and ${formatBytes(worker.host.memoryBytes)} beside it`
    : formatBytes(worker.memoryBytes);
  return `It offers ${offered}, but even one layer with its KV cache needs ${formatBytes(Math.min(...sizes))}.`;
}

function reasonByPrediction(
  input: PlannerInput,
  stages: readonly PlanStage[],
  worker: PlannerWorker,
  predicted: Prediction,
): string {
  const best = bestWith(input, stages, worker);
  if (best === null)
    return `Its ${formatBytes(offeredBytes(worker))} do not suffice for any place in this pipeline.`;
  const [slow, now] = [formatMicros(best.latencyMicros), formatMicros(predicted.latencyMicros)];
  if (input.objective === 'latency')
    return best.latencyMicros > predicted.latencyMicros
      ? `Would slow each token from ${now} to ${slow}, at the place where it does least harm.`
      : `Would not make a token faster: ${slow} with it, ${now} without.`;
  const [rate, rateNow] = [formatRate(best.tokensPerSecond), formatRate(predicted.tokensPerSecond)];
  return best.tokensPerSecond < predicted.tokensPerSecond
    ? `Would slow all from ${rateNow} to ${rate}, at the place where it does least harm.`
    : `Would gain nothing: ${rate} with it, ${rateNow} without, and each token would take ${slow} instead of ${now}.`;
}

/** The best of the plans with this worker in the place of another one, or with one layer of a neighbour. */
function bestWith(
  input: PlannerInput,
  stages: readonly Placement[],
  { workerId }: PlannerWorker,
): Prediction | null {
  const variants: Placement[][] = [];
  for (const [index, stage] of stages.entries()) {
    const { layerStart, layerEnd } = stage;
    variants.push(stages.with(index, { ...stage, workerId }));
    if (layerEnd - layerStart < 2) continue;
    const own = (from: number, to: number): Placement => ({ workerId, layerStart: from, layerEnd: to });
    const shorter = { ...stage, layerEnd: layerEnd - 1 };
    const later = { ...stage, layerStart: layerStart + 1 };
    variants.push(stages.toSpliced(index, 1, shorter, own(layerEnd - 1, layerEnd)));
    variants.push(stages.toSpliced(index, 1, own(layerStart, layerStart + 1), later));
  }
  let best: Prediction | null = null;
  for (const placements of variants) {
    if (!fits(input, placements)) continue;
    const { predicted } = predict(placements, input);
    const isBetter =
      best === null ||
      (input.objective === 'latency'
        ? predicted.latencyMicros < best.latencyMicros
        : predicted.tokensPerSecond > best.tokensPerSecond);
    if (isBetter) best = predicted;
  }
  return best;
}

/** Whether layers may be parted so, and every stage fits the memory of its worker. */
export function fits({ model, workers }: PlannerInput, placements: readonly Placement[]): boolean {
  const byId = new Map(workers.map((worker) => [worker.workerId, worker]));
  return placements.every((placement) => {
    const worker = byId.get(placement.workerId);
    const mayBegin = model.joinedLayers?.has(placement.layerStart) !== true;
    return mayBegin && worker !== undefined && fitsWorker(model, worker, placement);
  });
}

function reasonBySpeed(
  { workers }: PlannerInput,
  stages: readonly PlanStage[],
  { layerCurve }: PlannerWorker,
): string {
  const used = new Set(stages.map(({ workerId }) => workerId));
  const layerMicros = layerCurve[0]?.micros ?? 0;
  const slowest = workers.reduce(
    (most, each) => (used.has(each.workerId) ? Math.max(most, each.layerCurve[0]?.micros ?? 0) : most),
    0,
  );
  return layerMicros > slowest
    ? `Takes ${formatMicros(layerMicros)} for a layer; the ${stages.length} that have a place take at most ${formatMicros(slowest)}.`
    : `Is not needed beside the ${stages.length} that have a place: one more stage is one more way to go.`;
}

/** A range of layers as people count them: the last one belongs to it. */
function layersInWords(layerStart: number, layerEnd: number): string {
  return layerEnd === layerStart + 1 ? `layer ${layerStart}` : `layers ${layerStart} to ${layerEnd - 1}`;
}
