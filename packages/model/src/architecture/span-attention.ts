import { type Graph, type Tensor, shapeOf } from '@butterfly/ggml';
import type { LayerAttention } from '../spec/spec.js';
import { type AttentionSpan, type CachedTokens, cachedOf } from './attention-layout.js';
import type { BatchShape } from './batch-shape.js';
import type { LayerCache } from './step-tensors.js';

/** Makes one attention: queries, keys, values and mask as `Graph.flashAttention` takes them. */
type Attend = (q: Tensor, k: Tensor, v: Tensor, mask: Tensor) => Tensor;

/** Tensors that attentions share. */
export interface AttentionBuffers {
  /** The mask of each span, F16 [slots, queries]. */
  readonly masks: readonly Tensor[];
  /** F32 [kvHeads * keySize, queries] for the largest span with the layout `groups`; null without any. */
  readonly grouped: Tensor | null;
  /** F32 [heads * valueSize, paddedRows]; null when one span is all and has no layout `groups`. */
  readonly attended: Tensor | null;
}

/** Attention of each span over the region of its sequence, in the layout that the span says. */
export class SpanAttention {
  readonly #valueSize: number;

  constructor(
    private readonly graph: Graph,
    private readonly batch: BatchShape,
    private readonly shape: Pick<LayerAttention, 'heads' | 'kvHeads' | 'keySize' | 'valueSize' | 'window'>,
    private readonly buffers: AttentionBuffers,
  ) {
    this.#valueSize = shape.valueSize || shape.keySize;
  }

  /**
   * @param q F32 [keySize, heads, paddedRows].
   * @param parts where keys and values lie in a cached row, in bytes; by default all of it.
   * @returns F32 [heads * valueSize, paddedRows]
   */
  attend(
    q: Tensor,
    cache: LayerCache,
    attend: Attend,
    parts: { readonly valueSize?: number; readonly valueOffset?: number } = {},
  ): Tensor {
    const { graph, batch, shape } = this;
    const { attended, masks } = this.buffers;
    const valueSize = parts.valueSize ?? this.#valueSize;
    let row = 0;
    for (const [i, span] of batch.spans.entries()) {
      const mask = masks[i];
      if (!mask) throw new RangeError(`span ${i} has no mask`);
      const read = { ...cachedOf(span, shape.window), layout: span.layout };
      const keys = this.#cached(cache.keys, shape.keySize, 0, read);
      const values = this.#cached(cache.values ?? cache.keys, valueSize, parts.valueOffset ?? 0, read);
      const result = attend(this.#queries(q, span, row * q.strides[2]), keys, values, mask);
      if (!attended) return graph.reshape(result, shapeOf(valueSize * shape.heads, span.rows));
      const offset = row * attended.strides[1];
      const strides = [valueSize * attended.strides[0], attended.strides[1]] as const;
      graph.expand(
        span.layout === 'groups'
          ? graph.copy(
              this.#ofGroups(result, span),
              this.#byGroup(attended, valueSize, span.rows, strides, offset),
            )
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
    const { keySize, heads, kvHeads } = this.shape;
    const [, head, row, all] = q.strides;
    switch (layout) {
      case 'rows':
        return graph.view(q, shapeOf(keySize, rows, heads), [row, head, all], offset);
      case 'heads': {
        const group = head * (heads / kvHeads);
        return graph.view(q, [keySize, 1, heads / kvHeads, kvHeads], [row, head, group], offset);
      }
      case 'groups': {
        const { grouped } = this.buffers;
        if (!grouped) throw new RangeError('there is no place for grouped queries');
        const packed = keySize * grouped.strides[0];
        const [group, columns] = [packed * (heads / kvHeads), packed * queries];
        const target = [keySize, heads / kvHeads, kvHeads, rows] as const;
        graph.expand(
          graph.copy(
            this.#byGroup(q, keySize, rows, [head, row], offset),
            graph.view(grouped, target, [packed, columns, group], 0),
          ),
        );
        // What stands behind the last row is of a span before, and sees nothing.
        return graph.view(
          grouped,
          shapeOf(keySize, queries, kvHeads),
          [packed, columns, columns * kvHeads],
          0,
        );
      }
      default:
        return layout satisfies never;
    }
  }

  /**
   * Rows of heads from `offset` on as [headSize, heads / kvHeads, kvHeads, rows].
   * @param strides from head to head, and from row to row.
   */
  #byGroup(
    heads: Tensor,
    headSize: number,
    rows: number,
    [head, row]: readonly [number, number],
    offset: number,
  ): Tensor {
    const { kvHeads, heads: count } = this.shape;
    const group = head * (count / kvHeads);
    const shape = [headSize, count / kvHeads, kvHeads, rows] as const;
    return this.graph.view(heads, shape, [head, group, row], offset);
  }

  /** The same of what attention gave for the layout `groups`, without the queries behind the last row. */
  #ofGroups(result: Tensor, { rows }: AttentionSpan): Tensor {
    const { kvHeads, heads } = this.shape;
    const [, head, query] = result.strides;
    const shape = [result.shape[0], heads / kvHeads, kvHeads, rows] as const;
    return this.graph.view(result, shape, [query, head, query * (heads / kvHeads)], 0);
  }

  /** A part of cached rows as [size, slots, kvHeads], or with the heads last. */
  #cached(
    cache: Tensor,
    size: number,
    partOffset: number,
    { start, slots, layout }: CachedTokens & Pick<AttentionSpan, 'layout'>,
  ): Tensor {
    const { kvHeads } = this.shape;
    const row = cache.strides[1];
    const head = row / kvHeads;
    const offset = start * row + partOffset;
    return layout === 'heads'
      ? this.graph.view(cache, [size, slots, 1, kvHeads], [row, head, head], offset)
      : this.graph.view(cache, shapeOf(size, slots, kvHeads), [row, head, row * slots], offset);
  }
}

/** The part of a mask input of layers that see so far that belongs to each span. */
export function spanMasks(
  graph: Graph,
  masks: Tensor,
  { spans }: BatchShape,
  window: LayerAttention['window'],
): Tensor[] {
  const elementBytes = masks.strides[0];
  let offset = 0;
  return spans.map((span) => {
    const { slots } = cachedOf(span, window);
    const row = slots * elementBytes;
    const size = row * span.queries;
    const mask = graph.view(masks, shapeOf(slots, span.queries), [row, size, size], offset);
    offset += size;
    return mask;
  });
}

function outerStrides({ strides }: Tensor): readonly [number, number, number] {
  return [strides[1], strides[2], strides[3]];
}
