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

/** What is zeroed at once: some 50 ms even where the system has to find the memory first. */
const clearedAtOnceBytes = 64 * 1024 * 1024;

/** The KV arena of a stage: for each of its layers, keys and values of every slot. */
export class KvCache implements Disposable {
  /** Null for a layer that attends to nothing. */
  readonly layers: readonly (LayerCache | null)[];
  readonly bytes: number;
  readonly #graph: Graph;
  readonly #buffer: NativeBuffer;
  /** Keys and values of the layers, with the bytes of a token in them. */
  readonly #planes: readonly { readonly bytes: Uint8Array; readonly rowBytes: number }[];

  /** Allocates; `clear` must run before the first step. @throws ButterflyError COMPUTE_INVALID for a type that heads of this size or the backend cannot have, COMPUTE_FAILED */
  constructor(
    backend: CpuBackend,
    layers: readonly (CacheShape | null)[],
    readonly slots: number,
    readonly type: CacheType,
  ) {
    const cacheType = dtypeOf[type];
    for (const shape of distinctShapes(layers)) {
      // Throws by itself where a head is not whole blocks of the type.
      rowBytes(backend.ggml, cacheType, shape.keySize);
      ensure(
        canCache(backend.ggml, shape, type),
        () => `This backend cannot keep keys and values in ${type}; use --kv-cache-type f16.`,
      );
    }
    const { alignment } = backend.plain;
    const widths = layers.flatMap((layer) =>
      layer === null ? [0, 0] : [layer.kvHeads * layer.keySize, layer.kvHeads * layer.valueSize],
    );
    let bytes = 0;
    const places = widths.map((width) => {
      const row = width === 0 ? 0 : rowBytes(backend.ggml, cacheType, width);
      const place = { width, row, offset: bytes };
      bytes += Math.ceil((row * slots) / alignment) * alignment;
      return place;
    });
    this.bytes = bytes;
    this.#graph = new Graph(backend.ggml, widths.length + 1);
    try {
      this.#buffer = backend.allocate(Math.max(1, this.bytes));
    } catch (error) {
      this.#graph[Symbol.dispose]();
      throw error;
    }
    const planes = places.map(({ width, offset }) => {
      if (width === 0) return null;
      const tensor = this.#graph.tensor(cacheType, shapeOf(width, slots));
      this.#graph.place(tensor, this.#buffer, offset);
      return tensor;
    });
    this.layers = layers.map((_, layer) => {
      const keys = planes[layer * 2] ?? null;
      return keys && { keys, values: planes[layer * 2 + 1] ?? null };
    });
    this.#planes = places
      .filter(({ width }) => width > 0)
      .map(({ row, offset }) => ({ bytes: this.#buffer.view(offset, row * slots), rowBytes: row }));
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
    for (const { bytes, rowBytes: row } of this.#planes)
      bytes.copyWithin(toSlot * row, fromSlot * row, (fromSlot + slots) * row);
  }

  /** Zeroes what is cached of a token, in every layer. */
  empty(slot: number): void {
    for (const { bytes, rowBytes: row } of this.#planes) bytes.fill(0, slot * row, (slot + 1) * row);
  }

  [Symbol.dispose](): void {
    this.#buffer[Symbol.dispose]();
    this.#graph[Symbol.dispose]();
  }
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
  ggml: Ggml,
  { heads, kvHeads, keySize, valueSize }: CacheShape,
  type: CacheType,
): boolean {
  const cacheType = dtypeOf[type];
  const { blockSize } = typeTraits(ggml, cacheType);
  if (keySize % blockSize !== 0 || valueSize % blockSize !== 0) return false;
  const slots = 256;
  using graph = new Graph(ggml, 16);
  const table = graph.tensor(cacheType, shapeOf(kvHeads * keySize, slots));
  const row = graph.tensor(dtype.F32, shapeOf(kvHeads * keySize));
  const written = graph.setRows(table, row, graph.tensor(dtype.I64, shapeOf(1)));
  const keys = graph.tensor(cacheType, shapeOf(keySize, slots, kvHeads));
  const values = graph.tensor(cacheType, shapeOf(valueSize || keySize, slots, kvHeads));
  const query = graph.tensor(dtype.F32, shapeOf(keySize, 1, heads));
  const attention = graph.flashAttention(query, keys, values, graph.tensor(dtype.F16, shapeOf(slots)), 1);
  return graph.supported(written) && graph.supported(attention);
}
