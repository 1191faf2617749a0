import { ButterflyError, deadlines } from '@butterfly/common';
import type { Plan } from '@butterfly/planning';
import type { ControllerAction, Target } from './controller-types.js';
import type { Members } from './members.js';
import { missingStages, shardOf } from './target.js';

/** What workers are told to load and to let go; what each holds is kept in step with it. */
export class Orders {
  #actions: ControllerAction[] = [];

  constructor(private readonly members: Members) {}

  /** All that was decided since the last call. */
  take(): ControllerAction[] {
    return this.#actions.splice(0);
  }

  add(action: ControllerAction): void {
    this.#actions.push(action);
  }

  /** Whoever is not ready after a time without any progress hangs. */
  dropHanging(target: Target): void {
    const error = new ButterflyError('TIMEOUT', `Loading made no progress for ${deadlines.loadStallMs} ms.`);
    for (const index of missingStages(target, this.members))
      this.add({ kind: 'drop', workerId: target.plan.stages[index]?.workerId ?? '', error });
  }

  /** Has every worker of the target load its shard, unless it does or did; what it kept it tells of at once. */
  prepare(target: Target): void {
    for (const [index, { workerId }] of target.plan.stages.entries()) this.load(workerId, target, index);
  }

  releaseAllBut(workerId: string, kept: readonly (string | null)[]): void {
    for (const shardId of this.members.shardsOf(workerId)) {
      if (kept.includes(shardId)) continue;
      this.members.unhold(workerId, shardId);
      this.#actions.push({ kind: 'release', workerId, shardId });
    }
  }

  /** Workers of these targets keep what they have in them, and nothing else. */
  keepOnly(targets: readonly Target[], plan: Plan): void {
    for (const { workerId } of plan.stages)
      this.releaseAllBut(
        workerId,
        targets.map((target) => shardOf(target, workerId)),
      );
  }

  /** Has a worker load the shard of that stage, unless it does or did. */
  load(workerId: string, { plan, shardIds }: Target, stageIndex: number): void {
    const stage = plan.stages[stageIndex];
    const shardId = shardIds[stageIndex];
    if (!stage || shardId === undefined) return;
    const holding = this.members.holds(workerId, shardId);
    if (holding === 'loading' || holding === 'held') return;
    this.members.order(workerId, shardId, stage);
    this.#actions.push({ kind: 'prepare', workerId, shardId, stage, plan });
  }
}
