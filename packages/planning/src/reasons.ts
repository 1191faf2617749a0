import { formatBytes, formatMicros, formatRate } from '@butterfly/common';
import { predict } from './cost.js';
import { costBy, formatCost } from './own-cost.js';
import { holdsSomeLayer, offeredBytes, stageBytes } from './stage-memory.js';
import type {
  OwnCost,
  Plan,
  PlannerInput,
  PlannerWorker,
  PlanStage,
  Prediction,
  Placement,
} from './types.js';
import { fits, variantsWith } from './variants.js';

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
  plan: Pick<Plan, 'objective' | 'stages' | 'predicted'>,
  spareIds: ReadonlySet<string>,
): readonly Reason[] {
  const { stages, predicted } = plan;
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
      (isAffordable ? reasonByPrediction(input, plan, worker) : reasonBySpeed(input, stages, worker));
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
  { objective, stages, predicted }: Pick<Plan, 'objective' | 'stages' | 'predicted'>,
  worker: PlannerWorker,
): string {
  if (typeof objective === 'object') return reasonByOwn(input, objective, stages, worker);
  const best = bestWith(input, stages, worker);
  if (best === null) return reasonOfRoom(worker);
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

function reasonOfRoom(worker: PlannerWorker): string {
  return `Its ${formatBytes(offeredBytes(worker))} do not suffice for any place in this pipeline.`;
}

function reasonByOwn(
  input: PlannerInput,
  { name, cost }: OwnCost,
  stages: readonly PlanStage[],
  worker: PlannerWorker,
): string {
  const costs = variantsWith(stages, worker.workerId)
    .filter((placements) => fits(input, placements))
    .map((placements) => costBy(input, placements));
  if (costs.length === 0) return reasonOfRoom(worker);
  return `With it ${name} would be ${formatCost(Math.min(...costs))} instead of ${formatCost(cost)}, at the place where it does least harm.`;
}

/** The best of the plans with this worker in the place of another one, or with one layer of a neighbour. */
function bestWith(
  input: PlannerInput,
  stages: readonly Placement[],
  { workerId }: PlannerWorker,
): Prediction | null {
  let best: Prediction | null = null;
  for (const placements of variantsWith(stages, workerId)) {
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
