import type { ButterflyError, ErrorCode } from '../errors.js';

/** Where the bytes of a shard came from. */
export interface LoadedBytes {
  readonly fileBytes: number;
  readonly cacheBytes: number;
  readonly peerBytes: number;
  readonly orchestratorBytes: number;
  readonly elapsedMs: number;
}

/** A peer broke the protocol, and was cut off. */
export interface BrokenProtocol {
  readonly kind: 'protocolBroken';
  /** Its address, as `host:port`. */
  readonly peer: string;
  /** Who its certificate proves it to be; null for one without. */
  readonly member: string | null;
  /** What was wrong. */
  readonly reason: string;
  /** How often it did so, as far as that is remembered. */
  readonly offences: number;
  /** How long it is not let in; 0 where that is not done. */
  readonly keptOutMs: number;
}

/** Layers, both included. */
export type LayerRange = readonly [first: number, last: number];

/** A stage of a plan: which worker computes which layers. */
export interface EventStage {
  readonly workerId: string;
  readonly layerStart: number;
  readonly layerEnd: number;
}

/** What happens to the workers of a cluster and to its plans, told by the orchestrator. */
export type ClusterEvent =
  /** It has measured itself, and its links are measured. */
  | {
      readonly kind: 'workerJoined';
      readonly workerId: string;
      readonly name: string;
      readonly memoryBytes: number;
      readonly threads: number;
    }
  | {
      readonly kind: 'workerLeft';
      readonly workerId: string;
      readonly name: string;
      readonly isOrderly: boolean;
      readonly reason: string;
    }
  /** A stranger with a join token was given a certificate, with which it comes back. */
  | { readonly kind: 'workerEnrolled'; readonly peer: string; readonly member: string }
  /** Somebody who dialled was not admitted, or left before that. */
  | {
      readonly kind: 'strangerLeft';
      readonly peer: string;
      readonly code: ErrorCode | undefined;
      readonly reason: string;
    }
  /** Of whoever dials the orchestrator: a worker has an id and a name once it has joined. */
  | (BrokenProtocol & { readonly workerId: string | null; readonly name: string | null })
  /** Kernels of unlike workers do not promise the same bytes. */
  | { readonly kind: 'kernelsDiffer'; readonly workerId: string; readonly words: string }
  /** A worker computed the same as another, and came to different numbers: both are left out where that can be. */
  | {
      readonly kind: 'numbersApart';
      readonly workerId: string;
      readonly name: string;
      readonly verifierId: string;
      readonly verifierName: string;
      readonly layers: LayerRange;
      readonly words: string;
    }
  /** A worker goes from one replica to another. */
  | {
      readonly kind: 'workerMoved';
      readonly workerId: string;
      readonly from: number;
      readonly to: number;
    }
  | {
      readonly kind: 'shardOrdered';
      readonly workerId: string;
      readonly shardId: string;
      readonly layers: LayerRange;
    }
  | ({ readonly kind: 'shardLoaded'; readonly workerId: string; readonly shardId: string } & LoadedBytes)
  /** All shards of a plan are there, and its stages dial each other. */
  | { readonly kind: 'stagesLinking'; readonly epoch: number }
  | {
      readonly kind: 'planLive';
      readonly replica: number;
      readonly epoch: number;
      readonly stages: readonly EventStage[];
    }
  /** An epoch is over: what ran in it begins again in the next. */
  | { readonly kind: 'planRetired'; readonly replica: number; readonly epoch: number }
  /** A worker could not load a shard, or gave a stage up. */
  | {
      readonly kind: 'workerFailed';
      readonly workerId: string;
      readonly name: string;
      readonly code: string;
      readonly message: string;
    }
  /** A worker is planned for as so many times as slow as it measured itself. */
  | {
      readonly kind: 'workerPaced';
      readonly workerId: string;
      readonly name: string | undefined;
      readonly factor: number;
    }
  | {
      readonly kind: 'sparesLacking';
      readonly replica: number;
      readonly isPassing: boolean;
      readonly words: string;
    }
  /** A worker that was to be emptied stays, because the others cannot go without it. */
  | { readonly kind: 'drainRefused'; readonly workerId: string; readonly reason: string }
  /** A worker that was lost before it was empty is emptied on. */
  | { readonly kind: 'drainResumed'; readonly workerId: string; readonly name: string }
  /** A defect of the planner; what is live goes on. */
  | { readonly kind: 'planningFailed'; readonly error: ButterflyError; readonly cause: unknown }
  | { readonly kind: 'cacheTypeChosen'; readonly cacheType: string; readonly reason: string }
  /** A file of the model is not what it was: harmless without a code, since the opened file is served on. */
  | { readonly kind: 'modelFileChanged'; readonly words: string; readonly code: ErrorCode | null }
  /** A worker asked for bytes of the model that it could not have. */
  | {
      readonly kind: 'weightsRefused';
      readonly workerId: string;
      readonly code: ErrorCode;
      readonly message: string;
    };

/** What happens to steps and requests, told by the engine and the API. */
export type RequestEvent =
  | {
      readonly kind: 'stepDone';
      readonly rows: number;
      /** Of each stage: native compute, and its own code around it. */
      readonly stageTimes: readonly { readonly computeMicros: number; readonly hostMicros: number }[];
      /** Forming the step and handing it to the socket. */
      readonly scheduleMicros: number;
      /** Taking the result in, without what the next step takes. */
      readonly completeMicros: number;
    }
  /** A step missed its deadline, and its epoch is given up. */
  | { readonly kind: 'stepStalled'; readonly waitedMs: number }
  | {
      readonly kind: 'requestEnded';
      readonly requestId: string;
      readonly completionId: string;
      readonly totalMs: number;
    }
  /** A request was refused, or failed before anything of its answer went out. */
  | {
      readonly kind: 'requestFailed';
      readonly requestId: string;
      readonly method: string;
      readonly url: string;
      /** Of HTTP. */
      readonly status: number;
      readonly error: ButterflyError;
    }
  /** The certificate of the API was replaced in its files: new connections see the new one, or still the old one. */
  | { readonly kind: 'certificateReplaced'; readonly expiresAt: string }
  | { readonly kind: 'certificateUnusable'; readonly reason: string }
  /** The numbers of a request became NaN or infinite. */
  | { readonly kind: 'numbersFailed'; readonly sequenceId: number }
  /** A client does not read its stream, so its request is cancelled. */
  | { readonly kind: 'readerTooSlow'; readonly requestId: string }
  /** A stream ended with an error after its head had gone out. */
  | {
      readonly kind: 'streamBroken';
      readonly requestId: string;
      readonly isClientGone: boolean;
      readonly error: ButterflyError;
    };

/** What happens to the worker processes of this machine, told by who started them. */
export type ProcessEvent =
  | { readonly kind: 'localWorkerStarted'; readonly name: string; readonly workerPid: number | undefined }
  | { readonly kind: 'localWorkerSentAway'; readonly name: string }
  | {
      readonly kind: 'localWorkerEnded';
      readonly name: string;
      readonly code: number | null;
      readonly signal: string | null;
      readonly restarts: number;
      /** What it said at its end. */
      readonly error?: string;
    }
  /** A model that was asked for is loaded. */
  | { readonly kind: 'modelLoaded'; readonly modelId: string }
  | { readonly kind: 'modelNotLoaded'; readonly modelId: string; readonly error: ButterflyError }
  | { readonly kind: 'modelUnloading'; readonly modelId: string }
  /** A worker is not started again: it ended too often, or for a reason that lasts. */
  | {
      readonly kind: 'localWorkerGivenUp';
      readonly name: string;
      readonly lasting: ButterflyError | null;
    };

/**
 * All that happens in the process of an orchestrator, as plain values. The log is one reader; metrics, traces and pages are
 * others.
 */
export type ButterflyEvent = ClusterEvent | RequestEvent | ProcessEvent;

export type EventOf<K extends ButterflyEvent['kind']> = Extract<ButterflyEvent, { readonly kind: K }>;

/** Takes what happens, at once and without throwing: it is called where it happens. */
export type Observer = (event: ButterflyEvent) => void;
