import { type Graph, type RopeParams, type Tensor, shapeOf } from '@butterfly/ggml';
import type { ModelSpec } from '../spec/spec.js';
import type { AttentionSpan } from './attention-layout.js';
import type { BatchShape } from './batch-shape.js';
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
  /** I32 [paddedRows] token ids on the first stage, else F32 [hidden, paddedRows] activations. */
  readonly source: Tensor;
  /** I32 [paddedRows]. */
  readonly positions: Tensor;
  /** I64 [rows]: the arena slot of each row. */
  readonly slots: Tensor;
  /** F16 [cachedSlots, queries] of each span, one after the other: 0 where a query may look, minus infinity elsewhere. */
  readonly masks: Tensor;
  /** F32 [kvHeads * headSize, queries] for the largest span with the layout `groups`; null without any. */
  readonly grouped: Tensor | null;
  /**
   * F32 [heads * headSize, paddedRows] for the attention of all spans, of which the caller sets the rows that pad; null
   * when one span is all and has no layout `groups`. One for all layers: nodes run in the order of expansion, so each is done with it in time.
   */
  readonly attended: Tensor | null;
  /** I32 [paddedLogitRows], on the last stage when logits are wanted. */
  readonly logitRowIds: Tensor | null;
  /** F32 [hidden], all 1. */
  readonly ones: Tensor;
}

/** Results to read after the computation: activations F32 [hidden, paddedRows], or logits F32 [vocabulary, paddedLogitRows]. */
export interface StageOutputs {
  readonly activations: Tensor | null;
  readonly logits: Tensor | null;
  /**
   * F32 [1, paddedRows]: of each row the sum of its activations, or on the last stage of what enters its last layer, as
   * most rows go no further. A sum is finite exactly when all of its summands are; quantizing, as the matrix products
   * behind it do, makes a plain number of a NaN.
   */
  readonly rowSums: Tensor;
  /** F32 [1, paddedLogitRows]: the same of what the logits are made of. */
  readonly logitRowSums: Tensor | null;
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
    const { graph, weights, inputs } = this;
    let x = weights.embedding ? graph.getRows(weights.embedding, inputs.source) : inputs.source;
    const masks = this.#masks();
    const last = weights.layers.length - 1;
    let rowSums: Tensor | null = null;
    for (const [index, layer] of weights.layers.entries()) {
      if (weights.head && index === last) rowSums = this.#sums(x);
      const attention = this.#attention(x, layer, index, masks);
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

  /** The mask of each span. */
  #masks(): Tensor[] {
    const { graph, batch, inputs } = this;
    const elementBytes = inputs.masks.strides[0];
    let offset = 0;
    return batch.spans.map(({ queries, cachedSlots }) => {
      const row = cachedSlots * elementBytes;
      const size = row * queries;
      const mask = graph.view(inputs.masks, shapeOf(cachedSlots, queries), [row, size, size], offset);
      offset += size;
      return mask;
    });
  }

  /** Writes keys and values of this layer to the cache; the returned function adds the attention itself. */
  #attention(x: Tensor, layer: LayerWeights, index: number, masks: readonly Tensor[]): () => Tensor {
    const { graph, spec, inputs, batch } = this;
    const cache = this.caches[index];
    if (!cache) throw new RangeError(`layer ${index} has no cache`);
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
    return () =>
      this.#linear(layer.attentionOutput, this.#attend(q, cache, masks), layer.attentionOutputBias);
  }

  /** Attention of each span over the region of its sequence: F32 [heads * headSize, paddedRows]. */
  #attend(q: Tensor, cache: LayerCache, masks: readonly Tensor[]): Tensor {
    const { graph, spec, batch } = this;
    const { attended } = this.inputs;
    let row = 0;
    for (const [i, span] of batch.spans.entries()) {
      const mask = masks[i];
      if (!mask) throw new RangeError(`span ${i} has no mask`);
      const offset = row * q.strides[2];
      const [keys, values] = [this.#region(cache.keys, span), this.#region(cache.values, span)];
      const result = graph.flashAttention(this.#queries(q, span, offset), keys, values, mask, this.#scale);
      if (!attended) return graph.reshape(result, shapeOf(spec.headSize * spec.heads, span.rows));
      graph.expand(
        span.layout === 'groups'
          ? graph.copy(this.#ofGroups(result, span), this.#byGroup(attended, span.rows, offset))
          : graph.copy(result, graph.view(attended, result.shape, outerStrides(result), offset)),
      );
      row += span.rows;
    }
    if (!attended) throw new RangeError('a batch needs at least one span');
    return attended;
  }

  /** The queries of a span in its layout. */
  #queries(q: Tensor, { layout, rows, queries }: AttentionSpan, offset: number): Tensor {
    const { graph } = this;
    const { headSize, heads, kvHeads } = this.spec;
    const [, head, row, all] = q.strides;
    switch (layout) {
      case 'rows':
        return graph.view(q, shapeOf(headSize, rows, heads), [row, head, all], offset);
      case 'heads': {
        const group = head * (heads / kvHeads);
        return graph.view(q, [headSize, 1, heads / kvHeads, kvHeads], [row, head, group], offset);
      }
      case 'groups': {
        const { grouped } = this.inputs;
        if (!grouped) throw new RangeError('there is no place for grouped queries');
        const [group, columns] = [head * (heads / kvHeads), head * queries];
        const target = [headSize, heads / kvHeads, kvHeads, rows] as const;
        graph.expand(
          graph.copy(this.#byGroup(q, rows, offset), graph.view(grouped, target, [head, columns, group], 0)),
        );
        // What stands behind the last row is of a span before, and sees nothing.
        return graph.view(
          grouped,
          shapeOf(headSize, queries, kvHeads),
          [head, columns, columns * kvHeads],
          0,
        );
      }
      default:
        return layout satisfies never;
    }
  }

  /** Rows of heads from `offset` on as [headSize, heads / kvHeads, kvHeads, rows]. */
  #byGroup(heads: Tensor, rows: number, offset: number): Tensor {
    const { headSize, kvHeads, heads: count } = this.spec;
    const head = headSize * heads.strides[0];
    const group = head * (count / kvHeads);
    const shape = [headSize, count / kvHeads, kvHeads, rows] as const;
    return this.graph.view(heads, shape, [head, group, head * count], offset);
  }

  /** The same of what attention gave for the layout `groups`, without the queries behind the last row. */
  #ofGroups(result: Tensor, { rows }: AttentionSpan): Tensor {
    const { headSize, kvHeads, heads } = this.spec;
    const [, head, query] = result.strides;
    const shape = [headSize, heads / kvHeads, kvHeads, rows] as const;
    return this.graph.view(result, shape, [query, head, query * (heads / kvHeads)], 0);
  }

  /** The cached rows of a region as [headSize, cachedSlots, kvHeads], or with the heads last. */
  #region(cache: Tensor, { regionStart, cachedSlots, layout }: AttentionSpan): Tensor {
    const { headSize, kvHeads } = this.spec;
    const row = cache.strides[1];
    const head = row / kvHeads;
    const offset = regionStart * row;
    return layout === 'heads'
      ? this.graph.view(cache, [headSize, cachedSlots, 1, kvHeads], [row, head, head], offset)
      : this.graph.view(
          cache,
          shapeOf(headSize, cachedSlots, kvHeads),
          [row, head, row * cachedSlots],
          offset,
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

  #head(x: Tensor, head: NonNullable<StageWeights['head']>, rowSums: Tensor): StageOutputs {
    const { graph } = this;
    const normed = this.#norm(x, head.norm);
    const logitRowSums = this.#sums(normed);
    const logits = graph.matmul(head.output, normed);
    graph.keep(logits);
    graph.expand(logits);
    return { activations: null, logits, rowSums, logitRowSums };
  }

  #activations(x: Tensor): StageOutputs {
    this.graph.keep(x);
    this.graph.expand(x);
    return { activations: x, logits: null, rowSums: this.#sums(x), logitRowSums: null };
  }

  /** The sum of each row: a product with ones, which all threads compute, as ggml has one thread alone add up rows. */
  #sums(x: Tensor): Tensor {
    const { graph, inputs } = this;
    const sums = graph.matmul(inputs.ones, x);
    graph.keep(sums);
    graph.expand(sums);
    return sums;
  }
}

function outerStrides({ strides }: Tensor): readonly [number, number, number] {
  return [strides[1], strides[2], strides[3]];
}
