import type { Pooling } from './pooling.js';
import type { SequenceConstraint } from './step-constraint.js';

/**
 * How one token is drawn. Every field is explicit, so that a stage needs no memory of the request. What each does, and the
 * order in which they are applied, are those of llama.cpp: bias, penalties, DRY, top-k, typical, top-p, min-p, XTC, and the
 * temperature last.
 */
export interface SamplingParams {
  /** 0 means greedy: the likeliest of those that typical and XTC leave. */
  readonly temperature: number;
  /** 0 means no limit. */
  readonly topK: number;
  /** 1 means no limit. */
  readonly topP: number;
  /** 0 means no limit. */
  readonly minP: number;
  /** Keeps the tokens about as surprising as a token is on average, until they have this probability; 1 means no limit. */
  readonly typicalP: number;
  /** How often the likeliest tokens are excluded but for the last that reaches the threshold; 0 means never. */
  readonly xtcProbability: number;
  /** From this probability on a token may be excluded; over 0.5 none is. */
  readonly xtcThreshold: number;
  /** 1 means none. */
  readonly repeatPenalty: number;
  /** 0 means none. */
  readonly frequencyPenalty: number;
  /** 0 means none. */
  readonly presencePenalty: number;
  /** How many of the last tokens the penalties look at; 0 means none. At most `limits.recentTokensMax`. */
  readonly penaltyLastN: number;
  /** Null means none. */
  readonly dry: DrySampling | null;
  /** Null means none. */
  readonly logitBias: LogitBias | null;
  /** 32-bit; the draws for a token depend on (seed, position) alone. */
  readonly seed: number;
}

/** Makes tokens less likely that would prolong a repetition ("Don't Repeat Yourself"). */
export interface DrySampling {
  /** Above 0. */
  readonly multiplier: number;
  /** From 1: each token more of a repetition multiplies the penalty by it. */
  readonly base: number;
  /** Repetitions of fewer tokens cost nothing. */
  readonly allowedLength: number;
  /** How many of the last tokens are looked at, at most `limits.recentTokensMax`. */
  readonly lastN: number;
  /**
   * Tokens behind which every repetition begins anew, from 1 to `limits.dryBreakerTokensMax` each. A step carries those
   * whose first token is among its recent tokens and guesses.
   */
  readonly breakers: readonly Int32Array[];
}

/** What is added to the logits of some tokens before all else. */
export interface LogitBias {
  /** At most `limits.logitBiasTokensMax`, none twice. */
  readonly tokens: Int32Array;
  /** One for each token, from -`limits.logitBiasMax`, which bans the token, to `limits.logitBiasMax`. */
  readonly values: Float32Array;
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
  /** How many of its last rows want logits: those that are scored, and then those that are sampled; all for an embedding. */
  readonly logitRows: number;
  /** Present exactly when a token is to be sampled from the last row, and from one more for each guess. */
  readonly sampling: SamplingParams | null;
  /**
   * The tokens of its last rows that are guesses: row by row, the token sampled from the row before confirms a guess or
   * ends the line. Empty when nothing is guessed.
   */
  readonly draftTokens: Int32Array;
  /** Last known tokens for penalties and DRY, oldest first, guesses left out; empty without either. */
  readonly recentTokens: Int32Array;
  /** Beside each sampled token, the log probabilities of it and of so many of the likeliest are wanted; null without. */
  readonly logprobs: number | null;
  /** Null unless known tokens are scored. */
  readonly scored: ScoredTokens | null;
  /** Of models whose layers keep a state of each sequence; null for others. */
  readonly state: SequenceState | null;
  /** Of models whose window layers keep what their window needs and no more; null for others. */
  readonly window: SequenceWindow | null;
  /** Where its tokens must be of a form, which the last stage sees to. */
  readonly constraint?: SequenceConstraint;
  /** Present where an embedding of these rows is wanted, and nothing else of them: no sampling and no scores. */
  readonly pooling?: Pooling | null;
  /**
   * Whether its known rows are no part of a prompt but were decoded, and are computed once more from a state before them: as
   * guesses are, each gets the numbers that it would have alone. Only of what is sampled; absent where not so.
   */
  readonly isDecoded?: boolean;
}

/** Known tokens whose log probabilities are wanted: of the prompt, in a step that computes the rows before them. */
export interface ScoredTokens {
  /** The tokens behind the first logit rows, one for each; at least one, and at most `limits.scoredRowsMax` in a step. */
  readonly tokens: Int32Array;
  /** How many of the likeliest tokens are wanted beside each. */
  readonly alternatives: number;
}

/** Slots of states, the same in every stage. No step writes to a slot that it reads, nor two sequences to one. */
export interface SequenceState {
  /** Where the state before its first row lies; `emptyState` before its first token. */
  readonly from: number;
  /** Where the state behind its last row goes. */
  readonly to: number;
}

/**
 * Rooms for the keys and values of window layers, the same in every stage: what lies in one room before the step, and
 * where. In the order of the sequences of a step, and before it is computed, the tokens from `toFirst` to the first row are
 * moved to where the rows will follow them.
 */
export interface SequenceWindow {
  /** Where the tokens before its first row lie. */
  readonly from: number;
  /** Position of the token in the first slot of that room. */
  readonly fromFirst: number;
  /** Where its rows go; the same room where they follow what is there. */
  readonly to: number;
  /** Position of the token in the first slot of that room, a multiple of 256 and not before `fromFirst`. */
  readonly toFirst: number;
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

/** What the last stage sends to the orchestrator for each step, and to the first stage for each that samples. */
export interface StepResult {
  readonly epoch: number;
  readonly stepId: number;
  /**
   * One entry for each sequence that samples, is scored or wants an embedding, in the order of the step. One without tokens,
   * scores and embedding is of a sequence whose numbers are NaN or infinite, which may also be in the midst of its prompt.
   */
  readonly outputs: readonly StepOutput[];
  readonly stageTimes: readonly StageTime[];
}

/** What the last stage gives of one sequence. */
export interface StepOutput {
  readonly sequenceId: number;
  /** The guesses that were confirmed and the token sampled after them; without guesses, one token. Empty where none is sampled. */
  readonly tokens: Int32Array;
  /** Of `tokens`, one by one, where they are wanted. */
  readonly logprobs?: Logprobs;
  /** Of the scored tokens, one by one, where there are any. */
  readonly scored?: Logprobs;
  /** F32 [numbers of the embedding], where one is wanted; nothing else comes beside it. */
  readonly vector?: Float32Array;
  /** What the model's own head guesses behind `tokens`, where it has one and anything was sampled; at least one. */
  readonly guesses?: Int32Array;
}

/**
 * Log probabilities of n tokens: natural logarithms of the softmax of the raw logits as the model gives them, before bias,
 * penalties, temperature and whatever else narrows the choice. So does vLLM by default (`raw_logprobs`), and so does
 * llama-server unless it is asked for those after sampling: they say what the model holds likely, and can be compared
 * between requests with other parameters.
 */
export interface Logprobs {
  /** F32 [n]. */
  readonly chosen: Float32Array;
  /** How many of the likeliest tokens follow for each, k: as many as asked for, but no more than the vocabulary has. */
  readonly alternatives: number;
  /** I32 [n, k], the likeliest first; of equal ones, the one with the lower id. */
  readonly topTokens: Int32Array;
  /** F32 [n, k]. */
  readonly topValues: Float32Array;
}

/** A range of a model file. */
export interface FileChunk {
  readonly requestId: number;
  readonly bytes: Uint8Array;
  /** SHA-256 of `bytes`, 32 bytes. */
  readonly sha256: Uint8Array;
}
