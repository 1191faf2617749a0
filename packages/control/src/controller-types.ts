import type { ButterflyError } from '@butterfly/common';
import type { Plan, PlanStage } from '@butterfly/planning';
import type { Member } from './members.js';
import type { SharedByControllers } from './shared-by-controllers.js';

/** A plan with the shard of each of its stages. */
export interface Target {
  readonly plan: Plan;
  /** In the order of the stages. */
  readonly shardIds: readonly string[];
}

/** A plan in force, told apart from all before it by its epoch. */
export interface EpochPlan extends Target {
  readonly epoch: number;
}

/** A worker that joins, with the shards that it has from before. */
export interface Joining {
  readonly member: Member;
  readonly heldShards: readonly string[];
}

/** How far the plan in force is, or the one on its way. */
export type Phase =
  | { readonly kind: 'waiting' }
  | { readonly kind: 'preparing'; readonly target: Target; readonly movedMs: number }
  | {
      readonly kind: 'starting';
      readonly current: EpochPlan;
      readonly ready: ReadonlySet<string>;
      readonly sinceMs: number;
    }
  | { readonly kind: 'canary'; readonly current: EpochPlan; readonly sinceMs: number }
  | { readonly kind: 'live'; readonly current: EpochPlan };

export type ControllerEvent =
  /** A worker has joined and measured itself. */
  | ({ readonly kind: 'joined' } & Joining)
  /** Workers of another replica come here, and nobody else is to be waited for. */
  | { readonly kind: 'gathered'; readonly joining: readonly Joining[] }
  /** In order when it said goodbye, or went to another replica. */
  | { readonly kind: 'left'; readonly workerId: string; readonly isOrderly: boolean }
  | { readonly kind: 'progress'; readonly workerId: string; readonly shardId: string }
  | { readonly kind: 'prepared'; readonly workerId: string; readonly shardId: string }
  | {
      readonly kind: 'unprepared';
      readonly workerId: string;
      readonly shardId: string;
      readonly error: ButterflyError;
    }
  | { readonly kind: 'ready'; readonly workerId: string; readonly epoch: number }
  /** A stage gave up; `isLink` when it lost a neighbour and nothing is wrong with itself. */
  | {
      readonly kind: 'failed';
      readonly workerId: string;
      readonly epoch: number;
      readonly error: ButterflyError;
      readonly isLink: boolean;
    }
  | { readonly kind: 'canaryPassed'; readonly epoch: number }
  /** A step of this epoch missed its deadline. */
  | { readonly kind: 'stalled'; readonly epoch: number }
  /** Its numbers were other than those of another worker, and one of the two is wrong. */
  | {
      readonly kind: 'distrusted';
      readonly workerId: string;
      readonly verifierId: string;
      readonly error: ButterflyError;
    }
  /** What is known of the links between workers has changed, or of the memory that others leave. */
  | { readonly kind: 'linksChanged' }
  | { readonly kind: 'drain'; readonly workerId: string }
  /** It is to be emptied no more. */
  | { readonly kind: 'keep'; readonly workerId: string }
  | { readonly kind: 'tick'; readonly isIdle: boolean };

export type ControllerAction =
  | {
      readonly kind: 'prepare';
      readonly workerId: string;
      readonly shardId: string;
      readonly stage: PlanStage;
      readonly plan: Plan;
    }
  | { readonly kind: 'release'; readonly workerId: string; readonly shardId: string }
  /** Make stages of the prepared shards. */
  | { readonly kind: 'assign'; readonly current: EpochPlan }
  /** Tell the workers that the epoch is over; drop its frames. */
  | { readonly kind: 'retire'; readonly current: EpochPlan }
  /** Send one token through all stages. */
  | { readonly kind: 'canary'; readonly current: EpochPlan }
  | { readonly kind: 'live'; readonly current: EpochPlan }
  /** The links of this plan may be to blame: measure them. */
  | { readonly kind: 'measureLinks'; readonly plan: Plan }
  /** Ends the connection with that error. */
  | { readonly kind: 'drop'; readonly workerId: string; readonly error: ButterflyError }
  /** The worker is empty: say goodbye to it. */
  | { readonly kind: 'dismiss'; readonly workerId: string }
  | { readonly kind: 'drainRefused'; readonly workerId: string; readonly error: ButterflyError };

export interface ControllerConfig {
  /** Workers to wait for before the first plan. */
  readonly workersExpected: number;
  /** How long to wait for more workers after one joined. */
  readonly gatherMs: number;
  /** A plan of fewer stages is replaced as soon as one of more can be made. */
  readonly stagesMin: number;
  /** Second copies of shards, to be held by workers that have nothing else to do. */
  readonly spares: number;
  /** What all replicas of a cluster have in common. */
  readonly shared: SharedByControllers;
  /** @throws ButterflyError MODEL_TOO_LARGE when these members cannot hold the model. */
  readonly plan: (members: readonly Member[]) => Plan;
  /** The same ranges with substitutes in the places of others; null when that does not fit. */
  readonly repair: (
    plan: Plan,
    substitutes: ReadonlyMap<string, string>,
    members: readonly Member[],
  ) => Plan | null;
  /** The same for whatever makes the same shard. */
  readonly shardIdOf: (stage: Pick<PlanStage, 'layerStart' | 'layerEnd' | 'host'>, plan: Plan) => string;
}
