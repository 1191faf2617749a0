import { dtype, shapeOf, type Graph, type RopeParams, type Tensor } from '@butterfly/ggml';
import type { ModelSpec } from '../gguf/spec.js';
import type { BatchShape } from './batch.js';
import { ropeParams } from './rope.js';

/** Weights of one layer; a null is a tensor that this model does not have. */
export interface LayerWeights {
  readonly attentionNorm: Tensor;
  readonly query: Tensor;
  readonly queryBias: Tensor | null;
  readonly queryNorm: Tensor | null;
  readonly key: Tensor;
  readonly keyBias: Tensor | null;
  readonly keyNorm: Tensor | null;
  readonly value: Tensor;
  readonly valueBias: Tensor | null;
  readonly attentionOutput: Tensor;
  readonly attentionOutputBias: Tensor | null;
  readonly feedForwardNorm: Tensor;
  readonly gate: Tensor;
  readonly gateBias: Tensor | null;
  readonly up: Tensor;
  readonly upBias: Tensor | null;
  readonly down: Tensor;
  readonly downBias: Tensor | null;
}

/** Weights of a stage: its layers, the embedding on the first stage, the head on the last. */
export interface StageWeights {
  readonly embedding: Tensor | null;
  readonly ropeFactors: Tensor | null;
  readonly layers: readonly LayerWeights[];
  readonly head: { readonly norm: Tensor; readonly output: Tensor } | null;
}

/** Cached keys and values of one layer, each [kvHeads * headSize, arena slots]. */
export interface LayerCache {
  readonly keys: Tensor;
  readonly values: Tensor;
}

/** What the caller fills before each computation. */
export interface StageInputs {
  /** I32 [rows] token ids on the first stage, else F32 [hidden, rows] activations. */
  readonly source: Tensor;
  /** I32 [rows]. */
  readonly positions: Tensor;
  /** I64 [rows]: the arena slot of each row. */
  readonly slots: Tensor;
  /** F16 [cachedSlots, rows] of each sequence: 0 where a row may look, minus infinity elsewhere. */
  readonly masks: readonly Tensor[];
  /** I32 [logitRows], on the last stage when logits are wanted. */
  readonly logitRowIds: Tensor | null;
}

/** Results to read after the computation: activations F32 [hidden, rows], or logits F32 [vocabulary, logitRows]. */
export interface StageOutputs {
  readonly activations: Tensor | null;
  readonly logits: Tensor | null;
  /** I32 [logitRows]: the first token with the largest logit. */
  readonly greedy: Tensor | null;
}

/**
 * Builds the graph of a range of layers for the llama family (llama with Mistral, qwen2, qwen3), operation by
 * operation as llama.cpp does in src/models/llama.cpp, qwen2.cpp, qwen3.cpp and src/llama-graph.cpp, so that the
 * numbers are the same.
 */
export class LlamaFamilyBuilder {
  readonly #rope: RopeParams;
  readonly #scale: number;

  constructor(
    private readonly graph: Graph,
    private readonly spec: ModelSpec,
    private readonly weights: StageWeights,
    private readonly caches: readonly LayerCache[],
    private readonly batch: BatchShape,
    private readonly inputs: StageInputs,
  ) {
    this.#rope = ropeParams(spec);
    // Rounded to F32 where llama.cpp does: for a head size of 96 the last bit differs otherwise.
    this.#scale = Math.fround(1 / Math.fround(Math.sqrt(spec.headSize)));
  }

  build(): StageOutputs {
    const { graph, weights, inputs, batch } = this;
    let x = weights.embedding ? graph.getRows(weights.embedding, inputs.source) : inputs.source;
    // One scratch for all layers: nodes run in the order of expansion, so each layer is done with it before the next.
    const merged =
      batch.sequences.length > 1
        ? graph.tensor(dtype.F32, shapeOf(this.spec.heads * this.spec.headSize, batch.rows))
        : null;
    const last = weights.layers.length - 1;
    for (const [index, layer] of weights.layers.entries()) {
      const attention = this.#attention(x, layer, index, merged);
      // Rows without wanted logits end with their keys and values in the cache.
      if (weights.head && index === last) {
        if (inputs.logitRowIds === null) return { activations: null, logits: null, greedy: null };
        x = this.#feedForward(
          graph.getRows(attention(), inputs.logitRowIds),
          graph.getRows(x, inputs.logitRowIds),
          layer,
        );
      } else {
        x = this.#feedForward(attention(), x, layer);
      }
    }
    return weights.head ? this.#head(x, weights.head) : this.#activations(x);
  }

  #norm(x: Tensor, weight: Tensor): Tensor {
    return this.graph.multiply(this.graph.rmsNorm(x, this.spec.normEpsilon), weight);
  }

  #linear(weight: Tensor, x: Tensor, bias: Tensor | null): Tensor {
    const product = this.graph.matmul(weight, x);
    return bias ? this.graph.add(product, bias) : product;
  }

  /** Writes keys and values of this layer to the cache; the returned function adds the attention itself. */
  #attention(x: Tensor, layer: LayerWeights, index: number, merged: Tensor | null): () => Tensor {
    const { graph, spec, inputs, batch } = this;
    const cache = this.caches[index];
    if (!cache) throw new RangeError(`layer ${index} has no cache`);
    const factors = this.weights.ropeFactors;
    const normed = this.#norm(x, layer.attentionNorm);
    const split = (t: Tensor, heads: number): Tensor =>
      graph.reshape(t, shapeOf(spec.headSize, heads, batch.rows));
    let q = split(this.#linear(layer.query, normed, layer.queryBias), spec.heads);
    let k = split(this.#linear(layer.key, normed, layer.keyBias), spec.kvHeads);
    const v = this.#linear(layer.value, normed, layer.valueBias);
    if (layer.queryNorm) q = this.#norm(q, layer.queryNorm);
    if (layer.keyNorm) k = this.#norm(k, layer.keyNorm);
    q = graph.rope(q, inputs.positions, factors, this.#rope);
    k = graph.rope(k, inputs.positions, factors, this.#rope);
    graph.expand(q);
    graph.expand(
      graph.setRows(
        cache.keys,
        graph.reshape(k, shapeOf(spec.headSize * spec.kvHeads, batch.rows)),
        inputs.slots,
      ),
    );
    graph.expand(graph.setRows(cache.values, v, inputs.slots));
    return () =>
      this.#linear(layer.attentionOutput, this.#attend(q, cache, merged), layer.attentionOutputBias);
  }

  /** Attention of each sequence over its own region: F32 [heads * headSize, rows]. */
  #attend(q: Tensor, cache: LayerCache, merged: Tensor | null): Tensor {
    const { graph, spec, batch, inputs } = this;
    const width = spec.heads * spec.headSize;
    let row = 0;
    for (const [i, sequence] of batch.sequences.entries()) {
      const mask = inputs.masks[i];
      if (!mask) throw new RangeError(`sequence ${i} has no mask`);
      const queries = graph.view(
        q,
        shapeOf(spec.headSize, spec.heads, sequence.rows),
        [q.strides[1], q.strides[2], q.strides[3]],
        row * q.strides[2],
      );
      const result = graph.flashAttention(
        graph.swapRowsAndMatrices(queries),
        this.#region(cache.keys, sequence.regionStart, sequence.cachedSlots),
        this.#region(cache.values, sequence.regionStart, sequence.cachedSlots),
        mask,
        this.#scale,
      );
      const flat = graph.reshape(result, shapeOf(width, sequence.rows));
      if (!merged) return flat;
      const place = graph.view(
        merged,
        shapeOf(width, sequence.rows),
        [merged.strides[1], merged.strides[2], merged.strides[3]],
        row * merged.strides[1],
      );
      graph.expand(graph.copy(flat, place));
      row += sequence.rows;
    }
    if (!merged) throw new RangeError('a batch needs at least one sequence');
    return merged;
  }

  /** The cached rows of a region as [headSize, cachedSlots, kvHeads]. */
  #region(cache: Tensor, start: number, slots: number): Tensor {
    const { spec } = this;
    const headBytes = cache.strides[1] / spec.kvHeads;
    const shape = shapeOf(spec.headSize, spec.kvHeads, slots);
    return this.graph.swapRowsAndMatrices(
      this.graph.view(
        cache,
        shape,
        [headBytes, cache.strides[1], cache.strides[1] * slots],
        start * cache.strides[1],
      ),
    );
  }

  #feedForward(attention: Tensor, residual: Tensor, layer: LayerWeights): Tensor {
    const { graph } = this;
    const x = graph.add(attention, residual);
    const normed = this.#norm(x, layer.feedForwardNorm);
    const up = this.#linear(layer.up, normed, layer.upBias);
    const gate = this.#linear(layer.gate, normed, layer.gateBias);
    return graph.add(this.#linear(layer.down, graph.swiglu(gate, up), layer.downBias), x);
  }

  #head(x: Tensor, head: NonNullable<StageWeights['head']>): StageOutputs {
    const { graph } = this;
    const logits = graph.matmul(head.output, this.#norm(x, head.norm));
    const greedy = graph.argmax(logits);
    graph.keep(logits);
    graph.keep(greedy);
    graph.expand(greedy);
    return { activations: null, logits, greedy };
  }

  #activations(x: Tensor): StageOutputs {
    this.graph.keep(x);
    this.graph.expand(x);
    return { activations: x, logits: null, greedy: null };
  }
}
