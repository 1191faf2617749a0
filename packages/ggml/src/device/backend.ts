import { ButterflyError, ensure } from '@butterfly/common';
import { NativeBuffer, type BufferType } from './buffer.js';
import type { Ggml } from '../library/library.js';
import type { Pointer } from '../library/symbols.js';

/**
 * What a native computation gave, which calls back with an error of the call or a status.
 * @throws ButterflyError COMPUTE_FAILED
 */
export function computed(
  start: (done: (error: Error | null, status: number) => void) => void,
): Promise<void> {
  return new Promise((resolve, reject) => {
    start((error, status) => {
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

/** A graph whose tensors all have memory. */
export interface ComputableGraph {
  /** `struct ggml_cgraph *`. @throws ButterflyError COMPUTE_INVALID for a graph that is disposed or has no memory */
  readonly computable: Pointer;
  /** Keeps it from being freed until what this returns is called. */
  hold(): () => void;
}

/**
 * A device of ggml with a queue of its own. One computation runs at a time. That of the CPU is a `CpuBackend`; a fault of the
 * driver of any other ends the process.
 */
export class Backend implements Disposable {
  /** Ordinary memory of the device. */
  readonly plain: BufferType;
  /** Layouts that the kernels prefer for weights, best first. */
  readonly preferred: readonly BufferType[] = [];
  #pointer: Pointer | null;
  #busy = false;

  /** @throws ButterflyError COMPUTE_FAILED where the device cannot be started */
  constructor(
    readonly ggml: Ggml,
    private readonly device: Pointer,
  ) {
    this.#pointer = ggml.base.ggml_backend_dev_init(device, null);
    if (this.#pointer === null)
      throw new ButterflyError(
        'COMPUTE_FAILED',
        `The device ${ggml.base.ggml_backend_dev_name(device)} could not be started.`,
      );
    this.plain = this.describe(ggml.base.ggml_backend_dev_buffer_type(device), true);
  }

  /** @throws ButterflyError COMPUTE_FAILED when memory is short */
  allocate(bytes: number, type: BufferType = this.plain): NativeBuffer {
    return new NativeBuffer(this.ggml, type, bytes);
  }

  /** Whether it has a kernel for the operation that made this tensor, with its sources where they are. */
  supports(tensor: { readonly pointer: Pointer }): boolean {
    return this.ggml.base.ggml_backend_dev_supports_op(this.device, tensor.pointer);
  }

  /**
   * Computes a graph on threads of its own; the event loop stays free.
   * @throws ButterflyError COMPUTE_FAILED, or COMPUTE_INVALID when a computation already runs.
   */
  compute(graph: ComputableGraph): Promise<void> {
    const { pointer } = this;
    const { computable } = graph;
    const release = this.occupy();
    const letGo = graph.hold();
    return computed((done) => {
      this.ggml.base.ggml_backend_graph_compute.async(pointer, computable, done);
    }).finally(() => {
      letGo();
      release();
    });
  }

  /** Keeps other computations away until what it returns is called. @throws ButterflyError COMPUTE_INVALID when one already runs */
  occupy(): () => void {
    ensure(!this.#busy, () => 'A backend computes one graph at a time.');
    this.#busy = true;
    return () => void (this.#busy = false);
  }

  /** `ggml_backend_t`. @throws ButterflyError COMPUTE_INVALID when it is disposed */
  get pointer(): Pointer {
    return this.alive();
  }

  /** @throws ButterflyError COMPUTE_INVALID while a computation runs. */
  [Symbol.dispose](): void {
    if (this.#pointer === null) return;
    ensure(!this.#busy, () => 'A backend cannot be disposed while it computes.');
    this.ggml.base.ggml_backend_free(this.#pointer);
    this.#pointer = null;
  }

  protected alive(): Pointer {
    if (this.#pointer === null) throw new ButterflyError('COMPUTE_INVALID', 'The backend is disposed.');
    return this.#pointer;
  }

  /** @param isOrdinary whether tensors lie in it in ggml's ordinary layout. */
  protected describe(pointer: Pointer, isOrdinary: boolean): BufferType {
    const { base } = this.ggml;
    const isHost = !isOrdinary || base.ggml_backend_buft_is_host(pointer);
    return {
      pointer,
      name: base.ggml_backend_buft_name(pointer),
      isPlain: isOrdinary && isHost,
      isHost,
      alignment: base.ggml_backend_buft_get_alignment(pointer),
      bytesMax: Math.min(Number(base.ggml_backend_buft_get_max_size(pointer)), Number.MAX_SAFE_INTEGER),
    };
  }
}
