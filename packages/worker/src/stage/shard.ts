import { limits } from '@butterfly/common';
import {
  Graph,
  shapeOf,
  type BufferType,
  type CpuBackend,
  type NativeBuffer,
  type Tensor,
} from '@butterfly/ggml';
import {
  arrangeWeights,
  shardTensors,
  weightUse,
  type ModelSpec,
  type ModelTensor,
  type StageWeights,
  type WeightUse,
} from '@butterfly/model';
import type { TensorSource } from '../loading/tensor-source.js';
import { chooseBufferType } from './buffer-choice.js';

export interface LayerRange {
  readonly layerStart: number;
  /** Exclusive. */
  readonly layerEnd: number;
}

interface Placement {
  readonly source: ModelTensor;
  readonly use: WeightUse;
  readonly tensor: Tensor;
  readonly type: BufferType;
  readonly offset: number;
}

const readsInFlight = limits.fileFetchesInFlightMax;

/** The weights of a range of layers in native memory, each in the layout that its kernel prefers. */
export class Shard implements Disposable {
  readonly weights: StageWeights;
  /** Bytes of native memory that the weights take. */
  readonly bytes: number;
  /** Bytes to read from the file; tied embeddings in one stage count twice. */
  readonly fileBytes: number;
  readonly #graph: Graph;
  readonly #buffers = new Map<BufferType, NativeBuffer>();
  readonly #placements: readonly Placement[];

  /** Chooses layouts and allocates; `load` then fills it. */
  constructor(
    private readonly backend: CpuBackend,
    spec: ModelSpec,
    range: LayerRange,
  ) {
    const wanted = listWeights(spec, range);
    this.#graph = new Graph(backend.ggml, wanted.length + 1);
    try {
      this.#placements = this.#place(wanted);
      const bySlot = new Map(this.#placements.map((p) => [`${p.use} ${p.source.name}`, p.tensor]));
      this.weights = arrangeWeights(
        { ...range, layers: spec.layers, tied: spec.tiedEmbeddings },
        ({ name, use }) => bySlot.get(`${use} ${name}`) ?? null,
      );
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
    this.bytes = [...this.#buffers.values()].reduce((sum, buffer) => sum + buffer.bytes, 0);
    this.fileBytes = this.#placements.reduce((sum, { source }) => sum + source.bytes, 0);
  }

  /**
   * Reads every tensor, range by range, straight into its memory; tensors in a layout of the kernels' own pass through
   * one native staging buffer of the largest of them, because ggml converts whole tensors.
   */
  async load(source: TensorSource, onProgress: (loadedBytes: number) => void): Promise<void> {
    let loaded = 0;
    const advance = (bytes: number): void => {
      loaded += bytes;
      onProgress(loaded);
    };
    const converted = this.#placements.filter(({ type }) => !type.isPlain);
    const largest = Math.max(0, ...converted.map(({ source: { bytes } }) => bytes));
    using staging = largest > 0 ? this.backend.allocate(largest) : null;
    for (const placement of this.#placements) {
      const { type, tensor, source: wanted, offset } = placement;
      const buffer = type.isPlain ? this.#buffers.get(type) : staging;
      if (!buffer) throw new RangeError('a placement lost its buffer');
      await fill(source, wanted, buffer, type.isPlain ? offset : 0, advance);
      if (!type.isPlain) await this.#graph.setData(tensor, buffer, wanted.bytes);
    }
  }

  [Symbol.dispose](): void {
    for (const buffer of this.#buffers.values()) buffer[Symbol.dispose]();
    this.#buffers.clear();
    this.#graph[Symbol.dispose]();
  }

  #place(wanted: readonly { readonly source: ModelTensor; readonly use: WeightUse }[]): Placement[] {
    const chosen = new Map<string, BufferType>();
    const used = new Map<BufferType, number>();
    const placements = wanted.map(({ source, use }): Placement => {
      const shape = shapeOf(source.shape[0] ?? 1, source.shape[1], source.shape[2], source.shape[3]);
      const key = `${use} ${source.type} ${shape.join('x')}`;
      const type = chosen.get(key) ?? chooseBufferType(this.backend, source.type, shape, use);
      chosen.set(key, type);
      const tensor = this.#graph.tensor(source.type, shape);
      const offset = used.get(type) ?? 0;
      const bytes = this.#graph.bytesIn(type, tensor);
      used.set(type, Math.ceil((offset + bytes) / type.alignment) * type.alignment);
      return { source, use, tensor, type, offset };
    });
    for (const [type, bytes] of used) {
      const buffer = this.backend.allocate(bytes, type);
      buffer.markWeights();
      this.#buffers.set(type, buffer);
    }
    for (const { tensor, type, offset } of placements) {
      const buffer = this.#buffers.get(type);
      if (buffer) this.#graph.place(tensor, buffer, offset);
    }
    return placements;
  }
}

/** The weights of a range with their uses; a tied embedding in a stage that is first and last has two. */
function listWeights(
  spec: ModelSpec,
  range: LayerRange,
): { readonly source: ModelTensor; readonly use: WeightUse }[] {
  return shardTensors(spec, range.layerStart, range.layerEnd).flatMap((source) => {
    if (source.name !== 'token_embd.weight') return [{ source, use: weightUse(source.name) }];
    const uses: WeightUse[] = [];
    if (range.layerStart === 0) uses.push('lookup');
    if (range.layerEnd === spec.layers && spec.tiedEmbeddings) uses.push('matmul');
    return uses.map((use) => ({ source, use }));
  });
}

/** Reads a tensor into `buffer` in chunks, a few at once. */
async function fill(
  source: TensorSource,
  tensor: ModelTensor,
  buffer: NativeBuffer,
  bufferOffset: number,
  advance: (bytes: number) => void,
): Promise<void> {
  let next = 0;
  const lane = async (): Promise<void> => {
    while (next < tensor.bytes) {
      const offset = next;
      const bytes = Math.min(limits.fileChunkBytesMax, tensor.bytes - offset);
      next += bytes;
      try {
        await source.read(tensor, offset, buffer.view(bufferOffset + offset, bytes));
        advance(bytes);
      } catch (error) {
        // The other lanes stop, too.
        next = tensor.bytes;
        throw error;
      }
    }
  };
  const lanes = Math.min(readsInFlight, Math.ceil(tensor.bytes / limits.fileChunkBytesMax));
  const results = await Promise.allSettled(Array.from({ length: lanes }, lane));
  // All lanes have stopped before the memory may be freed.
  for (const result of results) if (result.status === 'rejected') throw result.reason;
}
