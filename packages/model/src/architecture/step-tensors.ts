import type { Graph, Tensor } from '@butterfly/ggml';
import type { LayerAttention } from '../spec/spec.js';

/** Which cached tokens the queries of layers see. */
export interface MaskInput {
  /** F16 [slots, queries] of each span, with the slots that layers read which see so far, one after the other: 0 or a bias where a query may look, else minus infinity. */
  readonly tensor: Tensor;
  readonly window: LayerAttention['window'];
  /** Whether what is seen counts the less the farther it is: ALiBi (https://arxiv.org/abs/2108.12409). */
  readonly isBiased: boolean;
}

/** Where the states of a group of sequences are read and written, in the order of the sequences of a step. */
export interface StateInput {
  /** I32 [sequences]. */
  readonly from: Tensor;
  /** I64 [sequences]. */
  readonly to: Tensor;
}

/** What the caller fills before each computation. */
export interface StepInputs {
  /** I32 [paddedRows] token ids on the first stage, else F32 [crossing width, paddedRows] activations. */
  readonly source: Tensor;
  /** I32 [paddedRows] on a later stage whose layers read token ids too; null on others. */
  readonly tokens: Tensor | null;
  /** I32 [paddedRows * each]: all first positions, then all second ones, and so on; the fourth is 0, as of text. */
  readonly positions: { readonly tensor: Tensor; readonly each: number } | null;
  /** I64 [rows]: the arena slot of each row; null where nothing is cached. */
  readonly slots: Tensor | null;
  /** I64 [rows]: the slot in the rooms of each row; null where no window layer has such. */
  readonly roomSlots: Tensor | null;
  readonly masks: readonly MaskInput[];
  /**
   * F32 [heads * valueSize, paddedRows] for the attention of all spans, of which the caller sets the rows that pad; none
   * where one span is all. One for all layers of the same width: nodes run in the order of expansion, so each is done with
   * it in time.
   */
  readonly attended: readonly Tensor[];
  /** I32 [paddedLogitRows], on the last stage when logits are wanted. */
  readonly logitRowIds: Tensor | null;
  /** F32 [1, 1, paddedRows]: what queries are multiplied by for their position; see `temperature` of a model. */
  readonly temperature: Tensor | null;
  /** F32 [n, n] each: Hadamard matrices divided by the root of n. */
  readonly rotations: readonly Tensor[];
  /** For one group of sequences after the other. */
  readonly states: readonly StateInput[];
  /** F32 [width], all 1. */
  readonly ones: readonly Tensor[];
  /** F32 [rows] for each text whose embedding is a mean, all 1 / rows. */
  readonly means?: readonly Tensor[];
  /** F32 [hidden, paddedRows]: last hidden states of the model, in graphs that predict the token after the next one. */
  readonly hidden?: Tensor;
}

/** Results to read after the computation: activations F32 [crossing width, paddedRows], or logits F32 [vocabulary, paddedLogitRows]. */
export interface StepOutputs {
  readonly activations: Tensor | null;
  readonly logits: Tensor | null;
  /** F32 [width] for each text whose embedding is wanted. */
  readonly vectors?: readonly Tensor[];
  /** F32 [hidden, paddedRows]: the last hidden state of every row, on a last stage that has a head for guesses. */
  readonly hidden?: Tensor | null;
  /**
   * F32 [1, paddedRows]: of each row the sum of its activations, or on the last stage of what enters its last layer, as
   * most rows go no further. A sum is finite exactly when all of its summands are; quantizing, as the matrix products
   * behind it do, makes a plain number of a NaN.
   */
  readonly rowSums: Tensor;
  /** F32 [1, paddedLogitRows]: the same of what logits or embeddings are made of. */
  readonly logitRowSums: Tensor | null;
}

/** The graph of a step with what is to be filled in and read out. */
export interface StepGraph<G extends Graph = Graph> {
  readonly graph: G;
  readonly inputs: StepInputs;
  readonly outputs: StepOutputs;
}

/** States of one layer, by their names in llama.cpp without the number of the layer: F32 [width, state slots] each. */
export type LayerStates = ReadonlyMap<string, Tensor>;

/** Cached keys and values of one layer, each [kvHeads * headSize, slots of the arena or of the rooms]; no values where they are a part of the keys. */
export interface LayerCache {
  readonly keys: Tensor;
  readonly values: Tensor | null;
}
