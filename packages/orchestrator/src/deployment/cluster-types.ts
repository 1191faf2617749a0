import type { Clock, Logger } from '@butterfly/common';
import type { ControllerConfig, EpochPlan, Member } from '@butterfly/control';
import type { Link, Plan, ReplicaGroups } from '@butterfly/planning';
import type { StepResult, Transport } from '@butterfly/wire';
import type { ShardSettings } from './assignments.js';
import type { FileServer } from '../fleet/file-server.js';
import type { StageReport } from '../fleet/worker-link.js';

export type LinkOf = (fromWorkerId: string | null, toWorkerId: string | null) => Link;

/** Makes plans for the workers that are there. */
export interface ClusterPlanner {
  /** @throws ButterflyError MODEL_TOO_LARGE when these members cannot hold the model. */
  plan(members: readonly Member[], link: LinkOf): Plan;
  /** The same ranges with substitutes in the places of others; null when that does not fit. */
  repair(
    plan: Plan,
    substitutes: ReadonlyMap<string, string>,
    members: readonly Member[],
    link: LinkOf,
  ): Plan | null;
  /**
   * Which of them make a replica each.
   * @throws ButterflyError MODEL_TOO_LARGE when not even all of them hold the model.
   */
  split(members: readonly Member[], link: LinkOf): ReplicaGroups;
  /** Predicted tokens per second of each group as a replica; 0 for one that cannot hold the model. */
  speedsOf(groups: readonly (readonly Member[])[], link: LinkOf): readonly number[];
}

export interface ClusterOptions {
  readonly host: string;
  /** 0 lets the system choose. */
  readonly port: number;
  /** Workers must show it; null lets everybody in who can reach the port. */
  readonly token: string | null;
  readonly shards: ShardSettings;
  readonly controller: Omit<ControllerConfig, 'plan' | 'repair' | 'shardIdOf' | 'shared'>;
  /** Pipelines at most, where workers and memory allow more than one. */
  readonly replicasMax: number;
  readonly planner: ClusterPlanner;
  /** The model's files, which the cluster closes in the end; by default they are opened when they are first asked for. */
  readonly files?: FileServer | undefined;
  readonly clock: Clock;
  readonly log: Logger;
  readonly transport?: Transport;
}

/** What the engine hears from the pipeline. */
export interface PipelineHandlers {
  /** With what each stage told of itself. */
  onLive(current: EpochPlan, reports: readonly StageReport[]): void;
  /** The epoch is over; steps under way are lost. */
  onDown(): void;
  onResult(result: StepResult): void;
  /** Whether no request runs or waits. */
  isIdle(): boolean;
}
