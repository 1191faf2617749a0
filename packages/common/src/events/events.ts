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

/** What a step computed of one sequence. */
export interface StepPart {
  readonly sequenceId: number;
  /** Position of its first row: how many tokens were cached before it. */
  readonly positionStart: number;
  readonly rows: number;
  /** Of these rows, those that were guesses. */
  readonly guesses: number;
}

/** Why a sequence is over. `cancelled`: nobody wants more of it. `lost`: workers were lost too often while it ran. */
export type SequenceEnd = 'stop' | 'length' | 'embedding' | 'cancelled' | 'expired' | 'failed' | 'lost';

/** What happens to steps and sequences, told by the engine. A sequence is one prompt with its answer; a request may have several. */
export type EngineEvent =
  | {
      readonly kind: 'sequenceQueued';
      readonly sequenceId: number;
      /** Null for what no client asked for, such as guesses. */
      readonly requestId: string | null;
      readonly promptTokens: number;
    }
  | {
      readonly kind: 'stepDone';
      /** From 1. */
      readonly replica: number;
      readonly stepId: number;
      readonly rows: number;
      readonly parts: readonly StepPart[];
      /** From its forming to its result. */
      readonly elapsedMicros: number;
      /** Of each stage: native compute, and its own code around it. */
      readonly stageTimes: readonly { readonly computeMicros: number; readonly hostMicros: number }[];
      /** Forming the step and handing it to the socket. */
      readonly scheduleMicros: number;
      /** Taking the result in, without what the next step takes. */
      readonly completeMicros: number;
    }
  /** A step missed its deadline, and its epoch is given up. */
  | { readonly kind: 'stepStalled'; readonly waitedMs: number }
  /** So many tokens of its answer came with a step. */
  | { readonly kind: 'tokensCame'; readonly sequenceId: number; readonly tokens: number }
  | {
      readonly kind: 'sequenceEnded';
      readonly sequenceId: number;
      readonly reason: SequenceEnd;
      /** Tokens of its prompt that were not computed for it; null where that is not known. */
      readonly cachedPromptTokens: number | null;
    }
  /** The numbers of a request became NaN or infinite. */
  | {
      readonly kind: 'numbersFailed';
      readonly sequenceId: number;
      /** Null for what no client asked for. */
      readonly requestId: string | null;
    };

/** Which trace a request is part of, as its client says: the headers of W3C Trace Context, unread. */
export interface TraceContext {
  readonly traceparent: string;
  /** Absent where there is none. */
  readonly tracestate?: string;
}

/** What happens to requests, told by the API. */
export type RequestEvent =
  /** Somebody asks for something to be computed. */
  | {
      readonly kind: 'requestArrived';
      readonly requestId: string;
      readonly route: string;
      /** Absent where its client says nothing of a trace. */
      readonly trace?: TraceContext;
    }
  /** Its model is there, and its prompt made. */
  | {
      readonly kind: 'requestBegun';
      readonly requestId: string;
      /** The id of the key that it came with; null without. */
      readonly tenant: string | null;
      readonly isStream: boolean;
      readonly promptTokens: number;
    }
  /** Its answer is complete, or was given up. */
  | {
      readonly kind: 'requestEnded';
      readonly requestId: string;
      readonly completionId: string;
      readonly totalMs: number;
      readonly promptTokens: number;
      readonly outputTokens: number;
    }
  /** The response is out, or nobody is left to read it. */
  | {
      readonly kind: 'responseSent';
      readonly requestId: string;
      readonly method: string;
      /** As it is declared, such as `/cluster/workers/:name/drain`; null for what is not there. */
      readonly route: string | null;
      /** Of HTTP. */
      readonly status: number;
      readonly elapsedMs: number;
    }
  /** A request was refused, or failed before anything of its answer went out. */
  | {
      readonly kind: 'requestFailed';
      readonly requestId: string;
      readonly method: string;
      /** Without what follows a question mark. */
      readonly path: string;
      /** Of HTTP. */
      readonly status: number;
      readonly error: ButterflyError;
    }
  /** The certificate of the API was replaced in its files: new connections see the new one, or still the old one. */
  | { readonly kind: 'certificateReplaced'; readonly expiresAt: string }
  | { readonly kind: 'certificateUnusable'; readonly reason: string }
  /** A client does not read its stream, so its request is cancelled. */
  | { readonly kind: 'readerTooSlow'; readonly requestId: string }
  /** An answer that an earlier process began goes on, behind so many lines of its journal. */
  | {
      readonly kind: 'requestRestored';
      readonly requestId: string;
      readonly route: string;
      readonly lines: number;
    }
  /** The client of an answer did not come back in time, so it is cancelled. */
  | { readonly kind: 'requestAbandoned'; readonly requestId: string; readonly graceMs: number }
  /** A request, or all of them for null, is not kept, or does not go on from what was kept. */
  | { readonly kind: 'journalFailed'; readonly requestId: string | null; readonly error: ButterflyError }
  /** A stream ended with an error after its head had gone out. */
  | {
      readonly kind: 'streamBroken';
      readonly requestId: string;
      readonly isClientGone: boolean;
      readonly error: ButterflyError;
    };

/** What becomes of the traces of requests, told by who sends them. */
export type TraceEvent =
  /** Nothing is told of those that follow, until some are taken again. */
  | {
      readonly kind: 'tracesNotTaken';
      /** As `host:port`. */
      readonly collector: string;
      readonly reason: string;
    }
  | { readonly kind: 'tracesTakenAgain'; readonly collector: string; readonly lostSpans: number };

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
export type ButterflyEvent = (ClusterEvent | EngineEvent | RequestEvent | TraceEvent | ProcessEvent) & {
  /** Of which model it is; absent for what is not of one. */
  readonly modelId?: string;
};

export type EventOf<K extends ButterflyEvent['kind']> = Extract<ButterflyEvent, { readonly kind: K }>;

/** Takes what happens, at once and without throwing: it is called where it happens. */
export type Observer = (event: ButterflyEvent) => void;

/** Tells the same to another one, and of which model it is. */
export function observerOfModel(observe: Observer, modelId: string): Observer {
  return (event) => observe({ ...event, modelId });
}
