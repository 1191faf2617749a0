import { type Graph, type RopeParams, type Tensor, dtype, shapeOf } from '@butterfly/ggml';
import type { FamilyGraph } from '../spec/spec.js';
import { groupedQueries } from './attention-layout.js';
import type { BatchShape } from './batch-shape.js';
import { poolTexts, tensorsOfPooling } from './pooling.js';
import { ropeParams } from './rope.js';
import { SpanAttention, spanMasks } from './span-attention.js';
import type { LayerCache, StepGraph, StepOutputs } from './step-tensors.js';

/** What the builder is to know of a model. */
export type FamilyModel = Pick<FamilyGraph, 'heads' | 'kvHeads' | 'headSize' | 'normEpsilon' | 'rope'> & {
  /** Numbers of a row of activations. */
  readonly hidden: number;
};

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

/**
 * Builds the graph of a range of layers for the llama family (llama with Mistral, qwen2, qwen3), operation by
 * operation as llama.cpp does in src/models/llama.cpp, qwen2.cpp, qwen3.cpp and src/llama-graph.cpp, so that the
 * numbers are the same.
 */
export class LlamaFamilyBuilder {
  readonly #rope: RopeParams;
  readonly #scale: number;
  readonly #inputs: FamilyInputs;
  readonly #attention: SpanAttention;

  constructor(
    private readonly graph: Graph,
    private readonly spec: FamilyModel,
    private readonly weights: StageWeights,
    private readonly caches: readonly LayerCache[],
    private readonly batch: BatchShape,
  ) {
    this.#rope = ropeParams(spec.rope);
    // Rounded to F32 where llama.cpp does: for a head size of 96 the last bit differs otherwise.
    this.#scale = Math.fround(1 / Math.fround(Math.sqrt(spec.headSize)));
    this.#inputs = makeInputs(graph, spec, weights, batch);
    const { heads, kvHeads, headSize } = spec;
    this.#attention = new SpanAttention(
      graph,
      batch,
      { heads, kvHeads, keySize: headSize, valueSize: headSize, window: null },
      { ...this.#inputs, masks: spanMasks(graph, this.#inputs.masks, batch, null) },
    );
  }

  build(): StepGraph {
    const { source, positions, slots, masks, attended, logitRowIds, ones, means } = this.#inputs;
    return {
      graph: this.graph,
      inputs: {
        source,
        tokens: null,
        positions: { tensor: positions, each: 1 },
        slots,
        roomSlots: null,
        // In the midst of a prompt, the last stage ends with the keys and values of its last layer.
        masks: this.#attends ? [{ tensor: masks, window: null, isBiased: false }] : [],
        attended: this.#attends && attended ? [attended] : [],
        // In the midst of a prompt, nobody reads them.
        logitRowIds: this.weights.head && this.batch.logitRows > 0 ? logitRowIds : null,
        temperature: null,
        rotations: [],
        states: [],
        ones: [ones],
        means,
      },
      outputs: this.#build(),
    };
  }

  get #attends(): boolean {
    const { weights, batch } = this;
    return weights.head === null || weights.layers.length > 1 || batch.logitRows > 0;
  }

  #build(): StepOutputs {
    const { graph, weights } = this;
    const inputs = this.#inputs;
    let x = weights.embedding ? graph.getRows(weights.embedding, inputs.source) : inputs.source;
    const last = weights.layers.length - 1;
    let rowSums: Tensor | null = null;
    for (const [index, layer] of weights.layers.entries()) {
      if (weights.head && index === last) rowSums = this.#sums(x);
      const attention = this.#attend(x, layer, index);
      // Rows without wanted logits end with their keys and values in the cache.
      if (weights.head && index === last) {
        if (inputs.logitRowIds === null)
          return { activations: null, logits: null, rowSums: rowSums ?? this.#sums(x), logitRowSums: null };
        x = this.#feedForward(
          graph.getRows(attention(), inputs.logitRowIds),
          graph.getRows(x, inputs.logitRowIds),
          layer,
        );
      } else {
        x = this.#feedForward(attention(), x, layer);
      }
    }
    return weights.head ? this.#head(x, weights.head, rowSums ?? this.#sums(x)) : this.#activations(x);
  }

  #norm(x: Tensor, weight: Tensor): Tensor {
    return this.graph.multiply(this.graph.rmsNorm(x, this.spec.normEpsilon), weight);
  }

  #linear(weight: Tensor, x: Tensor, bias: Tensor | null): Tensor {
    const product = this.graph.matmul(weight, x);
    return bias ? this.graph.add(product, bias) : product;
  }

  /** Writes keys and values of this layer to the cache; the returned function adds the attention itself. */
  #attend(x: Tensor, layer: LayerWeights, index: number): () => Tensor {
    const { graph, spec, batch } = this;
    const inputs = this.#inputs;
    const cache = this.caches[index];
    if (!cache?.values) throw new RangeError(`layer ${index} has no cache`);
    const factors = this.weights.ropeFactors;
    const normed = this.#norm(x, layer.attentionNorm);
    const split = (t: Tensor, heads: number): Tensor =>
      graph.reshape(t, shapeOf(spec.headSize, heads, batch.paddedRows));
    let q = split(this.#linear(layer.query, normed, layer.queryBias), spec.heads);
    let k = split(this.#linear(layer.key, normed, layer.keyBias), spec.kvHeads);
    const v = this.#linear(layer.value, normed, layer.valueBias);
    if (layer.queryNorm) q = this.#norm(q, layer.queryNorm);
    if (layer.keyNorm) k = this.#norm(k, layer.keyNorm);
    q = graph.rope(q, inputs.positions, factors, this.#rope);
    k = graph.rope(k, inputs.positions, factors, this.#rope);
    graph.expand(q);
    // Of rows that pad, nothing is written.
    const width = spec.headSize * spec.kvHeads;
    const written = (t: Tensor): Tensor => graph.view(t, shapeOf(width, batch.rows), outerStrides(v), 0);
    graph.expand(graph.setRows(cache.keys, written(k), inputs.slots));
    graph.expand(graph.setRows(cache.values, written(v), inputs.slots));
    return () => {
      const attended = this.#attention.attend(q, cache, (query, keys, values, mask) =>
        graph.flashAttention(query, keys, values, mask, this.#scale),
      );
      return this.#linear(layer.attentionOutput, attended, layer.attentionOutputBias);
    };
  }

  #feedForward(attention: Tensor, residual: Tensor, layer: LayerWeights): Tensor {
    const { graph } = this;
    const x = graph.add(attention, residual);
    const normed = this.#norm(x, layer.feedForwardNorm);
    const up = this.#linear(layer.up, normed, layer.upBias);
    const gate = this.#linear(layer.gate, normed, layer.gateBias);
    return graph.add(this.#linear(layer.down, graph.swiglu(gate, up), layer.downBias), x);
  }

  #head(x: Tensor, head: NonNullable<StageWeights['head']>, rowSums: Tensor): StepOutputs {
    const { graph } = this;
    const normed = this.#norm(x, head.norm);
    const logitRowSums = this.#sums(normed);
    const { pooled = [] } = this.batch;
    if (pooled.length > 0) {
      const { vectors, means } = poolTexts(graph, normed, pooled);
      this.#inputs.means.push(...means);
      return { activations: null, logits: null, vectors, rowSums, logitRowSums };
    }
    const logits = graph.matmul(head.output, normed);
    graph.keep(logits);
    graph.expand(logits);
    return { activations: null, logits, rowSums, logitRowSums };
  }

  #activations(x: Tensor): StepOutputs {
    this.graph.keep(x);
    this.graph.expand(x);
    return { activations: x, logits: null, rowSums: this.#sums(x), logitRowSums: null };
  }

  /** The sum of each row: a product with ones, which all threads compute, as ggml has one thread alone add up rows. */
  #sums(x: Tensor): Tensor {
    const { graph } = this;
    const sums = graph.matmul(this.#inputs.ones, x);
    graph.keep(sums);
    graph.expand(sums);
    return sums;
  }
}

/** Inputs of this family, and what else has memory of its own. */
interface FamilyInputs {
  readonly source: Tensor;
  readonly positions: Tensor;
  readonly slots: Tensor;
  readonly masks: Tensor;
  readonly grouped: Tensor | null;
  readonly attended: Tensor | null;
  readonly logitRowIds: Tensor | null;
  readonly ones: Tensor;
  /** Filled as embeddings are made. */
  readonly means: Tensor[];
}

function makeInputs(
  graph: Graph,
  spec: FamilyModel,
  weights: StageWeights,
  { rows, paddedRows, paddedLogitRows, spans }: BatchShape,
): FamilyInputs {
  const { heads, kvHeads, headSize, hidden } = spec;
  const maskElements = spans.reduce((sum, span) => sum + span.queries * span.cached.slots, 0);
  const grouped = groupedQueries(spans);
  const isTogether = spans.length === 1 && paddedRows === rows && grouped === 0;
  return {
    source: weights.embedding
      ? graph.input(dtype.I32, shapeOf(paddedRows))
      : graph.input(dtype.F32, shapeOf(hidden, paddedRows)),
    positions: graph.input(dtype.I32, shapeOf(paddedRows)),
    slots: graph.input(dtype.I64, shapeOf(rows)),
    masks: graph.input(dtype.F16, shapeOf(maskElements)),
    grouped: grouped > 0 ? graph.input(dtype.F32, shapeOf(kvHeads * headSize, grouped)) : null,
    attended: isTogether ? null : graph.input(dtype.F32, shapeOf(heads * headSize, paddedRows)),
    logitRowIds:
      weights.head && paddedLogitRows > 0 ? graph.input(dtype.I32, shapeOf(paddedLogitRows)) : null,
    ones: graph.input(dtype.F32, shapeOf(hidden)),
    means: [],
  };
}

function outerStrides({ strides }: Tensor): readonly [number, number, number] {
  return [strides[1], strides[2], strides[3]];
}
/** An upper bound of the tensors, views included, that a builder makes for a step. */
export function graphTensorsMax(layers: number, batch: BatchShape): number {
  const perLayer = 48;
  const perSpanAndLayer = 10;
  const ofTexts = tensorsOfPooling * (batch.pooled?.length ?? 0);
  return 64 + ofTexts + batch.spans.length + layers * (perLayer + perSpanAndLayer * batch.spans.length);
}
