import { type Backend, Graph, TensorMemory, dtype, shapeOf } from '@butterfly/ggml';
import type { LayerState, LayerStates, ModelSpec } from '@butterfly/model';
import type { LayerRange } from './loading/stage-weights.js';

/**
 * The states of a stage: for each of its layers that keeps such, numbered slots. Steps say which are read and written; the
 * first one is all zeros and never written.
 */
export class StateArena implements Disposable {
  readonly layers: readonly LayerStates[];
  readonly bytes: number;
  readonly #graph: Graph;
  readonly #memory: TensorMemory;

  /** Allocates; `clear` must run before the first step. @throws ButterflyError COMPUTE_FAILED */
  constructor(
    backend: Backend,
    layers: readonly (readonly LayerState[])[],
    readonly slots: number,
  ) {
    const graph = (this.#graph = new Graph(backend.ggml, layers.flat().length + 1));
    this.layers = layers.map(
      (states) =>
        new Map(states.map(({ name, width }) => [name, graph.tensor(dtype.F32, shapeOf(width, slots))])),
    );
    try {
      this.#memory = new TensorMemory(
        backend,
        graph,
        this.layers.flatMap((states) => [...states.values()]),
      );
    } catch (error) {
      graph[Symbol.dispose]();
      throw error;
    }
    this.bytes = this.#memory.bytes;
  }

  /** Zeroes all slots, with other work between. @param onPause may throw to end it. */
  clear(onPause: () => void): Promise<void> {
    return this.#memory.clear({ onPause });
  }

  [Symbol.dispose](): void {
    this.#memory[Symbol.dispose]();
    this.#graph[Symbol.dispose]();
  }
}

/** The states of a range of layers; of most models none. */
export function stateArena(backend: Backend, { graph }: ModelSpec, range: LayerRange): StateArena {
  if (graph.kind !== 'imported') return new StateArena(backend, [], 0);
  return new StateArena(backend, graph.states.slice(range.layerStart, range.layerEnd), graph.stateSlots);
}
