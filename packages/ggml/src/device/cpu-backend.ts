import koffi from 'koffi';
import { ButterflyError, ensure } from '@butterfly/common';
import { Backend } from './backend.js';
import type { BufferType } from './buffer.js';
import type { Ggml } from '../library/library.js';
import type { Pointer } from '../library/symbols.js';

/** Offsets in `struct ggml_threadpool_params` of ggml.h, behind `bool cpumask[GGML_MAX_N_THREADS]`. */
const threadpoolParams = { bytes: 544, pollOffset: 512 + 8 } as const;

/** What Linux gives a thread by default: address space, of which few pages are ever touched. */
const stackBytes = 8 * 2 ** 20;

/** ggml's CPU backend with a thread pool that lives as long as it. One computation runs at a time. */
export class CpuBackend extends Backend {
  override readonly preferred: readonly BufferType[];
  #threadpool: Pointer | null = null;

  /** @throws ButterflyError COMPUTE_FAILED when memory is short, or there cannot be so many threads */
  constructor(
    ggml: Ggml,
    readonly threads: number,
  ) {
    ensure(
      Number.isInteger(threads) && threads >= 1 && threads <= 512,
      () => `A backend cannot have ${threads} threads.`,
    );
    super(ggml, ggml.cpuDevice);
    try {
      this.preferred = this.#extraBufferTypes();
      ggml.cpu.ggml_backend_set_n_threads(this.alive(), threads);
      this.#startThreadpool(this.alive());
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
  }

  /** Forces the plain attention path, whose result does not depend on batch shape or thread count. */
  setReferenceKernels(on: boolean): void {
    this.ggml.cpu.ggml_backend_cpu_set_use_ref(this.alive(), on);
  }

  /** @throws ButterflyError COMPUTE_INVALID while a computation runs. */
  override [Symbol.dispose](): void {
    super[Symbol.dispose]();
    if (this.#threadpool !== null) this.ggml.cpu.ggml_threadpool_free(this.#threadpool);
    this.#threadpool = null;
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

  #extraBufferTypes(): BufferType[] {
    const list = this.ggml.cpu.ggml_backend_dev_get_extra_bufts(this.ggml.cpuDevice);
    const types: BufferType[] = [];
    for (let entry = list; entry !== null; entry += 8n) {
      const pointer = koffi.decode(entry, 'void *') as Pointer | null;
      if (pointer === null) break;
      types.push(this.describe(pointer, false));
    }
    return types;
  }
}
