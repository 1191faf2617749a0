import { setImmediate } from 'node:timers/promises';
import { type CpuBackend, Graph, type NativeBuffer, dtype, shapeOf } from '@butterfly/ggml';
import type { LayerState, LayerStates } from '@butterfly/model';

/** What is zeroed at once, as of the KV cache. */
const clearedAtOnceBytes = 64 * 2 ** 20;

/**
 * The states of a stage: for each of its layers that keeps such, numbered slots. Steps say which are read and written; the
 * first one is all zeros and never written.
 */
export class StateArena implements Disposable {
  readonly layers: readonly LayerStates[];
  readonly bytes: number;
  readonly #graph: Graph;
  readonly #buffer: NativeBuffer | null;

  /** Allocates; `clear` must run before the first step. @throws ButterflyError COMPUTE_FAILED */
  constructor(
    backend: CpuBackend,
    layers: readonly (readonly LayerState[])[],
    readonly slots: number,
  ) {
    const { alignment } = backend.plain;
    let bytes = 0;
    const places = layers.map((states) =>
      states.map(({ name, width }) => {
        const offset = bytes;
        bytes += Math.ceil((width * Float32Array.BYTES_PER_ELEMENT * slots) / alignment) * alignment;
        return { name, width, offset };
      }),
    );
    this.bytes = bytes;
    this.#graph = new Graph(backend.ggml, places.flat().length + 1);
    try {
      this.#buffer = bytes === 0 ? null : backend.allocate(bytes);
    } catch (error) {
      this.#graph[Symbol.dispose]();
      throw error;
    }
    const buffer = this.#buffer;
    this.layers = places.map((states) => {
      const tensors = states.map(({ name, width, offset }) => {
        const tensor = this.#graph.tensor(dtype.F32, shapeOf(width, slots));
        if (buffer) this.#graph.place(tensor, buffer, offset);
        return [name, tensor] as const;
      });
      return new Map(tensors);
    });
  }

  /** Zeroes all slots, with other work between. @param onPause may throw to end it. */
  async clear(onPause: () => void): Promise<void> {
    for (let at = 0; at < this.bytes; at += clearedAtOnceBytes) {
      if (at > 0) {
        await setImmediate();
        onPause();
      }
      this.#buffer?.view(at, Math.min(clearedAtOnceBytes, this.bytes - at)).fill(0);
    }
  }

  [Symbol.dispose](): void {
    this.#buffer?.[Symbol.dispose]();
    this.#graph[Symbol.dispose]();
  }
}
