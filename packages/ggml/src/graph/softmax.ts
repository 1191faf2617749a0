import { ensure } from '@butterfly/common';
import type { Backend } from '../device/backend.js';
import { dtype } from './dtype.js';
import { ComputeAllocator, Graph } from './graph.js';
import { shapeOf, type Tensor } from './tensor.js';

interface Compiled {
  readonly graph: Graph;
  readonly inputs: Float32Array;
  readonly results: Float32Array;
}

/** Softmax over a few long rows, with the kernels and threads of a backend; each row is computed by itself. */
export class Softmax implements Disposable {
  readonly #allocator: ComputeAllocator;
  /** By number of rows, all in the same memory. */
  readonly #compiled = new Map<number, Compiled>();

  /** @throws ButterflyError COMPUTE_FAILED when memory is short */
  constructor(
    private readonly backend: Backend,
    readonly columns: number,
    readonly rowsMax: number,
  ) {
    this.#allocator = new ComputeAllocator(backend);
    try {
      // The largest first, so that the memory never moves.
      this.#compile(rowsMax);
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
  }

  /** Where the caller writes so many rows before `compute`: F32 [rows, columns]. */
  inputs(rows: number): Float32Array {
    return this.#compile(rows).inputs;
  }

  /** What became of so many rows of inputs, F32 [rows, columns]; void as soon as the next are written. */
  async compute(rows: number): Promise<Float32Array> {
    const { graph, results } = this.#compile(rows);
    await this.backend.compute(graph);
    return results;
  }

  [Symbol.dispose](): void {
    for (const { graph } of this.#compiled.values()) graph[Symbol.dispose]();
    this.#compiled.clear();
    this.#allocator[Symbol.dispose]();
  }

  #compile(rows: number): Compiled {
    const known = this.#compiled.get(rows);
    if (known) return known;
    ensure(
      Number.isInteger(rows) && rows >= 1 && rows <= this.rowsMax,
      () => `A softmax of ${rows} rows exceeds ${this.rowsMax}.`,
    );
    const graph = new SoftmaxGraph(this.backend.ggml, 2);
    try {
      const inputs = graph.input(dtype.F32, shapeOf(this.columns, rows));
      const results = graph.softmax(inputs);
      graph.keep(results);
      graph.expand(results);
      this.#allocator.allocate(graph);
      const compiled = {
        graph,
        inputs: new Float32Array(graph.data(inputs)),
        results: new Float32Array(graph.data(results)),
      };
      this.#compiled.set(rows, compiled);
      return compiled;
    } catch (error) {
      graph[Symbol.dispose]();
      // What was compiled before may have lost its memory with this.
      this[Symbol.dispose]();
      throw error;
    }
  }
}

class SoftmaxGraph extends Graph {
  /** Over the columns of an input of this graph. */
  softmax(a: Tensor): Tensor {
    const pointer = this.ggml.base.ggml_soft_max_ext(this.take(), a.pointer, null, 1, 0);
    return this.result(pointer, a.type, a.shape);
  }
}
