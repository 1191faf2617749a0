import { setImmediate } from 'node:timers/promises';
import { ensure } from '@butterfly/common';
import {
  type CpuBackend,
  type Ggml,
  Graph,
  type NativeBuffer,
  dtype,
  rowBytes,
  shapeOf,
  typeTraits,
} from '@butterfly/ggml';
import type { LayerCache, ModelSpec } from '@butterfly/model';
import type { ArenaCopy, CacheType } from '@butterfly/wire';

/** What the cache depends on of a model. */
type CacheShape = Pick<ModelSpec, 'heads' | 'kvHeads' | 'headSize'>;

/** The ggml type of each type of cache. */
export const dtypeOf: Readonly<Record<CacheType, number>> = {
  f16: dtype.F16,
  bf16: dtype.BF16,
  q8_0: dtype.Q8_0,
};

/** What is zeroed at once: some 50 ms even where the system has to find the memory first. */
const clearedAtOnceBytes = 64 * 1024 * 1024;

/** The KV arena of a stage: for each of its layers, keys and values of every slot. */
export class KvCache implements Disposable {
  readonly layers: readonly LayerCache[];
  readonly bytes: number;
  readonly #graph: Graph;
  readonly #buffer: NativeBuffer;
  readonly #rowBytes: number;
  readonly #planes: readonly Uint8Array[];

  /** Allocates; `clear` must run before the first step. @throws ButterflyError COMPUTE_INVALID for a type that heads of this size or the backend cannot have, COMPUTE_FAILED */
  constructor(
    backend: CpuBackend,
    shape: CacheShape,
    layers: number,
    readonly slots: number,
    readonly type: CacheType,
  ) {
    const cacheType = dtypeOf[type];
    const width = shape.kvHeads * shape.headSize;
    // Throws by itself where a head is not whole blocks of the type.
    rowBytes(backend.ggml, cacheType, shape.headSize);
    ensure(
      canCache(backend.ggml, shape, type),
      () => `This backend cannot keep keys and values in ${type}; use --kv-cache-type f16.`,
    );
    this.#rowBytes = rowBytes(backend.ggml, cacheType, width);
    const alignment = backend.plain.alignment;
    const planeBytes = Math.ceil((this.#rowBytes * slots) / alignment) * alignment;
    this.bytes = planeBytes * layers * 2;
    this.#graph = new Graph(backend.ggml, layers * 2 + 1);
    try {
      this.#buffer = backend.allocate(this.bytes);
    } catch (error) {
      this.#graph[Symbol.dispose]();
      throw error;
    }
    const plane = (index: number): LayerCache['keys'] => {
      const tensor = this.#graph.tensor(cacheType, shapeOf(width, slots));
      this.#graph.place(tensor, this.#buffer, index * planeBytes);
      return tensor;
    };
    this.layers = Array.from({ length: layers }, (_, layer) => ({
      keys: plane(layer * 2),
      values: plane(layer * 2 + 1),
    }));
    this.#planes = Array.from({ length: layers * 2 }, (_, index) =>
      this.#buffer.view(index * planeBytes, this.#rowBytes * slots),
    );
  }

  /**
   * Zeroes the arena, since masked slots are read too. It may have many gigabytes, so that other work comes between.
   * @param options.onPause is called whenever other work has come between, and may throw to end it.
   */
  async clear({
    atOnceBytes = clearedAtOnceBytes,
    onPause = () => undefined,
  }: { readonly atOnceBytes?: number; readonly onPause?: () => void } = {}): Promise<void> {
    for (let at = 0; at < this.bytes; at += atOnceBytes) {
      if (at > 0) {
        await setImmediate();
        onPause();
      }
      this.#buffer.view(at, Math.min(atOnceBytes, this.bytes - at)).fill(0);
    }
  }

  /** Moves cached tokens from slots to slots, in every layer. */
  copy({ fromSlot, toSlot, slots }: ArenaCopy): void {
    for (const plane of this.#planes)
      plane.copyWithin(
        toSlot * this.#rowBytes,
        fromSlot * this.#rowBytes,
        (fromSlot + slots) * this.#rowBytes,
      );
  }

  /** Zeroes what is cached of a token, in every layer. */
  empty(slot: number): void {
    for (const plane of this.#planes) plane.fill(0, slot * this.#rowBytes, (slot + 1) * this.#rowBytes);
  }

  [Symbol.dispose](): void {
    this.#buffer[Symbol.dispose]();
    this.#graph[Symbol.dispose]();
  }
}

/** Whether heads of this size are whole blocks of the type, and the backend writes and attends over it; it would end the process otherwise. */
export function canCache(ggml: Ggml, { heads, kvHeads, headSize }: CacheShape, type: CacheType): boolean {
  const cacheType = dtypeOf[type];
  if (headSize % typeTraits(ggml, cacheType).blockSize !== 0) return false;
  const slots = 256;
  using graph = new Graph(ggml, 16);
  const table = graph.tensor(cacheType, shapeOf(kvHeads * headSize, slots));
  const row = graph.tensor(dtype.F32, shapeOf(kvHeads * headSize));
  const written = graph.setRows(table, row, graph.tensor(dtype.I64, shapeOf(1)));
  const cached = graph.tensor(cacheType, shapeOf(headSize, slots, kvHeads));
  const query = graph.tensor(dtype.F32, shapeOf(headSize, 1, heads));
  const attention = graph.flashAttention(query, cached, cached, graph.tensor(dtype.F16, shapeOf(slots)), 1);
  return graph.supported(written) && graph.supported(attention);
}
