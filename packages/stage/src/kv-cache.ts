import { ensure } from '@butterfly/common';
import {
  type Backend,
  Graph,
  type Tensor,
  TensorMemory,
  dtype,
  moveRows,
  rowBytes,
  shapeOf,
  typeTraits,
} from '@butterfly/ggml';
import type { LayerAttention, LayerCache } from '@butterfly/model';
import type { ArenaCopy, CacheType } from '@butterfly/wire';

/** What the cache depends on of a layer. */
type CacheShape = Pick<LayerAttention, 'heads' | 'kvHeads' | 'keySize' | 'valueSize'>;

/** The ggml type of each type of cache. */
export const dtypeOf: Readonly<Record<CacheType, number>> = {
  f16: dtype.F16,
  bf16: dtype.BF16,
  q8_0: dtype.Q8_0,
};

/** The KV arena of a stage: for each of its layers, keys and values of every slot. */
export class KvCache implements Disposable {
  /** Null for a layer that attends to nothing. */
  readonly layers: readonly (LayerCache | null)[];
  readonly bytes: number;
  readonly #graph: Graph;
  readonly #memory: TensorMemory;
  /** Keys and values of the layers. */
  readonly #planes: readonly Plane[];

  /** Allocates; `clear` must run before the first step. @throws ButterflyError COMPUTE_INVALID for a type that heads of this size or the backend cannot have, COMPUTE_FAILED */
  constructor(
    backend: Backend,
    layers: readonly (CacheShape | null)[],
    readonly slots: number,
    readonly type: CacheType,
  ) {
    const cacheType = dtypeOf[type];
    for (const shape of distinctShapes(layers)) {
      // Throws by itself where a head is not whole blocks of the type.
      rowBytes(backend.ggml, cacheType, shape.keySize);
      ensure(
        canCache(backend, shape, type),
        () => `This backend cannot keep keys and values in ${type}; use --kv-cache-type f16.`,
      );
    }
    const graph = (this.#graph = new Graph(backend.ggml, 2 * layers.length + 1));
    const plane = (width: number): Tensor | null =>
      width === 0 ? null : graph.tensor(cacheType, shapeOf(width, slots));
    this.layers = layers.map((layer) => {
      const keys = layer && plane(layer.kvHeads * layer.keySize);
      return keys && { keys, values: plane(layer.kvHeads * layer.valueSize) };
    });
    const tensors = this.layers.flatMap((layer) =>
      layer ? [layer.keys, ...(layer.values ? [layer.values] : [])] : [],
    );
    try {
      this.#memory = new TensorMemory(backend, graph, tensors);
    } catch (error) {
      graph[Symbol.dispose]();
      throw error;
    }
    this.bytes = this.#memory.bytes;
    this.#planes = tensors.map((tensor) =>
      backend.plain.isHost
        ? hostPlane(this.#memory.view(tensor), tensor.strides[1])
        : devicePlane(backend, graph, tensor),
    );
  }

  /** Zeroes the arena, since masked slots are read too; see `TensorMemory`. */
  clear(options?: Parameters<TensorMemory['clear']>[0]): Promise<void> {
    return this.#memory.clear(options);
  }

  /** Moves cached tokens from slots to slots, in every layer. */
  copy(copy: ArenaCopy): void {
    for (const plane of this.#planes) plane.copy(copy);
  }

  /** Zeroes what is cached of a token, in every layer. */
  empty(slot: number): void {
    for (const plane of this.#planes) plane.empty(slot);
  }

  [Symbol.dispose](): void {
    this.#memory[Symbol.dispose]();
    this.#graph[Symbol.dispose]();
  }
}

/** Keys or values of one layer. */
interface Plane {
  copy(copy: ArenaCopy): void;
  empty(slot: number): void;
}

function hostPlane(bytes: Uint8Array, row: number): Plane {
  return {
    copy: ({ fromSlot, toSlot, slots }) =>
      void bytes.copyWithin(toSlot * row, fromSlot * row, (fromSlot + slots) * row),
    empty: (slot) => void bytes.fill(0, slot * row, (slot + 1) * row),
  };
}

function devicePlane({ ggml }: Backend, graph: Graph, tensor: Tensor): Plane {
  const row = tensor.strides[1];
  return {
    copy: ({ fromSlot, toSlot, slots }) =>
      moveRows(ggml, graph, tensor, { from: fromSlot, to: toSlot, rows: slots }),
    empty: (slot) => graph.zero(tensor, slot * row, row),
  };
}

function distinctShapes(layers: readonly (CacheShape | null)[]): CacheShape[] {
  const shapes = layers
    .flatMap((layer) => layer ?? [])
    .map(({ heads, kvHeads, keySize, valueSize }) => ({
      heads,
      kvHeads,
      keySize,
      valueSize,
    }));
  return [...new Map(shapes.map((shape) => [Object.values(shape).join(), shape])).values()];
}

/** Whether heads of this size are whole blocks of the type, and the backend writes and attends over it; it would end the process otherwise. */
export function canCache(
  backend: Backend,
  { heads, kvHeads, keySize, valueSize }: CacheShape,
  type: CacheType,
): boolean {
  const cacheType = dtypeOf[type];
  const { blockSize } = typeTraits(backend.ggml, cacheType);
  if (keySize % blockSize !== 0 || valueSize % blockSize !== 0) return false;
  const slots = 256;
  using graph = new Graph(backend.ggml, 16);
  const table = graph.tensor(cacheType, shapeOf(kvHeads * keySize, slots));
  const row = graph.tensor(dtype.F32, shapeOf(kvHeads * keySize));
  const written = graph.setRows(table, row, graph.tensor(dtype.I64, shapeOf(1)));
  const keys = graph.tensor(cacheType, shapeOf(keySize, slots, kvHeads));
  const values = graph.tensor(cacheType, shapeOf(valueSize || keySize, slots, kvHeads));
  const query = graph.tensor(dtype.F32, shapeOf(keySize, 1, heads));
  const attention = graph.flashAttention(query, keys, values, graph.tensor(dtype.F16, shapeOf(slots)), 1);
  return backend.supports(written) && backend.supports(attention);
}
