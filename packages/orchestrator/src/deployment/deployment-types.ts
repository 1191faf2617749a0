import type { ControllerConfig, EpochPlan, Member } from '@butterfly/control';
import type { Link, Plan, PlanWishes, ReplicaGroups } from '@butterfly/planning';
import type { ModelSpec } from '@butterfly/model';
import type { ButterflyError } from '@butterfly/common';
import type { NumberedConstraint } from '@butterfly/engine';
import type { StageReport, StepResult, TokenTable } from '@butterfly/wire';

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

/** What all shards of a model have in common. */
export interface ShardSettings {
  readonly spec: ModelSpec;
  readonly arenaSlots: number;
  readonly rowsMax: number;
  readonly isDeterministic: boolean;
}

/** What spare workers compute a second time, to be compared. */
export interface VerificationWishes {
  /** The share of requests, from 0 to 1. */
  readonly rate: number;
  /** A number from 0 to below 1 that nobody can foresee. */
  readonly draw: () => number;
}

/** How a model is to be deployed. */
export interface DeploymentSettings {
  /** Under which it is served; no two models at once have the same. */
  readonly name: string;
  readonly shards: ShardSettings;
  readonly wishes: PlanWishes;
  readonly gathering: Pick<ControllerConfig, 'workersExpected' | 'gatherMs'>;
  readonly planner: ClusterPlanner;
  readonly verification: VerificationWishes;
  /** What tokens stand for, for constraints; asked for when there is a first one. */
  readonly vocabulary?: (() => TokenTable) | undefined;
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
  /** What answers are held to, which a new last stage must hold before its first step. */
  constraintsInUse(): readonly NumberedConstraint[];
  /** A last stage cannot hold answers to one. */
  onConstraintRefused(id: number, error: ButterflyError): void;
}
