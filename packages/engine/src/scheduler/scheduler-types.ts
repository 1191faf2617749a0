import type { StepTime } from '@butterfly/common';
import type {
  ArenaCopy,
  Pooling,
  SamplingParams,
  StepOutput,
  StepSequence,
  WindowRooms,
} from '@butterfly/wire';
import type { EngineModel, RequestTiming, TokenLogprobs } from '../types.js';

/** What a live plan allows. */
export interface SchedulerConfig {
  /** Prompt plus output of one sequence, in tokens. */
  readonly contextTokensMax: number;
  /** Slots of the KV arena; at least one whole context, so that the first in order can always finish. */
  readonly arenaSlots: number;
  /** Pipeline stages; as many steps may be in flight, and one more that goes ahead of its tokens. */
  readonly stages: number;
  /** Whether the first stage learns without the orchestrator what the last one sampled; by default if they are one. */
  readonly goesAhead?: boolean;
  /** Sequences that may hold regions of the arena at once. */
  readonly runningMax: number;
  /** Rows of one step; default 512. */
  readonly stepRowsMax?: number;
  /** Regions start and end on multiples of this many slots; default 256. */
  readonly arenaGranularity?: number;
  /** Shared prefixes are found by whole blocks of this many tokens; default 32. */
  readonly prefixBlockTokens?: number;
  /**
   * Slots for states of sequences, where layers of the model keep such: two for each that runs, two that belong to nobody,
   * and the rest for checkpoints. Such a model has prefixes in common up to a checkpoint alone, and computes again what was
   * right of guesses of which one is refused, since a state cannot be rewound. Default 0: none.
   */
  readonly stateSlots?: number;
  /**
   * Rooms for the windows of sequences, where window layers keep no more: one for each that runs, and the rest for
   * checkpoints, up to which alone prefixes are in common. Not with states. Default null: none.
   */
  readonly windows?: WindowRooms | null;
  /** Tokens of a prompt that are worth a checkpoint, where there are states or rooms; default 256. */
  readonly checkpointTokens?: number;
  /** Most guessed tokens of one sequence in one step; 0 turns speculation off; default 15. */
  readonly guessesMax?: number;
  /** Context of another model that guesses, in tokens; 0, the default, where there is none. */
  readonly draftTokensMax?: number;
  /** Most tokens that the model's own head guesses with each that it gives; 0, the default, where it has none. */
  readonly headGuessesMax?: number;
  /** What may be asked of the model; by default to continue texts, and embeddings pooled in any way but by scores. */
  readonly model?: EngineModel;
  /** Measured time of a step over its rows in each stage; by default a common CPU is assumed. */
  readonly stepCurves?: readonly (readonly StepTime[])[];
}

export interface SchedulerRequest {
  /** Never used by another living sequence; grows from one request to the next. */
  readonly id: number;
  readonly promptTokens: Int32Array;
  /** 0 where only the prompt is of interest, as of a text whose embedding is wanted. */
  readonly outputTokensMax: number;
  readonly sampling: SamplingParams;
  readonly logprobs: number | null;
  readonly promptLogprobs: number | null;
  readonly stopTokens: ReadonlySet<number>;
  /** How the embedding of the prompt is pooled, which is then all that is wanted; null or absent for tokens. */
  readonly pooling?: Pooling | null;
  /** What the output is held to, as the last stage knows it. */
  readonly constraintId?: number;
  /** Whether another worker is to compute its steps too: it shares no prefix of others, so that they are all there. */
  readonly isVerified?: boolean;
  /** The lower, the earlier; each step counts as ten seconds of waiting, so nobody waits for ever. */
  readonly priority: number;
  /** As in `GenerateRequest`. */
  readonly tenant?: string | undefined;
  /** Time of submission. */
  readonly nowMs: number;
  /** Time after which the sequence expires. */
  readonly deadlineMs: number;
}

/** A step without what only the pipeline knows: its epoch and the encoding of its payload. */
export interface PlannedStep {
  /** Grows by 1 from step to step and is never used again. */
  readonly stepId: number;
  readonly copies: readonly ArenaCopy[];
  readonly sequences: readonly StepSequence[];
  /** The rows of all sequences, one after the other. */
  readonly tokens: Int32Array;
  /** Those sequences that another worker is to compute too. */
  readonly verified: readonly number[];
}

/** The part of a `StepResult` that the scheduler needs. */
export interface SchedulerResult {
  readonly stepId: number;
  /** As in `StepResult`. */
  readonly outputs: readonly StepOutput[];
  /** Native compute of each stage. */
  readonly stageTimes?: readonly { readonly computeMicros: number }[];
}

export type SchedulerEvent =
  | { readonly kind: 'token'; readonly id: number; readonly token: number; readonly logprobs?: TokenLogprobs }
  | {
      readonly kind: 'promptToken';
      readonly id: number;
      readonly token: number;
      readonly logprobs: TokenLogprobs | null;
    }
  | {
      readonly kind: 'end';
      readonly id: number;
      readonly reason: 'stop' | 'length';
      readonly timing: RequestTiming;
      readonly cachedPromptTokens: number;
    }
  | {
      readonly kind: 'embedding';
      readonly id: number;
      readonly vector: Float32Array;
      readonly timing: RequestTiming;
    }
  | { readonly kind: 'expired'; readonly id: number }
  /** Its numbers are NaN or infinite. */
  | { readonly kind: 'failed'; readonly id: number };

export interface SchedulerStats {
  /** Sequences that hold a region. */
  readonly running: number;
  readonly waiting: number;
  /** Steps in flight. */
  readonly inFlight: number;
  /** Slots that are free or hold only what may be dropped at once. */
  readonly availableSlots: number;
}
