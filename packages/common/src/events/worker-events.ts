import type { ButterflyError, ErrorCode } from '../errors.js';
import type { StepTime } from '../step-time.js';
import type { BrokenProtocol, LayerRange, LoadedBytes } from './events.js';

/** What a worker finds out about its machine. */
type MachineEvent =
  | {
      readonly kind: 'machineMeasured';
      readonly elapsedMs: number;
      /** Whether nothing else seemed to compute meanwhile. */
      readonly isSteady: boolean;
      readonly layerCurve: readonly StepTime[];
      /** Of one layer of each kind that was measured by itself. */
      readonly kindCurves?:
        readonly { readonly layer: number; readonly curve: readonly StepTime[] }[] | undefined;
      /** The same with the experts in the memory of the host beside a card. */
      readonly hostExperts?: { readonly layerCurve: readonly StepTime[] } | undefined;
      readonly outputCurve: readonly StepTime[];
      /** By type of the cache. */
      readonly attentionMicros: Readonly<Record<string, number>>;
      readonly diskBytesPerSecond: number;
    }
  /** A part of the model does not fit the memory that is offered, and its speed is guessed. */
  | { readonly kind: 'speedGuessed'; readonly part: 'layer' | 'output' }
  | { readonly kind: 'measurementsDamaged'; readonly path: string; readonly error: ButterflyError }
  | { readonly kind: 'measurementsNotKept'; readonly directory: string; readonly error: ButterflyError }
  /** The system takes no request to keep cores awake. */
  | { readonly kind: 'coresMaySleep'; readonly cause: string };

/** What becomes of the connection to the orchestrator. */
type PresenceEvent =
  /** Told once: it did not answer the first time, and is dialled on. */
  | { readonly kind: 'orchestratorAwaited'; readonly error: ButterflyError }
  /** An attempt to reach it failed, and another one follows. */
  | { readonly kind: 'dialFailed'; readonly code: ErrorCode; readonly message: string }
  /** The worker tries to come back. */
  | { readonly kind: 'orchestratorLost'; readonly error: ButterflyError }
  | { readonly kind: 'orchestratorRejoined'; readonly workerId: string };

/** What happens to the shards and stages of a worker. */
type StageEvent =
  | { readonly kind: 'weightsLoading'; readonly shardId: string; readonly layers: LayerRange }
  | ({
      readonly kind: 'weightsLoaded';
      readonly shardId: string;
      /** Of native memory, of weights that other shards had loaded. */
      readonly sharedBytes: number;
      readonly warmUpMs: number;
    } & LoadedBytes)
  | {
      readonly kind: 'weightsNotLoaded';
      readonly shardId: string;
      readonly code: ErrorCode;
      readonly message: string;
    }
  /** Weights of these tensors are no numbers. */
  | { readonly kind: 'weightsUnsound'; readonly tensors: readonly string[] }
  /** Kernels do not keep the word of deterministic mode. */
  | { readonly kind: 'determinismBroken' }
  | {
      readonly kind: 'stageReady';
      readonly epoch: number;
      readonly layers: LayerRange;
      readonly shardId: string;
    }
  /** A stage gives its epoch up. */
  | {
      readonly kind: 'stageFailed';
      readonly epoch: number;
      readonly code: ErrorCode;
      readonly message: string;
      /** The neighbour behind a lost link. */
      readonly lostWorkerId: string | null;
    }
  /** The numbers of a request became NaN or infinite in this stage. */
  | {
      readonly kind: 'stageNumbersFailed';
      readonly epoch: number;
      readonly sequenceId: number;
      readonly layers: LayerRange;
    };

/** What happens to weights on their way, and to those that are kept on the disk. */
type WeightsEvent =
  /** The model's file on this machine is left alone for the rest of a load. */
  | { readonly kind: 'localFileLeft'; readonly code: ErrorCode; readonly error: string }
  | {
      readonly kind: 'peerLeft';
      readonly workerId: string;
      readonly code: ErrorCode;
      readonly message: string;
    }
  | { readonly kind: 'cacheNotPrepared'; readonly directory: string; readonly error: string }
  | { readonly kind: 'cacheNotRead'; readonly error: string }
  | { readonly kind: 'cacheNotWritten'; readonly error: string }
  | { readonly kind: 'cacheIndexNotRead'; readonly path: string; readonly error: string }
  | { readonly kind: 'cachedRangeRemoved'; readonly hash: string }
  | { readonly kind: 'cachedImageRemoved'; readonly name: string }
  /** Weights are kept as the kernels want them, for the next start. */
  | { readonly kind: 'imageKept'; readonly bytes: number }
  | { readonly kind: 'imageNotKept'; readonly error: string };

/** All that happens in the process of a worker, as plain values. */
export type WorkerEvent = MachineEvent | PresenceEvent | BrokenProtocol | StageEvent | WeightsEvent;

export type WorkerEventOf<K extends WorkerEvent['kind']> = Extract<WorkerEvent, { readonly kind: K }>;

/** As `Observer`, in the process of a worker. */
export type WorkerObserver = (event: WorkerEvent) => void;
