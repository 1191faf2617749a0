import type { LoadedBytes, StepTime } from '@butterfly/common';
import type { WorkerState } from '@butterfly/control';
import type { SpeedFigures } from '@butterfly/engine';
import type { KindTimes } from '@butterfly/model';
import type { Link, Plan } from '@butterfly/planning';
import type { CacheType, StageReport } from '@butterfly/wire';

/** What was measured of a link; times and speeds as in a plan. */
export interface LinkDescription extends Link {
  /** Null stands for the orchestrator. */
  readonly toWorkerId: string | null;
}

/** What a worker measured of itself for this model. */
export interface ProfileDescription {
  /** Time of a layer as they are on average by rows. */
  readonly layerCurve: readonly StepTime[];
  /** Of one layer of each kind that was measured by itself; absent where all layers are alike. */
  readonly kindCurves?: readonly KindTimes[] | undefined;
  /** Time of norm, head and sampling by rows. */
  readonly outputCurve: readonly StepTime[];
  readonly attentionMicros: Readonly<Partial<Record<CacheType, number>>>;
  readonly diskBytesPerSecond: number;
  /** Bytes of this model in its cache on disk. */
  readonly cachedBytes: number;
  readonly hasFiles: boolean;
}

/** The memory of its machine, for a worker on a card. */
export interface HostDescription {
  /** What it offers, which the workers of a machine share. */
  readonly memoryBytes: number;
  /** What the plan in force takes of it; 0 outside of it. */
  readonly plannedBytes: number;
  /** Layers, the first of its stage, that have their experts there. */
  readonly expertLayers: number;
}

/** A worker, what it holds, and what is known of it. */
export interface WorkerDescription {
  readonly workerId: string;
  /** As people call it; not necessarily unique. */
  readonly name: string;
  /** Of Butterfly there; null of servers that do not tell. */
  readonly version: string | null;
  /** With what it computes: the same words for those that compute alike; null of servers that do not tell. */
  readonly kernels: string | null;
  readonly state: WorkerState;
  /** Number of the replica that it belongs to, from 1; null until it has measured itself. */
  readonly replica: number | null;
  /** Of the plan in force, both included. */
  readonly layers: readonly [first: number, last: number] | null;
  /** Time of a step of one row in its stage as it was of late, to be held against `decodeMicros`; null where none was. */
  readonly stepMicros: number | null;
  /** Where it computes; of the CPU, which of ggml's variants. */
  readonly device: {
    readonly name: string;
    readonly kind: 'cpu' | 'gpu' | 'integrated';
    readonly description: string;
  };
  readonly threads: number;
  /** What it offers. */
  readonly memoryBytes: number;
  /** What it takes, as it said when it had loaded. */
  readonly residentBytes: number | null;
  /** What a worker on a card has in the memory of its machine; null for one on the CPU, which has all there. */
  readonly host: HostDescription | null;
  /** While it loads. */
  readonly loading: { readonly loadedBytes: number; readonly totalBytes: number } | null;
  /** Where the bytes of its last shard came from. */
  readonly loaded: LoadedBytes | null;
  /** Null until it has measured itself. */
  readonly profile: ProfileDescription | null;
  readonly links: readonly LinkDescription[];
}

/** What was computed twice since the server started. */
export interface VerificationDescription {
  /** The share of requests that is. */
  readonly rate: number;
  /** Stages of the live plan, from 0, that somebody can compute a second time. */
  readonly stages: readonly number[];
  /** Steps that the second worker has yet to answer for. */
  readonly pendingSteps: number;
  readonly sequences: number;
  readonly steps: number;
  readonly rows: number;
  /** Sequences that were followed no further, since the other worker, or a neighbour's word, came too late. */
  readonly abandoned: number;
  /** The largest difference of a row of activations, in parts of its length. */
  readonly differenceMax: number;
}

/** One pipeline with all layers of the model; a cluster may have several. */
export interface ReplicaDescription {
  /** From 1. */
  readonly replica: number;
  readonly isReady: boolean;
  /** What is missing, or that nothing is. */
  readonly detail: string;
  /** Of the plan in force. */
  readonly epoch: number | null;
  readonly plan: Plan | null;
  /** Requests that hold a place in its cache, and that wait for one. */
  readonly running: number;
  readonly queued: number;
  /** What spare workers computed a second time; null without `--verify`. */
  readonly verification: VerificationDescription | null;
}

/** What has become of the wish to have a worker emptied. */
export interface DrainDescription {
  /** Of the worker when it was asked for: one that is lost comes back under another id. */
  readonly workerId: string;
  readonly name: string;
  /** Lost before it was empty: it is emptied on when it comes back. Gone: it left in order. Kept: the others could not go without it. */
  readonly state: 'draining' | 'lost' | 'gone' | 'kept';
}

/** The cluster as people and tools see it, and one of its models: plain values, written as JSON by `GET /cluster`. */
export interface ClusterDescription {
  /** Whose plan, replicas and workers' states these are; null where none is loaded. */
  readonly model: {
    readonly id: string;
    readonly layers: number;
    /** Of the KV arena, in tokens. */
    readonly arenaSlots: number;
  } | null;
  readonly isReady: boolean;
  /** What is missing, or that nothing is. */
  readonly detail: string;
  /** Of the first replica, for a cluster that has but one. */
  readonly epoch: number | null;
  readonly plan: Plan | null;
  /** At least one, of a model that is loaded. */
  readonly replicas: readonly ReplicaDescription[];
  /** Null while no token came within the last minute. */
  readonly measured: SpeedFigures | null;
  readonly workers: readonly WorkerDescription[];
  /** Those that go on, and of late. */
  readonly drains: readonly DrainDescription[];
  /** What whoever runs it should know, although it serves: a sentence each. */
  readonly notes: readonly string[];
  /** Why the last plan could not be made or carried out. */
  readonly trouble: { readonly code: string; readonly message: string } | null;
}

/** A worker as the outside sees it. */
export interface WorkerView {
  readonly workerId: string;
  readonly name: string;
  /** Where it computes. */
  readonly device: string;
  readonly threads: number;
  /** Number of the replica that it belongs to, from 1; null where there can be only one. */
  readonly replica: number | null;
  readonly layers: readonly [first: number, last: number] | null;
  readonly loadedBytes: number;
  readonly totalBytes: number;
  /** Of the shard that serves; null without one. */
  readonly report: StageReport | null;
}

/** What the administration routes need of a cluster. */
export interface ClusterView {
  /** @param modelId of a loaded model; by default the first. @throws ButterflyError NOT_FOUND */
  describe(modelId?: string): ClusterDescription;
  /**
   * Begins to empty a worker: its layers go to others, and then it is told goodbye and leaves the description.
   * @throws ButterflyError NOT_FOUND, or what keeps the others from running the model
   */
  drain(workerId: string): void;
  /**
   * Cuts a worker off, whose certificate is good for nothing from then on.
   * @throws ButterflyError NOT_FOUND; JOIN_REFUSED where there are no certificates
   */
  revoke(workerId: string): Promise<void>;
}
