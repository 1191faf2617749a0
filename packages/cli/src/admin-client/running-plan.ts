import { ButterflyError, formatMicros, formatRate } from '@butterfly/common';
import type { ClusterDescription } from '@butterfly/orchestrator';
import { type MeasuredPlan, type Plan, type PlannerInput, drawPlan, plainWishes } from '@butterfly/planning';
import { machinesOf } from './machines.js';

/** A rate is held against the prediction only where about as many streams ran as it was made for. */
const likeness = 0.8;

/**
 * The plans of a running cluster as lines for a terminal, with what was measured beside what was predicted.
 * @throws ButterflyError CLUSTER_NOT_READY when there is no plan
 */
export function drawRunningPlan(cluster: ClusterDescription): string[] {
  const { plan, replicas, measured, detail, trouble } = cluster;
  if (replicas.length > 1 && replicas.some((each) => each.plan))
    return [
      ...replicas.flatMap((each) => [
        `Replica ${each.replica}: ${each.detail}`,
        ...(each.plan
          ? drawPlan(inputOf(cluster, each.plan, each.replica), each.plan, null, {
              tokensPerSecond: null,
              latencyMicros: null,
              stageMicros: stageMicros(cluster.workers),
            })
          : []),
        '',
      ]),
      inWords(measured),
    ];
  if (!plan)
    throw new ButterflyError(
      'CLUSTER_NOT_READY',
      `There is no plan yet: ${detail}${trouble ? ` (${trouble.message})` : ''}; see "butterfly status".`,
    );
  return [...drawPlan(inputOf(cluster, plan, null), plan, null, comparable(cluster)), '', inWords(measured)];
}

/** What the plan was made from, as far as a picture shows it: of the model the name and the number of layers. */
function inputOf(cluster: ClusterDescription, plan: Plan, replica: number | null): PlannerInput {
  const { model } = cluster;
  if (!model) throw new ButterflyError('CLUSTER_NOT_READY', 'No model is loaded; ask for one.');
  const workers = cluster.workers.filter((worker) => replica === null || worker.replica === replica);
  const { members, link } = machinesOf({ ...cluster, workers }, model.id);
  return {
    model: {
      name: model.id,
      layerBytes: Array.from({ length: model.layers }, () => 0),
      layerKinds: Array.from({ length: model.layers }, () => 0),
      layerWords: Array.from({ length: model.layers }, () => ''),
      inputBytes: 0,
      outputBytes: 0,
      cacheType: plan.cacheType,
      kvBytesPerSlot: Array.from({ length: model.layers }, () => 0),
      arenaSlots: model.arenaSlots,
      overheadBytes: 0,
      activationBytes: 0,
    },
    workers: members.map(({ profile, host, ...member }) => ({
      ...member,
      ...profile,
      curvesByKind: [profile.layerCurve],
      ...(host ? { host: { ...host, curvesByKind: [profile.layerCurve] } } : {}),
    })),
    link,
    objective: typeof plan.objective === 'object' ? plainWishes.objective : plan.objective,
    concurrency: plan.concurrency,
  };
}

/** What can be held against the prediction. */
function comparable({ plan, measured, workers }: ClusterDescription): MeasuredPlan | null {
  if (!plan || !measured) return null;
  const { concurrency, tokensPerSecond, microsPerToken } = measured;
  return {
    tokensPerSecond: concurrency >= likeness * plan.concurrency ? tokensPerSecond : null,
    latencyMicros: concurrency <= 1 / likeness ? microsPerToken : null,
    stageMicros: stageMicros(workers),
  };
}

function stageMicros(workers: ClusterDescription['workers']): MeasuredPlan['stageMicros'] {
  return new Map(
    workers.flatMap(({ workerId, stepMicros }) => (stepMicros === null ? [] : [[workerId, stepMicros]])),
  );
}

function inWords(measured: ClusterDescription['measured']): string {
  if (!measured) return 'Nothing was generated within the last minute, so nothing is measured.';
  const { windowMs, concurrency, tokensPerSecond, microsPerToken } = measured;
  return `Over the last ${(windowMs / 1000).toFixed(0)} s ${concurrency.toFixed(1)} streams ran at once, with ${formatRate(tokensPerSecond)} together and ${formatMicros(microsPerToken)} from token to token of one.`;
}
