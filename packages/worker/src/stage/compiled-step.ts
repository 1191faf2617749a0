import type { StepSequence } from '@butterfly/common';
import { dtype, Graph, shapeOf, type CpuBackend, type Tensor } from '@butterfly/ggml';
import {
  cacheBlockSlots,
  graphTensorsMax,
  stageBuilder,
  type BatchShape,
  type LayerCache,
  type ModelSpec,
  type StageWeights,
} from '@butterfly/model';

/** Bits of 0 and of minus infinity in F16. */
const visible = 0;
const hidden = 0xfc00;

/** The graph of one batch shape with its inputs and outputs as native memory; serves every step of that shape. */
export class CompiledStep implements Disposable {
  readonly graph: Graph;
  #views: Views | undefined;
  readonly #attends: boolean;
  readonly #tensors: {
    readonly source: Tensor;
    readonly positions: Tensor;
    readonly slots: Tensor;
    readonly masks: readonly Tensor[];
    readonly logitRowIds: Tensor | null;
    readonly activations: Tensor | null;
    readonly logits: Tensor | null;
    readonly greedy: Tensor | null;
  };

  constructor(
    backend: CpuBackend,
    spec: ModelSpec,
    weights: StageWeights,
    caches: readonly LayerCache[],
    private readonly batch: BatchShape,
  ) {
    const graph = new Graph(backend.ggml, graphTensorsMax(weights.layers.length, batch));
    this.graph = graph;
    this.#attends = weights.head === null || weights.layers.length > 1 || batch.logitRows > 0;
    const { rows, sequences, logitRows } = batch;
    const inputs = {
      source: weights.embedding
        ? graph.input(dtype.I32, shapeOf(rows))
        : graph.input(dtype.F32, shapeOf(spec.hidden, rows)),
      positions: graph.input(dtype.I32, shapeOf(rows)),
      slots: graph.input(dtype.I64, shapeOf(rows)),
      masks: sequences.map((s) => graph.input(dtype.F16, shapeOf(s.cachedSlots, s.rows))),
      logitRowIds: weights.head && logitRows > 0 ? graph.input(dtype.I32, shapeOf(logitRows)) : null,
    };
    this.#tensors = {
      ...inputs,
      ...stageBuilder(spec.architecture)(graph, spec, weights, caches, batch, inputs),
    };
  }

  /** Looks up the memory of inputs and outputs, once the allocator has given it. */
  bind(): void {
    const { source, positions, slots, masks, logitRowIds, activations, logits, greedy } = this.#tensors;
    const data = (tensor: Tensor): ArrayBuffer => this.graph.data(tensor);
    this.#views = {
      source: new Uint8Array(data(source)),
      positions: new Int32Array(data(positions)),
      slots: new BigInt64Array(data(slots)),
      // In the midst of a prompt, the last stage ends with keys and values: it attends in none but its earlier layers.
      masks: this.#attends ? masks.map((mask) => new Uint16Array(data(mask))) : [],
      // And it never reads its row ids.
      logitRowIds: logitRowIds && logits ? new Int32Array(data(logitRowIds)) : null,
      activations: activations && new Uint8Array(data(activations)),
      logits: logits && new Float32Array(data(logits)),
      greedy: greedy && new Int32Array(data(greedy)),
    };
  }

  /** What the latest computation gave. Where ggml finds the last of equal largest logits, llama.cpp takes the first. */
  outputs(): Pick<Views, 'activations' | 'logits' | 'greedy'> {
    const { activations, logits, greedy } = this.#bound();
    if (!logits || !greedy) return { activations, logits, greedy };
    const size = logits.length / greedy.length;
    const first = greedy.map((token, row) => {
      const values = logits.subarray(row * size, row * size + token + 1);
      const found = values.indexOf(values[token] ?? NaN);
      // Not a number equals nothing, itself included.
      return found === -1 ? token : found;
    });
    return { activations, logits, greedy: first };
  }

  /** Writes token ids or activations. */
  fillSource(payload: Uint8Array): void {
    this.#bound().source.set(payload);
  }

  /** Writes all other inputs. `sequences` must have the shape that this was compiled for. */
  fill(sequences: readonly StepSequence[]): void {
    const views = this.#bound();
    let row = 0;
    let logitRow = 0;
    for (const [i, sequence] of sequences.entries()) {
      const { positionStart, rows, regionStart, logitRows } = sequence;
      for (let r = 0; r < rows; r++) {
        views.positions[row + r] = positionStart + r;
        views.slots[row + r] = BigInt(regionStart + positionStart + r);
      }
      for (let r = rows - logitRows; r < rows; r++)
        if (views.logitRowIds) views.logitRowIds[logitRow++] = row + r;
      fillCausalMask(views.masks[i], this.batch.sequences[i]?.cachedSlots ?? 0, positionStart, rows);
      row += rows;
    }
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
  readonly masks: readonly Uint16Array[];
  readonly logitRowIds: Int32Array | null;
  readonly activations: Uint8Array | null;
  readonly logits: Float32Array | null;
  readonly greedy: Int32Array | null;
}

/** Each row sees the cached tokens before it and itself. */
function fillCausalMask(
  mask: Uint16Array | undefined,
  cachedSlots: number,
  positionStart: number,
  rows: number,
): void {
  if (!mask) return;
  for (let r = 0; r < rows; r++) {
    const start = r * cachedSlots;
    const seen = positionStart + r + 1;
    mask.fill(visible, start, start + seen);
    mask.fill(hidden, start + seen, start + cachedSlots);
  }
}

/** The shape of a step, with the cache of each sequence rounded up to whole blocks. */
export function batchShape(sequences: readonly StepSequence[]): BatchShape {
  return {
    rows: sequences.reduce((sum, s) => sum + s.rows, 0),
    logitRows: sequences.reduce((sum, s) => sum + s.logitRows, 0),
    sequences: sequences.map(({ rows, regionStart, positionStart }) => ({
      rows,
      regionStart,
      cachedSlots: Math.ceil((positionStart + rows) / cacheBlockSlots) * cacheBlockSlots,
    })),
  };
}
