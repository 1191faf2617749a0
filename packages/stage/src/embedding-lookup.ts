import { ComputeAllocator, type CpuBackend, Graph, dtype, shapeOf } from '@butterfly/ggml';
import { ensure } from '@butterfly/common';
import type { ModelSpec } from '@butterfly/model';
import type { SharedWeights } from './loading/shared-weights.js';
import { LoadedWeights } from './loading/stage-weights.js';

export const embeddingName = 'token_embd.weight';

/**
 * The embedding of a first stage whose device is not the host: a table of hundreds of megabytes of which a step reads a few
 * rows, and which some GPUs cannot read in the types that files have it in. It stays in the host's memory, as in llama.cpp.
 */
export class EmbeddingLookup implements Disposable {
  readonly weights: LoadedWeights;
  readonly #allocator: ComputeAllocator;

  /** @throws ButterflyError COMPUTE_FAILED when memory is short */
  constructor(
    private readonly host: CpuBackend,
    spec: Pick<ModelSpec, 'files' | 'tensors'>,
    shared?: SharedWeights,
  ) {
    const source = spec.tensors.find(({ name }) => name === embeddingName);
    ensure(source !== undefined, () => `The model has no ${embeddingName}.`);
    this.weights = new LoadedWeights(host, spec, [{ source, use: 'lookup' }], () => host, shared);
    this.#allocator = new ComputeAllocator(host);
  }

  /** @param tokens I32 [rows]. @returns F32 [rows, width of the embedding] */
  async rows(tokens: Uint8Array): Promise<Uint8Array> {
    const table = this.weights.find(embeddingName, 'lookup');
    ensure(table !== null, () => `${embeddingName} is not loaded.`);
    using graph = new Graph(this.host.ggml, 2);
    const ids = graph.input(dtype.I32, shapeOf(tokens.length / Int32Array.BYTES_PER_ELEMENT));
    const rows = graph.getRows(table, ids);
    graph.keep(rows);
    graph.expand(rows);
    this.#allocator.allocate(graph);
    graph.write(ids, tokens);
    await this.host.compute(graph);
    const result = new Uint8Array(rows.strides[3] * rows.shape[3]);
    graph.read(rows, result);
    return result;
  }

  [Symbol.dispose](): void {
    this.#allocator[Symbol.dispose]();
    this.weights[Symbol.dispose]();
  }
}
