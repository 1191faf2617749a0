import type { StepTime } from '@butterfly/common';
import type { CacheType, WorkerProfile } from '@butterfly/wire';

/** What a plan is to be best at: the time of one token of a single stream, or tokens per second of many. */
export type Objective = 'latency' | 'throughput';
export const objectives = ['latency', 'throughput'] as const satisfies readonly Objective[];

/** A stage of a plan that is judged, with the name of its worker: `local-1` and so on for those that a program starts. */
export interface JudgedStage extends PlanStage {
  readonly name: string;
}

/** A plan that fits, before it is chosen: what an objective of one's own judges. Frozen. */
export interface JudgedPlan {
  /** In the order of the pipeline. */
  readonly stages: readonly JudgedStage[];
  readonly predicted: Prediction;
  /** Sequences at once that the throughput is predicted for. */
  readonly concurrency: number;
}

/** What plans are to be best at, as a program has it: energy, money, as few machines as can be. */
export interface OwnObjective {
  /** What is counted, for explanations: `joules per token`. */
  readonly name: string;
  /**
   * What such a plan costs: the least is chosen. Finite and at least 0, since a running cluster changes its plan where that costs a
   * tenth less. Pure and quick: it is asked about up to some thousand plans, while the cluster waits.
   */
  readonly costOf: (plan: JudgedPlan) => number;
}

/** What a plan costs by an objective of somebody's own. */
export interface OwnCost {
  readonly name: string;
  readonly cost: number;
}

/** What is wished of plans, from the command line down to whoever makes them. */
export interface PlanWishes {
  readonly objective: Objective | OwnObjective;
  /** Pipeline stages at least, where there are as many workers. */
  readonly stagesMin: number;
  /** Workers of each pipeline that hold a second copy of a shard instead of having a stage, where memory allows. */
  readonly spares: number;
  /** Pipelines at most, each with all layers, where workers and memory allow more than one. */
  readonly replicasMax: number;
}

/** Tokens per second of all requests together, in one pipeline, without spares. */
export const plainWishes: PlanWishes = Object.freeze({
  objective: 'throughput',
  stagesMin: 1,
  spares: 0,
  replicasMax: 1,
});

/** How long to look for the best plan: `quick` is for questions of what would be if. */
export type Effort = 'thorough' | 'quick';

export interface PlannerModel {
  readonly name: string;
  /** Weights of each layer; at least one layer. */
  readonly layerBytes: readonly number[];
  /** Of these, those of experts that are chosen for each token; none by default. */
  readonly expertBytes?: readonly number[];
  /** By layer, the kind that it is of: those of one kind take a worker the same time. */
  readonly layerKinds: readonly number[];
  /** By layer, what it is, where they are not alike; else blank. */
  readonly layerWords: readonly string[];
  /** Embedding: memory of the first stage. Only a row of it is read for a token, so it costs no time. */
  readonly inputBytes: number;
  /** Norm and head: memory and time of the last stage. */
  readonly outputBytes: number;
  readonly cacheType: CacheType;
  /** By layer, with a cache of that type. */
  readonly kvBytesPerSlot: readonly number[];
  /** Of the KV arena, in tokens. */
  readonly arenaSlots: number;
  /** Compute buffers and the like, for each worker. */
  readonly overheadBytes: number;
  /** The same for a worker on a card: on it, and in the memory of the host; `overheadBytes` and none by default. */
  readonly deviceOverheadBytes?: number;
  readonly hostOverheadBytes?: number;
  /** One row of activations between two stages. */
  readonly activationBytes: number;
  /** Layers that stay with the one before them, with which no stage may begin; none by default. */
  readonly joinedLayers?: ReadonlySet<number>;
}

export interface PlannerWorker {
  readonly workerId: string;
  /** As people call it. */
  readonly name: string;
  /** What it offers for weights, KV arena and compute buffers together: of a card, its own memory. */
  readonly memoryBytes: number;
  /** What a worker on a card has beside it; absent for one that computes in the memory of the host. */
  readonly host?: PlannerHost;
  /** Time of a layer as they are on average by rows, ascending. */
  readonly layerCurve: readonly StepTime[];
  /** By kind of layer: the time of one. */
  readonly curvesByKind: readonly (readonly StepTime[])[];
  /** Measured time of norm, head and sampling by rows with logits, ascending. */
  readonly outputCurve: readonly StepTime[];
}

/** Where the experts of a worker on a card may lie: where they fit, always with the host, or never. */
export const expertWishes = ['auto', 'host', 'device'] as const;
export type ExpertWish = (typeof expertWishes)[number];

/** The memory of the machine that a card is in. */
export interface PlannerHost {
  /** What it offers for the embedding and for experts, which are computed there. */
  readonly memoryBytes: number;
  readonly experts: ExpertWish;
  /** By kind of layer: the time of one whose experts lie there. */
  readonly curvesByKind: readonly (readonly StepTime[])[];
}

/** A worker that has measured itself. */
export interface PlannerMember {
  readonly workerId: string;
  readonly name: string;
  /** What it offers for weights, KV arena and compute buffers together. */
  readonly memoryBytes: number;
  /** The machine whose free memory that is, and which other workers of it offer too; absent where it is its own. */
  readonly memoryOf?: string;
  /** Of a worker on a card: what it may take of the memory of its machine. */
  readonly host?: MemberHost;
  readonly profile: Pick<
    WorkerProfile,
    'layerCurve' | 'kindCurves' | 'hostExperts' | 'outputCurve' | 'attentionMicros'
  >;
}

/** The memory beside a card, of which other workers of the machine may offer the same. */
export interface MemberHost {
  readonly memoryBytes: number;
  /** As in `PlannerMember`. */
  readonly memoryOf?: string;
  readonly experts: ExpertWish;
}

/** The link from one worker to another, or between a worker and the orchestrator. */
export interface Link {
  /** One way. */
  readonly latencyMicros: number;
  readonly bytesPerSecond: number;
  /** Whether it goes through the orchestrator, because the receiver cannot be dialled. */
  readonly isRelayed: boolean;
}

export interface PlannerInput {
  readonly model: PlannerModel;
  readonly workers: readonly PlannerWorker[];
  /** Null stands for the orchestrator. Pure and total. */
  readonly link: (fromWorkerId: string | null, toWorkerId: string | null) => Link;
  readonly objective: Objective | OwnObjective;
  /** Sequences that run at once, which the throughput is predicted for. */
  readonly concurrency: number;
  /** As many stages at least, where there are as many workers and layers; default 1. */
  readonly stagesMin?: number;
  /**
   * So many workers with the memory for a stage are left out, where the others hold the model, to be spares; default 0.
   * They come before `stagesMin`.
   */
  readonly spares?: number;
}

/** With an objective that searches know. */
export interface NamedInput extends PlannerInput {
  readonly objective: Objective;
}

/** Who computes which layers, before anything is predicted. Ends are exclusive. */
export interface Placement {
  readonly workerId: string;
  readonly layerStart: number;
  readonly layerEnd: number;
  /** On a card: of so many layers the experts lie with the host; as few as must by default. */
  readonly hostExperts?: number;
}

/** The layers from `layerStart` up to, but not including, `layerEnd`. */
export interface PlanStage {
  readonly workerId: string;
  readonly layerStart: number;
  readonly layerEnd: number;
  /** Memory that the stage takes: weights, KV arena and overhead; of a card, on it. */
  readonly bytes: number;
  /** What a stage on a card takes of the host's memory: with the experts of so many of its layers, the first ones. */
  readonly host?: { readonly bytes: number; readonly experts: number } | undefined;
  /** Time of a step of one row in this stage. */
  readonly decodeMicros: number;
  /** Of this stage's time per output token at the concurrency of the plan, prompts included. */
  readonly microsPerToken: number;
  /** Whether activations reach it through the orchestrator, and the first stage the tokens that the last one sampled. */
  readonly isRelayed: boolean;
}

/** What a plan is predicted to reach. */
export interface Prediction {
  /** Time of one token of a single stream: all stages and links once. */
  readonly latencyMicros: number;
  /** Of all sequences together, at the concurrency of the plan. */
  readonly tokensPerSecond: number;
}

/** Immutable; `assertPlan` checks it. */
export interface Plan {
  readonly objective: Objective | OwnCost;
  readonly concurrency: number;
  readonly stages: readonly PlanStage[];
  /** Of all stages. */
  readonly cacheType: CacheType;
  readonly predicted: Prediction;
  /** For every worker that was to choose from, in words for a person. */
  readonly reasons: readonly {
    readonly workerId: string;
    readonly isUsed: boolean;
    readonly reason: string;
  }[];
}

/** What the best plan reaches without one of the workers; both null where there is none. */
export interface WithoutWorker {
  readonly workerId: string;
  readonly tokensPerSecond: number | null;
  readonly latencyMicros: number | null;
}

/** What each worker is good for. */
export interface PlanExplanation {
  readonly without: readonly WithoutWorker[];
}
