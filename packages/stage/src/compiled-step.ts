import { type CpuBackend, Graph, type Tensor, dtype, shapeOf } from '@butterfly/ggml';
import {
  type AttentionSpan,
  type BatchShape,
  type LayerCache,
  type ModelSpec,
  type SpanLayout,
  type StageInputs,
  type StageOutputs,
  type StageWeights,
  cacheBlockSlots,
  graphTensorsMax,
  stageBuilder,
} from '@butterfly/model';
import type { StepSequence } from '@butterfly/wire';

/** Bits of 0 and of minus infinity in F16. */
const visible = 0;
const hidden = 0xfc00;

/** The graph of one batch shape with its inputs and outputs as native memory; serves every step of that shape. */
export class CompiledStep implements Disposable {
  readonly graph: Graph;
  #views: Views | undefined;
  /** Whether any layer attends: in the midst of a prompt, the last stage ends with the keys and values of its last layer. */
  readonly #attends: boolean;
  /** Heads that share a key. */
  readonly #groupHeads: number;
  readonly #tensors: StageInputs & StageOutputs;

  constructor(
    backend: CpuBackend,
    spec: ModelSpec,
    weights: StageWeights,
    caches: readonly LayerCache[],
    private readonly batch: BatchShape,
  ) {
    const graph = new Graph(backend.ggml, graphTensorsMax(weights.layers.length, batch));
    this.graph = graph;
    this.#groupHeads = spec.heads / spec.kvHeads;
    this.#attends = weights.head === null || weights.layers.length > 1 || batch.logitRows > 0;
    const { rows, paddedRows, paddedLogitRows, spans } = batch;
    const maskElements = spans.reduce((sum, span) => sum + span.queries * span.cachedSlots, 0);
    const groupedQueries = Math.max(
      0,
      ...spans.map(({ layout, queries }) => (layout === 'groups' ? queries : 0)),
    );
    const inputs: StageInputs = {
      source: weights.embedding
        ? graph.input(dtype.I32, shapeOf(paddedRows))
        : graph.input(dtype.F32, shapeOf(spec.hidden, paddedRows)),
      positions: graph.input(dtype.I32, shapeOf(paddedRows)),
      slots: graph.input(dtype.I64, shapeOf(rows)),
      masks: graph.input(dtype.F16, shapeOf(maskElements)),
      grouped:
        groupedQueries > 0
          ? graph.input(dtype.F32, shapeOf(spec.kvHeads * spec.headSize, groupedQueries))
          : null,
      attended:
        spans.length > 1 || paddedRows > rows || groupedQueries > 0
          ? graph.input(dtype.F32, shapeOf(spec.heads * spec.headSize, paddedRows))
          : null,
      logitRowIds:
        weights.head && paddedLogitRows > 0 ? graph.input(dtype.I32, shapeOf(paddedLogitRows)) : null,
      ones: graph.input(dtype.F32, shapeOf(spec.hidden)),
    };
    try {
      this.#tensors = {
        ...inputs,
        ...stageBuilder(spec.architecture)(graph, spec, weights, caches, batch, inputs),
      };
    } catch (error) {
      graph[Symbol.dispose]();
      throw error;
    }
  }

  /** Looks up the memory of inputs and outputs, once the allocator has given it. */
  bind(): void {
    const { source, positions, slots, masks, attended, logitRowIds, ones } = this.#tensors;
    const { activations, logits, rowSums, logitRowSums } = this.#tensors;
    const { rows, paddedRows, logitRows, paddedLogitRows } = this.batch;
    const data = (tensor: Tensor): ArrayBuffer => this.graph.data(tensor);
    this.#views = {
      source: new Uint8Array(data(source)),
      positions: new Int32Array(data(positions)),
      slots: new BigInt64Array(data(slots)),
      masks: this.#attends ? new Uint16Array(data(masks)) : null,
      attendedPadding:
        this.#attends && attended
          ? new Uint8Array(data(attended)).subarray(rows * attended.strides[1])
          : null,
      // In the midst of a prompt, nobody reads them.
      logitRowIds: logitRowIds && logits ? new Int32Array(data(logitRowIds)) : null,
      ones: new Float32Array(data(ones)),
      rowSums: firstRows(new Float32Array(data(rowSums)), rows, paddedRows),
      logitRowSums:
        logitRowSums && firstRows(new Float32Array(data(logitRowSums)), logitRows, paddedLogitRows),
      activations: activations && firstRows(new Uint8Array(data(activations)), rows, paddedRows),
      logits: logits && firstRows(new Float32Array(data(logits)), logitRows, paddedLogitRows),
    };
  }

  /** What the latest computation gave, without the rows that pad. */
  outputs(): Pick<Views, 'activations' | 'logits' | 'rowSums' | 'logitRowSums'> {
    const { activations, logits, rowSums, logitRowSums } = this.#bound();
    return { activations, logits, rowSums, logitRowSums };
  }

  /** Writes token ids or activations. */
  fillSource(payload: Uint8Array): void {
    const { source } = this.#bound();
    source.set(payload);
    source.fill(0, payload.length);
  }

  /** Writes all other inputs. `sequences` must have the shape that this was compiled for. */
  fill(sequences: readonly StepSequence[]): void {
    const { positions, slots, logitRowIds, attendedPadding, masks, ones } = this.#bound();
    let row = 0;
    let logitRow = 0;
    for (const { positionStart, rows, regionStart, logitRows } of sequences) {
      for (let r = 0; r < rows; r++) {
        positions[row + r] = positionStart + r;
        slots[row + r] = BigInt(regionStart + positionStart + r);
      }
      for (let r = rows - logitRows; logitRowIds && r < rows; r++) logitRowIds[logitRow++] = row + r;
      row += rows;
    }
    positions.fill(0, row);
    logitRowIds?.fill(0, logitRow);
    attendedPadding?.fill(0);
    ones.fill(1);
    if (masks) fillCausalMasks(masks, this.batch, this.#groupHeads, positions);
  }

  [Symbol.dispose](): void {
    this.#views = undefined;
    this.graph[Symbol.dispose]();
  }

  #bound(): Views {
    if (!this.#views) throw new RangeError('the step has no memory yet');
    return this.#views;
  }
}

interface Views {
  readonly source: Uint8Array;
  readonly positions: Int32Array;
  readonly slots: BigInt64Array;
  readonly masks: Uint16Array | null;
  readonly attendedPadding: Uint8Array | null;
  readonly logitRowIds: Int32Array | null;
  readonly ones: Float32Array;
  readonly rowSums: Float32Array;
  readonly logitRowSums: Float32Array | null;
  readonly activations: Uint8Array | null;
  readonly logits: Float32Array | null;
}

function firstRows<T extends Uint8Array | Float32Array>(values: T, rows: number, of: number): T {
  return values.subarray(0, (values.length / of) * rows) as T;
}

/** Each row sees the cached tokens before it and itself, in each of its queries; queries without a row see nothing. */
function fillCausalMasks(
  masks: Uint16Array,
  { spans }: BatchShape,
  groupHeads: number,
  positions: Int32Array,
): void {
  let row = 0;
  let start = 0;
  for (const { rows, layout, queries, cachedSlots } of spans) {
    const queriesOfRow = layout === 'groups' ? groupHeads : 1;
    for (let query = 0; query < queries; query++) {
      const r = Math.floor(query / queriesOfRow);
      const seen = r < rows ? (positions[row + r] ?? 0) + 1 : 0;
      masks.fill(visible, start, start + seen);
      masks.fill(hidden, start + seen, start + cachedSlots);
      start += cachedSlots;
    }
    row += rows;
  }
}

/**
 * The shape of a step. Several known rows of a sequence are a part of a prompt and attended together; a single one is
 * decoded, and each guess behind it is attended by itself and over as many slots as if it were decoded alone: attention
 * over several rows has another code path, whose last bits differ.
 * @param padded how many rows to compute for so many.
 * @param layout of the queries of a span of so many rows.
 */
export function batchShape(
  sequences: readonly StepSequence[],
  padded: (rows: number) => number,
  layout: SpanLayout,
): BatchShape {
  let rows = 0;
  let logitRows = 0;
  const spans: AttentionSpan[] = [];
  for (const { rows: all, regionStart, positionStart, draftTokens, logitRows: wanted } of sequences) {
    const span = (count: number, position: number): AttentionSpan => ({
      rows: count,
      ...layout(count, position + count),
      regionStart,
      cachedSlots: Math.ceil((position + count) / cacheBlockSlots) * cacheBlockSlots,
    });
    const known = all - draftTokens.length;
    spans.push(span(known, positionStart));
    for (let r = known; r < all; r++) spans.push(span(1, positionStart + r));
    rows += all;
    logitRows += wanted;
  }
  return { rows, paddedRows: padded(rows), spans, logitRows, paddedLogitRows: padded(logitRows) };
}
