import { ButterflyError } from '@butterfly/common';
import type { Tensor } from '@butterfly/ggml';
import type { LayerWeights, StageWeights } from './llama-family.js';

/**
 * How a weight is used, which decides the memory layouts that suit it: looked up by row, multiplied, multiplied matrix by
 * matrix as rows choose experts, or element by element.
 */
export type WeightUse = 'lookup' | 'matmul' | 'experts' | 'elementwise';

/** A weight of a stage: the name in the file may serve two uses, as tied embeddings do. */
export interface WeightSlot {
  readonly name: string;
  readonly use: WeightUse;
}

/** The use of a layer's or head's tensor, by its GGUF name. */
export function weightUse(name: string): WeightUse {
  if (name.endsWith('norm.weight') || name.endsWith('.bias') || name === 'rope_freqs.weight')
    return 'elementwise';
  return 'matmul';
}

/**
 * Arranges the tensors of a stage by role. `find` gives null for a tensor that the model does not have.
 * @throws ButterflyError MODEL_CORRUPT when a tensor is missing that no model is without
 */
export function arrangeWeights(
  range: {
    readonly layerStart: number;
    readonly layerEnd: number;
    readonly layers: number;
    readonly tied: boolean;
    /** Whether rows of the embedding come from elsewhere. */
    readonly isLookedUp?: boolean;
  },
  find: (slot: WeightSlot) => Tensor | null,
): StageWeights {
  const optional = (name: string): Tensor | null => find({ name, use: weightUse(name) });
  const required = (name: string, use = weightUse(name)): Tensor => {
    const tensor = find({ name, use });
    if (tensor === null) throw new ButterflyError('MODEL_CORRUPT', `The model has no tensor ${name}.`);
    return tensor;
  };
  const layers: LayerWeights[] = [];
  for (let layer = range.layerStart; layer < range.layerEnd; layer++) {
    const at = (name: string): string => `blk.${layer}.${name}`;
    layers.push({
      attentionNorm: required(at('attn_norm.weight')),
      query: required(at('attn_q.weight')),
      queryBias: optional(at('attn_q.bias')),
      queryNorm: optional(at('attn_q_norm.weight')),
      key: required(at('attn_k.weight')),
      keyBias: optional(at('attn_k.bias')),
      keyNorm: optional(at('attn_k_norm.weight')),
      value: required(at('attn_v.weight')),
      valueBias: optional(at('attn_v.bias')),
      attentionOutput: required(at('attn_output.weight')),
      attentionOutputBias: optional(at('attn_output.bias')),
      feedForwardNorm: required(at('ffn_norm.weight')),
      gate: required(at('ffn_gate.weight')),
      gateBias: optional(at('ffn_gate.bias')),
      up: required(at('ffn_up.weight')),
      upBias: optional(at('ffn_up.bias')),
      down: required(at('ffn_down.weight')),
      downBias: optional(at('ffn_down.bias')),
    });
  }
  const isLast = range.layerEnd === range.layers;
  return {
    embedding: range.layerStart === 0 && !range.isLookedUp ? required('token_embd.weight', 'lookup') : null,
    ropeFactors: optional('rope_freqs.weight'),
    layers,
    head: isLast
      ? {
          norm: required('output_norm.weight'),
          output: required(range.tied ? 'token_embd.weight' : 'output.weight'),
        }
      : null,
  };
}
