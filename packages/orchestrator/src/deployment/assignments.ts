import { createHash } from 'node:crypto';
import { limits } from '@butterfly/common';
import type { EpochPlan } from '@butterfly/control';
import { type ModelSpec, modelFingerprint, servedHead, stateSlotsOf, windowsOf } from '@butterfly/model';
import type { Plan, PlanStage } from '@butterfly/planning';
import { type ControlMessageOf, type Step, emptyState, wasteState } from '@butterfly/wire';
import type { ShardSettings } from './deployment-types.js';
import { peerFor } from '../fleet/fleet-worker.js';
import type { ModelWorker } from '../fleet/model-worker.js';

/** Of no step of the scheduler, which counts from 0. */
export const canaryStepId = Number.MAX_SAFE_INTEGER;

/**
 * The same for the same layers of the same weights with the same settings, today and tomorrow.
 * @param name of the model, since each has caches of its own
 */
export function shardIds(
  name: string,
  settings: ShardSettings,
): (stage: Pick<PlanStage, 'layerStart' | 'layerEnd' | 'host'>, plan: Pick<Plan, 'cacheType'>) => string {
  const { spec, arenaSlots, rowsMax, isDeterministic } = settings;
  const files = modelFingerprint(spec);
  const { graph } = spec;
  const served = graph.kind === 'imported' ? [graph.contextTokens, graph.stateSlots, graph.windows] : [];
  return ({ layerStart, layerEnd, host }, { cacheType }) =>
    createHash('sha256')
      .update(
        JSON.stringify([
          name,
          files,
          arenaSlots,
          rowsMax,
          isDeterministic,
          layerStart,
          layerEnd,
          cacheType,
          ...served,
          ...(servedHead(spec) ? [{ hasHead: true }] : []),
          ...(host && host.experts > 0 ? [{ hostExperts: host.experts }] : []),
        ]),
      )
      .digest('hex')
      .slice(0, 32);
}

/** What a worker is told to load, and whom it may ask for the weights, the nearest first. */
export function preparation(
  worker: ModelWorker,
  shard: { readonly shardId: string; readonly stage: PlanStage; readonly plan: Plan },
  peers: readonly ModelWorker[],
  { arenaSlots, rowsMax }: ShardSettings,
): ControlMessageOf<'prepare'> {
  const { shardId, stage, plan } = shard;
  const sources = peers
    .filter(({ profile }) => profile !== null && (profile.hasFiles || profile.cachedBytes > 0))
    .slice(0, limits.weightSourcesMax)
    .map((each) => peerFor(worker, each));
  const { layerStart, layerEnd, host } = stage;
  const { cacheType } = plan;
  return {
    kind: 'prepare',
    shardId,
    layerStart,
    layerEnd,
    ...(host && host.experts > 0 ? { hostExperts: host.experts } : {}),
    arenaSlots,
    cacheType,
    rowsMax,
    sources,
  };
}

/** What each worker of a plan is told, later stages first, so that they expect their links when the earlier ones dial. */
export function assignments(
  { epoch, plan, shardIds: ids }: EpochPlan,
  workers: ReadonlyMap<string, ModelWorker>,
  linkToken: string,
): { readonly worker: ModelWorker; readonly message: ControlMessageOf<'assign'> }[] {
  return [...plan.stages.entries()].reverse().flatMap(([index, stage]) => {
    const worker = workers.get(stage.workerId);
    const shardId = ids[index];
    if (!worker || shardId === undefined) return [];
    const message = {
      kind: 'assign',
      epoch,
      shardId,
      stageIndex: index,
      stageCount: plan.stages.length,
      next: linkToNext(worker, plan.stages, index, workers),
      isRelayed: stage.isRelayed,
      linkToken,
    } as const;
    return [{ worker, message }];
  });
}

function linkToNext(
  worker: ModelWorker,
  stages: readonly PlanStage[],
  index: number,
  workers: ReadonlyMap<string, ModelWorker>,
): ControlMessageOf<'assign'>['next'] {
  const isLast = index === stages.length - 1;
  const following = stages[isLast ? 0 : index + 1];
  const next = workers.get(following?.workerId ?? '');
  if (!following || !next || stages.length === 1) return null;
  const { workerId } = next;
  if (!following.isRelayed) return { kind: 'direct', ...peerFor(worker, next) };
  // The orchestrator knows the tokens then, and nobody goes ahead of them.
  return isLast ? null : { kind: 'relay', workerId };
}

/** One token at the start of the arena, of an encoder a text of one; whatever it leaves there is overwritten. It also warms every stage up. */
export function canaryStep(
  epoch: number,
  {
    arenaSlots,
    spec: model,
  }: { readonly arenaSlots: number; readonly spec: Pick<ModelSpec, 'graph' | 'isEncoder'> },
): Step {
  return {
    epoch,
    stepId: canaryStepId,
    copies: [],
    sequences: [
      {
        sequenceId: 0,
        regionStart: 0,
        regionSlots: arenaSlots,
        positionStart: 0,
        rows: 1,
        logitRows: 1,
        sampling: null,
        draftTokens: new Int32Array(0),
        recentTokens: new Int32Array(0),
        logprobs: null,
        scored: null,
        state: stateSlotsOf(model) === 0 ? null : { from: emptyState, to: wasteState },
        window: windowsOf(model) && { from: 0, fromFirst: 0, to: 0, toFirst: 0 },
        ...(model.isEncoder && { pooling: 'last' }),
      },
    ],
    stageTimes: [],
    payload: new Uint8Array(4),
  };
}
