import type { ControlMessageOf, Step } from '@butterfly/common';
import type { ModelSpec } from '@butterfly/model';
import type { EpochPlan } from './controller.js';
import { addressFor, type WorkerLink } from './worker-link.js';

/** Of no step of the scheduler, which counts from 0. */
export const canaryStepId = Number.MAX_SAFE_INTEGER;

/** What each worker of a plan is told, later stages first, so that they expect their links when the earlier ones dial. */
export function assignments(
  { epoch, plan }: EpochPlan,
  workers: ReadonlyMap<string, WorkerLink>,
  model: { readonly spec: ModelSpec; readonly arenaSlots: number; readonly rowsMax: number },
  linkToken: string,
): { readonly worker: WorkerLink; readonly message: ControlMessageOf<'assign'> }[] {
  return [...plan.stages.entries()].reverse().flatMap(([index, stage]) => {
    const worker = workers.get(stage.workerId);
    if (!worker) return [];
    const following = plan.stages[index + 1];
    const next = following ? workers.get(following.workerId) : undefined;
    const message = {
      kind: 'assign',
      epoch,
      stageIndex: index,
      stageCount: plan.stages.length,
      layerStart: stage.layerStart,
      layerEnd: stage.layerEnd,
      model: model.spec,
      arenaSlots: model.arenaSlots,
      cacheType: plan.cacheType,
      rowsMax: model.rowsMax,
      next: next
        ? { host: addressFor(worker, next), port: next.identity.dataPort, workerId: next.workerId }
        : null,
      linkToken,
    } as const;
    return [{ worker, message }];
  });
}

/** One token at the start of the arena; whatever it leaves there is overwritten. It also warms every stage up. */
export function canaryStep(epoch: number, arenaSlots: number): Step {
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
      },
    ],
    stageTimes: [],
    payload: new Uint8Array(4),
  };
}
