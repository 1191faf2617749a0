import koffi from 'koffi';
import { ButterflyError, ensure } from '@butterfly/common';
import { NativeBuffer, type BufferType } from './buffer.js';
import type { Ggml } from '../library/library.js';
import type { Pointer } from '../library/symbols.js';

/** Offsets in `struct ggml_threadpool_params` of ggml.h, behind `bool cpumask[GGML_MAX_N_THREADS]`. */
const threadpoolParams = { bytes: 544, pollOffset: 512 + 8 } as const;

/** What Linux gives a thread by default: address space, of which few pages are ever touched. */
const stackBytes = 8 * 2 ** 20;

/** A graph whose tensors all have memory. */
export interface ComputableGraph {
  /** `struct ggml_cgraph *`. @throws ButterflyError COMPUTE_INVALID for a graph that is disposed or has no memory */
  readonly computable: Pointer;
}

/** ggml's CPU backend with a thread pool that lives as long as it. One computation runs at a time. */
export class CpuBackend implements Disposable {
  readonly plain: BufferType;
  /** Layouts that the kernels prefer for weights, best first. */
  readonly preferred: readonly BufferType[];
  #pointer: Pointer | null;
  #threadpool: Pointer | null = null;
  #busy = false;

  /** @throws ButterflyError COMPUTE_FAILED when memory is short, or there cannot be so many threads */
  constructor(
    readonly ggml: Ggml,
    readonly threads: number,
  ) {
    ensure(
      Number.isInteger(threads) && threads >= 1 && threads <= 512,
      () => `A backend cannot have ${threads} threads.`,
    );
    this.#pointer = ggml.base.ggml_backend_dev_init(ggml.cpuDevice, null);
    if (this.#pointer === null)
      throw new ButterflyError('COMPUTE_FAILED', 'The CPU backend could not be started.');
    try {
      this.plain = this.#describe(ggml.base.ggml_backend_dev_buffer_type(ggml.cpuDevice), true);
      this.preferred = this.#extraBufferTypes();
      ggml.cpu.ggml_backend_set_n_threads(this.#pointer, threads);
      this.#startThreadpool(this.#pointer);
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
  }

  /** Forces the plain attention path, whose result does not depend on batch shape or thread count. */
  setReferenceKernels(on: boolean): void {
    this.ggml.cpu.ggml_backend_cpu_set_use_ref(this.#alive(), on);
  }

  allocate(bytes: number, type: BufferType = this.plain): NativeBuffer {
    return new NativeBuffer(this.ggml, type, bytes);
  }

  /**
   * Computes a graph on threads of its own; the event loop stays free.
   * @throws ButterflyError COMPUTE_FAILED, or COMPUTE_INVALID when a computation already runs.
   */
  compute(graph: ComputableGraph): Promise<void> {
    ensure(!this.#busy, () => 'A backend computes one graph at a time.');
    const pointer = this.#alive();
    const { computable } = graph;
    this.#busy = true;
    return new Promise((resolve, reject) => {
      this.ggml.base.ggml_backend_graph_compute.async(pointer, computable, (error, status) => {
        this.#busy = false;
        if (error)
          reject(
            new ButterflyError('COMPUTE_FAILED', `ggml could not be called: ${error.message}`, {
              cause: error,
            }),
          );
        else if (status !== 0)
          reject(new ButterflyError('COMPUTE_FAILED', `ggml reports status ${status} for a graph.`));
        else resolve();
      });
    });
  }

  /** @throws ButterflyError COMPUTE_INVALID while a computation runs. */
  [Symbol.dispose](): void {
    if (this.#pointer === null) return;
    ensure(!this.#busy, () => 'A backend cannot be disposed while it computes.');
    this.ggml.base.ggml_backend_free(this.#pointer);
    this.#pointer = null;
    if (this.#threadpool !== null) this.ggml.cpu.ggml_threadpool_free(this.#threadpool);
    this.#threadpool = null;
  }

  #alive(): Pointer {
    if (this.#pointer === null) throw new ButterflyError('COMPUTE_INVALID', 'The backend is disposed.');
    return this.#pointer;
  }

  /**
   * Threads that poll between graphs for a few milliseconds save the wake-up at each step, and leave the cores to others
   * when there is none; with one thread there are none. The measure is ggml's `poll`, of 0 to 100.
   */
  #startThreadpool(backend: Pointer): void {
    // ggml ends the process where a thread finds no room for its stack.
    if (this.threads > 1) this.allocate((this.threads - 1) * stackBytes)[Symbol.dispose]();
    const params = new Uint8Array(threadpoolParams.bytes);
    this.ggml.base.ggml_threadpool_params_init(params, this.threads);
    new DataView(params.buffer).setUint32(threadpoolParams.pollOffset, 1, true);
    this.#threadpool = this.ggml.cpu.ggml_threadpool_new(params);
    if (this.#threadpool === null)
      throw new ButterflyError('COMPUTE_FAILED', `${this.threads} threads could not be started.`);
    this.ggml.cpu.ggml_backend_cpu_set_threadpool(backend, this.#threadpool);
  }

  #describe(pointer: Pointer, isPlain: boolean): BufferType {
    const { base } = this.ggml;
    return {
      pointer,
      name: base.ggml_backend_buft_name(pointer),
      isPlain,
      alignment: base.ggml_backend_buft_get_alignment(pointer),
    };
  }

  #extraBufferTypes(): BufferType[] {
    const list = this.ggml.cpu.ggml_backend_dev_get_extra_bufts(this.ggml.cpuDevice);
    const types: BufferType[] = [];
    for (let entry = list; entry !== null; entry += 8n) {
      const pointer = koffi.decode(entry, 'void *') as Pointer | null;
      if (pointer === null) break;
      types.push(this.#describe(pointer, false));
    }
    return types;
  }
}
