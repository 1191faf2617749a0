import { ButterflyError, ensure } from '@butterfly/common';
import { type Backend, computed } from '../device/backend.js';
import type { Pointer } from '../library/symbols.js';
import { Uses } from '../library/uses.js';
import type { ComputeMemory } from './graph-context.js';
import type { Graph } from './graph.js';

/** Copies from device to device before each part of a graph, as ggml-backend.cpp bounds them (GGML_SCHED_MAX_SPLIT_INPUTS). */
const splitInputsMax = 30;
/** `sched` is made for graphs of at least so many tensors, so that it is seldom made anew. */
const tensorsMin = 1024;

/**
 * Computes graphs whose weights lie partly on a device and partly in the memory of the host beside it, by
 * `ggml_backend_sched`: every operation where its weights are, and what lies between on the device. It has the memory of
 * one graph at a time: allocating the next voids the one before, which is to be made anew and never allocated again.
 */
export class Scheduler implements Disposable {
  #pointer: Pointer | null = null;
  #tensorsMax = 0;
  #memory: ComputeMemory = { isValid: false, uses: new Uses() };

  constructor(
    private readonly device: Backend,
    private readonly host: Backend,
  ) {}

  /** Bytes of intermediates on the device. */
  get deviceBytes(): number {
    return this.#bytesOf(this.device);
  }

  /** Bytes of intermediates in the memory of the host. */
  get hostBytes(): number {
    return this.#bytesOf(this.host);
  }

  /** Parts that the graph is cut into where it goes from one device to the other. */
  get parts(): number {
    return this.#pointer === null ? 0 : this.#base.ggml_backend_sched_get_n_splits(this.#pointer);
  }

  /**
   * Gives a graph its memory; the one before is void.
   * @throws ButterflyError COMPUTE_FAILED when memory is short, after which it may be tried with another graph
   */
  allocate(graph: Graph): void {
    this.#memory.uses.ensureNone('Memory for computations');
    this.#memory.isValid = false;
    const { nodes, leaves } = graph.size;
    const { unplaced } = graph;
    const pointer = this.#for(nodes + leaves + unplaced.length);
    this.#base.ggml_backend_sched_reset(pointer);
    // Inputs would lie with the host, but some of them are what kernels of the device write into.
    for (const tensor of unplaced)
      this.#base.ggml_backend_sched_set_tensor_backend(pointer, tensor, this.device.pointer);
    if (!this.#base.ggml_backend_sched_alloc_graph(pointer, graph.pointer)) {
      // ggml's allocator would write through the buffer that it did not get.
      this.#free();
      throw new ButterflyError(
        'COMPUTE_FAILED',
        'Memory for a computation on a device and its host could not be allocated; free memory or use a smaller context.',
      );
    }
    this.#memory = { isValid: true, uses: new Uses() };
    graph.allocatedIn(this.#memory);
  }

  /**
   * Computes the graph that was allocated last, on threads of its own.
   * @throws ButterflyError COMPUTE_FAILED, or COMPUTE_INVALID for another graph or when a computation already runs
   */
  compute(graph: Graph): Promise<void> {
    const pointer = this.#pointer;
    ensure(pointer !== null, () => 'The graph has no memory; allocate it first.');
    // The scheduler would compute its own latest graph instead of one whose memory is void; this refuses that.
    const { computable } = graph;
    const releaseHost = this.host.occupy();
    try {
      const releaseDevice = this.device.occupy();
      const letGo = graph.hold();
      return computed((done) => {
        this.#base.ggml_backend_sched_graph_compute.async(pointer, computable, done);
      }).finally(() => {
        letGo();
        releaseDevice();
        releaseHost();
      });
    } catch (error) {
      releaseHost();
      throw error;
    }
  }

  /** @throws ButterflyError COMPUTE_INVALID while it computes */
  [Symbol.dispose](): void {
    this.#memory.uses.ensureNone('Memory for computations');
    this.#memory.isValid = false;
    this.#free();
  }

  get #base(): Backend['ggml']['base'] {
    return this.device.ggml.base;
  }

  #bytesOf({ pointer }: Backend): number {
    return this.#pointer === null ? 0 : this.#base.ggml_backend_sched_get_buffer_size(this.#pointer, pointer);
  }

  /** A native scheduler for so many tensors. */
  #for(tensors: number): Pointer {
    if (this.#pointer !== null && tensors <= this.#tensorsMax) return this.#pointer;
    this.#free();
    const tensorsMax = Math.max(tensorsMin, 2 ** Math.ceil(Math.log2(tensors)));
    // ggml would write to memory that it did not get: it takes this much at once, of which it touches little.
    this.host.allocate(tensorsMax * splitInputsMax * 2 * this.#base.ggml_tensor_overhead())[Symbol.dispose]();
    const backends = BigUint64Array.of(this.device.pointer, this.host.pointer);
    const made = this.#base.ggml_backend_sched_new(backends, null, 2, tensorsMax, false, false);
    if (made === null)
      throw new ButterflyError('COMPUTE_FAILED', 'A scheduler for two devices could not be made.');
    this.#pointer = made;
    this.#tensorsMax = tensorsMax;
    return made;
  }

  #free(): void {
    if (this.#pointer !== null) this.#base.ggml_backend_sched_free(this.#pointer);
    this.#pointer = null;
    this.#tensorsMax = 0;
  }
}
