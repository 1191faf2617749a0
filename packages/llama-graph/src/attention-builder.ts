import { ensure } from '@butterfly/common';
import { dtype, shapeOf, type CloningGraph, type ImportedTensor, type Tensor } from '@butterfly/ggml';
import {
  type BatchShape,
  type LayerAttention,
  type LayerCache,
  type MaskInput,
  SpanAttention,
  fitsRooms,
  cachedOf,
  groupedQueries,
  spanMasks,
} from '@butterfly/model';
import { hasWindow, isBiased, maskOperand, sinksOperand } from './attention-operands.js';
import { cacheLayer } from './cut.js';
import { rootOf } from './leaves.js';
import { refuse } from './refusal.js';
import { attendTexts } from './texts/text-attention.js';

type Pointer = ImportedTensor['pointer'];

interface AttentionBuilderOptions {
  readonly range: { readonly layerStart: number };
  readonly attention: readonly (LayerAttention | null)[];
  readonly get: (pointer: Pointer) => ImportedTensor;
  readonly batch: BatchShape;
  /** That layers with a window see. */
  readonly windowTokens: number;
  /** Of the layers of the range; null for one that attends to nothing. */
  readonly caches: readonly (LayerCache | null)[];
  /** What stands for a source of a node. */
  readonly operand: (node: ImportedTensor, index: number, pointer: Pointer) => Tensor;
}

/** Inputs of a step that attention needs, to which it adds. */
interface AttentionInputs {
  readonly masks: MaskInput[];
  readonly attended: Tensor[];
}

/** Makes the attention of an imported graph over the spans of a stage, each over its own region of the arena, or room. */
export class AttentionBuilder {
  readonly #masksOfSpans = new Map<MaskInput, readonly Tensor[]>();
  readonly #grouped = new Map<number, Tensor>();

  constructor(
    private readonly graph: CloningGraph,
    private readonly inputs: AttentionInputs,
    private readonly options: AttentionBuilderOptions,
  ) {}

  /** The plane of the arena, or of the rooms, that stands for a cache of llama.cpp. */
  cacheOf(root: ImportedTensor): Tensor {
    const layer = cacheLayer(root) ?? -1;
    const cache = this.options.caches[layer - this.options.range.layerStart];
    const plane = root.name.startsWith('cache_k') ? cache?.keys : cache?.values;
    ensure(
      plane !== null && plane?.type === root.type && plane.shape[0] === root.shape[0],
      () => `${root.name} of [${root.shape.join(', ')}] is cached otherwise.`,
    );
    return plane;
  }

  /** Whether a cache lies in rooms. */
  isInRooms(root: ImportedTensor): boolean {
    const { attention, batch } = this.options;
    return (
      fitsRooms(attention[cacheLayer(root) ?? -1] ?? null) && batch.spans.some(({ room }) => room !== null)
    );
  }

  /** What stands for a node FLASH_ATTN_EXT. */
  attend(node: ImportedTensor): Tensor {
    const { graph } = this;
    const { get, attention, batch, operand } = this.options;
    const [q, k, v] = node.sources;
    const sinks = node.sources[sinksOperand];
    if (!q || !k || !v) throw refuse('has an attention without operands');
    const keys = get(k);
    const values = get(v);
    const root = rootOf(this.options, keys);
    const layer = cacheLayer(root);
    if (layer === null) return this.#attendTexts(node, { q, k, v, sinks: sinks ?? null });
    const shape = attention[layer];
    if (!shape) throw refuse('attends to what is no cache');
    const cache = { keys: this.cacheOf(root), values: this.#valuesOf(values, root) };
    const queries = operand(node, 0, q);
    const [, row, head, all] = queries.strides;
    const spans = new SpanAttention(graph, batch, shape, {
      masks: this.#masks(shape.window, isBiased(node)),
      grouped: this.#groupedFor(shape),
      attended: this.#attendedFor(shape.heads * values.shape[0]),
    });
    const sinkTensor = sinks ? operand(node, sinksOperand, sinks) : null;
    const result = spans.attend(
      graph.view(queries, shapeOf(queries.shape[0], shape.heads, batch.paddedRows), [head, row, all], 0),
      cache,
      (query, key, value, mask) =>
        graph.attentionLike(node, { q: query, k: key, v: value, mask }, sinkTensor),
      // Of values that are a part of the keys: which part.
      { valueSize: values.shape[0], valueOffset: cache.values ? 0 : values.viewOffset % root.strides[1] },
    );
    return graph.shapedAs(result, node);
  }

  /** What stands for an attention over what is not cached. */
  #attendTexts(
    node: ImportedTensor,
    {
      q,
      k,
      v,
      sinks,
    }: { readonly q: Pointer; readonly k: Pointer; readonly v: Pointer; readonly sinks: Pointer | null },
  ): Tensor {
    const { get, batch, operand, windowTokens } = this.options;
    const mask = node.sources[maskOperand];
    if (!mask) throw refuse('attends without a mask');
    const window = hasWindow(get(mask)) ? ({ kind: 'symmetric', tokens: windowTokens } as const) : null;
    const values = operand(node, 2, v);
    return attendTexts(this.graph, node, batch, {
      queries: operand(node, 0, q),
      keys: operand(node, 1, k),
      values,
      sinks: sinks ? operand(node, sinksOperand, sinks) : null,
      masks: this.#masks(window, isBiased(node)),
      attended: this.#attendedFor(get(q).shape[2] * values.shape[0]),
    });
  }

  /** Null where values are a part of the cached keys. */
  #valuesOf(values: ImportedTensor, keysRoot: ImportedTensor): Tensor | null {
    const root = rootOf(this.options, values);
    return root.pointer === keysRoot.pointer ? null : this.cacheOf(root);
  }

  /** The masks of the spans for layers that see so far. */
  #masks(window: LayerAttention['window'], isFarLess: boolean): readonly Tensor[] {
    const { batch } = this.options;
    let input = this.inputs.masks.find(
      (each) =>
        each.isBiased === isFarLess &&
        each.window?.kind === window?.kind &&
        each.window?.tokens === window?.tokens,
    );
    if (!input) {
      const elements = batch.spans.reduce(
        (sum, span) => sum + span.queries * cachedOf(span, window).slots,
        0,
      );
      input = { tensor: this.graph.input(dtype.F16, shapeOf(elements)), window, isBiased: isFarLess };
      this.inputs.masks.push(input);
    }
    const known = this.#masksOfSpans.get(input) ?? spanMasks(this.graph, input.tensor, batch, window);
    this.#masksOfSpans.set(input, known);
    return known;
  }

  #groupedFor({ kvHeads, keySize }: LayerAttention): Tensor | null {
    const queries = groupedQueries(this.options.batch.spans);
    if (queries === 0) return null;
    const width = kvHeads * keySize;
    const made = this.#grouped.get(width) ?? this.graph.input(dtype.F32, shapeOf(width, queries));
    this.#grouped.set(width, made);
    return made;
  }

  /** Null when one span is all. */
  #attendedFor(width: number): Tensor | null {
    const { rows, paddedRows, spans } = this.options.batch;
    if (spans.length === 1 && paddedRows === rows && groupedQueries(spans) === 0) return null;
    const known = this.inputs.attended.find(({ shape }) => shape[0] === width);
    if (known) return known;
    const made = this.graph.input(dtype.F32, shapeOf(width, paddedRows));
    this.inputs.attended.push(made);
    return made;
  }
}
