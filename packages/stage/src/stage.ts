import type { StepTime } from '@butterfly/common';
import type { ModelSpec } from '@butterfly/model';
import type { TensorSource } from '@butterfly/weights';
import type { CacheType, Step, StepResult, WorkerProfile } from '@butterfly/wire';
import type { StageFaults } from './faults.js';
import type { LayerRange } from './loading/stage-weights.js';

/** A stage that is ready to serve. */
export interface WarmStage {
  /** Expected times of steps as they are computed, rows ascending. */
  readonly curve: readonly StepTime[];
  /** Whether a row has the same numbers to the last bit whatever other rows are in its step. */
  readonly isBatchInvariant: boolean;
}

/** The result of a step in a stage. The views are void as soon as the next step runs. */
export interface StageResult {
  /** F32 [rows, crossing width] for the next stage; null on the last. */
  readonly activations: Uint8Array | null;
  /** F32 [logitRows, vocabulary] on the last stage when wanted; whoever reads them may write to them, too. */
  readonly logits: Float32Array | null;
  /** F32 [width] of each sequence of the step that wants an embedding, in turn. */
  readonly vectors?: readonly Float32Array[];
  /**
   * F32 [rows]: sums of what each row has on its way, and on the last stage F32 [logitRows], of what logits are made of. They
   * show differences that the quantizing before the last product levels.
   */
  readonly rowSums?: readonly Float32Array[];
  /** Null where all numbers are finite. */
  readonly faults: StageFaults | null;
  /**
   * Of a last stage with a head: given what was sampled, makes guesses of how each sequence goes on; once, before the next step
   * is prepared.
   */
  readonly guess?: (outputs: StepResult['outputs']) => Promise<GuessedOutputs>;
  /** Native compute time. */
  readonly computeMicros: number;
}

/** What was sampled in a step, with guesses of what follows. */
export interface GuessedOutputs {
  readonly outputs: StepResult['outputs'];
  /** F32 [guessed sequences, vocabulary], of which the likeliest are the guesses; void as soon as the next step runs. */
  readonly logits: Float32Array | null;
}

/** Which tokens may come next, of sequences with a constraint: the masks of the step that is computed. */
export interface TokenMasks {
  /**
   * By id of the sequence a mask for each row that is sampled; bit 0 of its first word is token 0. The words are overwritten
   * once `accept` was called.
   * @throws ButterflyError COMPUTE_FAILED
   */
  ready(): Promise<ReadonlyMap<number, readonly Int32Array[]>>;
  /** What was sampled in that step. */
  accept(outputs: StepResult['outputs']): void;
}

/** Draws tokens from the logits of the last stage. */
export interface StageSampler extends Disposable {
  /**
   * @param logits of all sequences in turn, which it may overwrite; null in the midst of prompts.
   * @param faults of the step, if there are any.
   */
  sample(
    sequences: Step['sequences'],
    logits: Float32Array | null,
    faults?: StageFaults | null,
  ): Promise<StepResult['outputs']>;
}

/**
 * Computes a step that is prepared.
 * @param payload token ids I32 [rows] on the first stage, else activations F32 [rows, crossing width].
 * @param tokens the same ids on a later stage, where its layers read them; ignored elsewhere.
 */
export type ComputeStep = (payload: Uint8Array, tokens?: Uint8Array) => Promise<StageResult>;

/** What a stage takes at once: a step with what comes to this stage. */
export type StageStep = Pick<Step, 'copies' | 'sequences' | 'payload'> & { readonly tokens?: Uint8Array };

/**
 * A contiguous range of layers that computes steps. `StageRuntime` is the real one; simulations have their own, held to the
 * same by `describeStage`. Disposing throws COMPUTE_INVALID while a step is computed; a second time it does nothing.
 */
export interface Stage extends Disposable {
  readonly isFirst: boolean;
  readonly isLast: boolean;
  /** Whether any stage behind this one reads token ids, which are to be sent on with the activations then. */
  readonly handsOnTokens: boolean;
  readonly shardBytes: number;
  /** Of `shardBytes`, what other stages of the process had loaded when it was made. */
  readonly sharedBytes: number;
  readonly arenaBytes: number;
  /** Bytes of the file that are there after `load`, which reads those that are not shared. */
  readonly fileBytes: number;
  /** @param onProgress may throw to end it. */
  load(source: TensorSource, onProgress?: (loadedBytes: number) => void): Promise<void>;
  /** Runs a few steps after `load`, to be at full speed from the first one. @param onStep may throw to end it. */
  warmUp(
    profile: Pick<WorkerProfile, 'layerCurve' | 'kindCurves' | 'hostExperts' | 'outputCurve'>,
    onStep?: () => void,
  ): Promise<WarmStage>;
  /**
   * Does all of a step that needs no activations; the returned function does the rest, once.
   * @throws ButterflyError COMPUTE_INVALID for a step that does not fit this stage, COMPUTE_FAILED
   */
  prepare(step: Pick<Step, 'copies' | 'sequences'>): ComputeStep;
  /** The caller disposes it, and the masks, without which sequences must have no constraint. */
  createSampler(masks?: TokenMasks): StageSampler;
}

/** What a stage is to be, but for the machine that it runs on. */
export interface StageRequest {
  readonly spec: ModelSpec;
  readonly range: LayerRange;
  /**
   * On a device that is not the host: the experts of so many of its layers, the first ones, lie in the memory of the host and
   * are computed there. None by default; without effect on the CPU.
   */
  readonly hostExperts?: number;
  /** In tokens. */
  readonly arenaSlots: number;
  /** Type of the cached keys and values; the same in all stages of a model. */
  readonly cacheType: CacheType;
  /** Most rows of one step. */
  readonly rowsMax: number;
  /**
   * Computes on the plain path alone: what a row gives depends on nothing else in its step, nor on chunks, threads or
   * how the model is split. Every step is computed with whole groups of eight rows, so that a lone sequence decodes as
   * slowly as eight of them, and attention is not split over threads nor tiled.
   */
  readonly isDeterministic: boolean;
}

/** Makes the stages of a worker. */
export interface StageFactory {
  /** Allocates; `load` must run before the first step. @throws ButterflyError COMPUTE_FAILED when memory is short */
  create(request: StageRequest): Stage;
}
