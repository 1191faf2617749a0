import type { ArenaCopy } from '@butterfly/common';
import { dtype, Graph, rowBytes, shapeOf, type CpuBackend, type NativeBuffer } from '@butterfly/ggml';
import type { LayerCache, ModelSpec } from '@butterfly/model';

/** Type of cached keys and values. */
const cacheType = dtype.F16;

/** The KV arena of a stage: for each of its layers, keys and values of every slot. Zeroed, as masked slots are read. */
export class KvCache implements Disposable {
  readonly layers: readonly LayerCache[];
  readonly bytes: number;
  readonly #graph: Graph;
  readonly #buffer: NativeBuffer;
  readonly #rowBytes: number;
  readonly #planes: readonly Uint8Array[];

  constructor(
    backend: CpuBackend,
    spec: ModelSpec,
    layers: number,
    readonly slots: number,
  ) {
    const width = spec.kvHeads * spec.headSize;
    this.#rowBytes = rowBytes(backend.ggml, cacheType, width);
    const alignment = backend.plain.alignment;
    const planeBytes = Math.ceil((this.#rowBytes * slots) / alignment) * alignment;
    this.#graph = new Graph(backend.ggml, layers * 2 + 1);
    this.bytes = planeBytes * layers * 2;
    this.#buffer = backend.allocate(this.bytes);
    this.#buffer.clear();
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

  /** Moves cached tokens from slots to slots, in every layer. */
  copy({ fromSlot, toSlot, slots }: ArenaCopy): void {
    for (const plane of this.#planes)
      plane.copyWithin(
        toSlot * this.#rowBytes,
        fromSlot * this.#rowBytes,
        (fromSlot + slots) * this.#rowBytes,
      );
  }

  [Symbol.dispose](): void {
    this.#buffer[Symbol.dispose]();
    this.#graph[Symbol.dispose]();
  }
}
