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

/** ggml's CPU backend with a thread pool of its own. One computation runs at a time. */
export class CpuBackend extends Backend {
  override readonly preferred: readonly BufferType[];
  /** Of all its threads, which lives as long as it. */
  #threadpool: Pointer | null = null;
  /** Of those that `useThreads` asked for, where these are fewer. */
  #fewer: Pointer | null = null;
  #threadsInUse: number;

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
    this.#threadsInUse = threads;
    try {
      this.preferred = this.#extraBufferTypes();
      // ggml ends the process where a thread finds no room for its stack.
      if (threads > 1) this.allocate((threads - 1) * stackBytes)[Symbol.dispose]();
      this.#threadpool = this.#startThreads(threads);
      this.#compute(threads, this.#threadpool);
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
  }

  /** Forces the plain attention path, whose result does not depend on batch shape or thread count. */
  setReferenceKernels(on: boolean): void {
    this.ggml.cpu.ggml_backend_cpu_set_use_ref(this.alive(), on);
  }

  /**
   * From the next computation on, computes with so many of its threads. Fewer have a pool of their own: in a common one, those
   * that have nothing to do would poll all the same.
   * @throws ButterflyError COMPUTE_INVALID while a computation runs, COMPUTE_FAILED where threads cannot be started
   */
  useThreads(threads: number): void {
    ensure(
      Number.isInteger(threads) && threads >= 1 && threads <= this.threads,
      () => `A backend of ${this.threads} threads cannot use ${threads}.`,
    );
    if (threads === this.#threadsInUse) return;
    this.occupy()();
    const pool = threads === this.threads ? null : this.#startThreads(threads);
    this.#compute(threads, pool ?? this.#threadpool);
    this.#free(this.#fewer);
    this.#fewer = pool;
    this.#threadsInUse = threads;
  }

  /** @throws ButterflyError COMPUTE_INVALID while a computation runs. */
  override [Symbol.dispose](): void {
    super[Symbol.dispose]();
    this.#free(this.#fewer);
    this.#free(this.#threadpool);
    this.#fewer = null;
    this.#threadpool = null;
  }

  #free(threadpool: Pointer | null): void {
    if (threadpool !== null) this.ggml.cpu.ggml_threadpool_free(threadpool);
  }

  #compute(threads: number, threadpool: Pointer | null): void {
    this.ggml.cpu.ggml_backend_set_n_threads(this.alive(), threads);
    this.ggml.cpu.ggml_backend_cpu_set_threadpool(this.alive(), threadpool);
  }

  /**
   * Threads that poll between graphs for a few milliseconds save the wake-up at each step, and leave the cores to others
   * when there is none; with one thread there are none. The measure is ggml's `poll`, of 0 to 100.
   */
  #startThreads(threads: number): Pointer {
    const params = new Uint8Array(threadpoolParams.bytes);
    this.ggml.base.ggml_threadpool_params_init(params, threads);
    new DataView(params.buffer).setUint32(threadpoolParams.pollOffset, 1, true);
    const threadpool = this.ggml.cpu.ggml_threadpool_new(params);
    if (threadpool === null)
      throw new ButterflyError('COMPUTE_FAILED', `${threads} threads could not be started.`);
    return threadpool;
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
