import type { Pooling } from './pooling.js';

/** How one token is drawn. Every field is explicit, so that a stage needs no memory of the request. */
export interface SamplingParams {
  /** 0 means greedy. */
  readonly temperature: number;
  /** 0 means no limit. */
  readonly topK: number;
  /** 1 means no limit. */
  readonly topP: number;
  /** 0 means no limit. */
  readonly minP: number;
  /** 1 means none. */
  readonly repeatPenalty: number;
  /** 0 means none. */
  readonly frequencyPenalty: number;
  /** 0 means none. */
  readonly presencePenalty: number;
  /** 32-bit; the draw for a token depends on (seed, position) alone. */
  readonly seed: number;
}

/** Where one stage spent its time on a step. */
export interface StageTime {
  /** Native compute. */
  readonly computeMicros: number;
  /** This stage's own code from having all of the step to sending it on: inputs and sampling. */
  readonly hostMicros: number;
}

/** The part of a step that belongs to one sequence: `rows` consecutive tokens from `positionStart`. */
export interface StepSequence {
  readonly sequenceId: number;
  /** First slot of its region of the KV arena, in tokens; the same in every stage. */
  readonly regionStart: number;
  /** Slots of the region. */
  readonly regionSlots: number;
  /** Position in the sequence of its first row, which is how many tokens are cached before it. */
  readonly positionStart: number;
  readonly rows: number;
  /** How many of its last rows want logits: 0 in the midst of a prompt, 1 to sample the next token, all for an embedding. */
  readonly logitRows: number;
  /** Present exactly when a token is to be sampled from each logit row. */
  readonly sampling: SamplingParams | null;
  /**
   * The tokens of its last rows that are guesses: row by row, the token sampled from the row before confirms a guess or
   * ends the line. With guesses, `logitRows` is one more than there are of them. Empty when nothing is guessed.
   */
  readonly draftTokens: Int32Array;
  /** Last known tokens for the penalties, oldest first, guesses left out; empty without penalties. */
  readonly recentTokens: Int32Array;
  /** Of models whose layers keep a state of each sequence; null for others. */
  readonly state: SequenceState | null;
  /** Present where an embedding is wanted: of these rows, which all want what others want logits for. Never beside `sampling`. */
  readonly pooling?: Pooling | null;
}

/** Slots of states, the same in every stage. No step writes to a slot that it reads, nor two sequences to one. */
export interface SequenceState {
  /** Where the state before its first row lies; `emptyState` before its first token. */
  readonly from: number;
  /** Where the state behind its last row goes. */
  readonly to: number;
}

/** The slot of the state before any token, which nobody writes to. */
export const emptyState = 0;
/** The slot of states that nobody will read. */
export const wasteState = 1;
/** The first of the slots that belong to sequences. */
export const firstOwnState = 2;

/**
 * Stands for the token that the sequence was sampled `steps` steps before: a step may go ahead of the tokens that it
 * computes where the first stage learns them without the orchestrator. No token id is negative.
 * @param steps from 1 to the number of stages
 */
export const tokenOfStepBefore = (steps: number): number => -steps;

/** Copies cached tokens inside the arena before the step is computed. */
export interface ArenaCopy {
  readonly fromSlot: number;
  readonly toSlot: number;
  readonly slots: number;
}

/**
 * A step as it travels from stage to stage. It goes on as soon as it arrives and before it is computed, so that the
 * next stage has all prepared when the activations follow.
 */
export interface Step {
  /** Epoch of the plan that it belongs to; stages drop steps of any other. */
  readonly epoch: number;
  readonly stepId: number;
  readonly copies: readonly ArenaCopy[];
  readonly sequences: readonly StepSequence[];
  /** One entry for each stage passed so far. */
  readonly stageTimes: readonly StageTime[];
  /** For stage 0 the token ids, Int32[rows], with `tokenOfStepBefore` for unknown ones; empty for the others, which get `Activations`. */
  readonly payload: Uint8Array;
}

/** What the stage before made of the rows of a step; follows the step, and in the order of steps. */
export interface Activations {
  readonly epoch: number;
  readonly stepId: number;
  /** One entry for each stage passed so far. */
  readonly stageTimes: readonly StageTime[];
  /** Int32[rows] token ids, little-endian, where a later stage reads them; else empty. */
  readonly tokens: Uint8Array;
  /** F32[rows, width], row by row: as many numbers as cross this cut of the model. */
  readonly payload: Uint8Array;
}

/** What a step gave of one sequence. One whose numbers are NaN or infinite has an entry with neither, also in the midst of its prompt. */
export interface StepOutput {
  readonly sequenceId: number;
  /** The guesses that were confirmed and the token sampled after them; without guesses, one token. */
  readonly tokens: Int32Array;
  /** Where an embedding was wanted. */
  readonly vector?: Float32Array;
}

/** What the last stage sends to the orchestrator for each step, and to the first stage for each that samples. */
export interface StepResult {
  readonly epoch: number;
  readonly stepId: number;
  /**
   * One entry for each sequence with `sampling` or `pooling`, in the order of the step.
   */
  readonly outputs: readonly StepOutput[];
  readonly stageTimes: readonly StageTime[];
}

/** A range of a model file. */
export interface FileChunk {
  readonly requestId: number;
  readonly bytes: Uint8Array;
  /** SHA-256 of `bytes`, 32 bytes. */
  readonly sha256: Uint8Array;
}
