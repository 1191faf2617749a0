import { ButterflyError } from '@butterfly/common';
import { type Backend, ComputeAllocator, type Graph, Scheduler } from '@butterfly/ggml';

/** Gives graphs memory and computes them where the weights of a stage lie, one at a time. */
export interface StepComputer extends Disposable {
  /** Whether memory of intermediates has addresses of this process. */
  readonly isHost: boolean;
  /** Bytes of intermediates: on the device, and in the memory of the host beside it. */
  readonly bytes: { readonly device: number; readonly host: number };
  /**
   * Gives a graph memory for its intermediates.
   * @returns whether that voids all graphs that had some before
   * @throws ButterflyError COMPUTE_FAILED when memory is short, which voids them too; MODEL_UNSUPPORTED
   */
  allocate(graph: Graph): boolean;
  /** @throws ButterflyError COMPUTE_FAILED, or COMPUTE_INVALID for a graph that is void */
  compute(graph: Graph): Promise<void>;
}

/** All weights lie on one device, which may be the host itself. */
export class DeviceComputer implements StepComputer {
  readonly isHost: boolean;
  #allocator: ComputeAllocator;

  /** @param name of the device, for messages; null for the host, which has a kernel for everything */
  constructor(
    private readonly backend: Backend,
    private readonly name: string | null,
  ) {
    this.isHost = backend.plain.isHost;
    this.#allocator = new ComputeAllocator(backend);
  }

  get bytes(): { device: number; host: number } {
    const { bytes } = this.#allocator;
    return this.name === null ? { device: 0, host: bytes } : { device: bytes, host: 0 };
  }

  allocate(graph: Graph): boolean {
    if (this.name !== null) checkSupport(graph, this.name, (node) => this.backend.supports(node));
    const before = this.#allocator.bytes;
    try {
      this.#allocator.allocate(graph);
    } catch (error) {
      // It is over with all that it held; the next graph may find more memory.
      this.#allocator = new ComputeAllocator(this.backend);
      throw error;
    }
    return this.#allocator.bytes !== before;
  }

  compute(graph: Graph): Promise<void> {
    return this.backend.compute(graph);
  }

  [Symbol.dispose](): void {
    this.#allocator[Symbol.dispose]();
  }
}

/** Experts lie in the memory of the host and are computed there, all else on the device. */
export class ExpertComputer implements StepComputer {
  readonly isHost = false;
  readonly #scheduler: Scheduler;

  constructor(
    private readonly device: Backend,
    private readonly host: Backend,
    private readonly name: string,
  ) {
    this.#scheduler = new Scheduler(device, host);
  }

  get bytes(): { device: number; host: number } {
    return { device: this.#scheduler.deviceBytes, host: this.#scheduler.hostBytes };
  }

  allocate(graph: Graph): boolean {
    checkSupport(
      graph,
      this.name,
      (node, operation) =>
        this.device.supports(node) || (operation === expertProduct && this.host.supports(node)),
    );
    this.#scheduler.allocate(graph);
    return true;
  }

  compute(graph: Graph): Promise<void> {
    return this.#scheduler.compute(graph);
  }

  [Symbol.dispose](): void {
    this.#scheduler[Symbol.dispose]();
  }
}

/** What reads the weights of experts, in ggml's words. */
const expertProduct = 'MUL_MAT_ID';

/** A GPU says nothing about operations that it has no kernels for, and computes on. */
function checkSupport(
  graph: Graph,
  name: string,
  supports: (node: { readonly pointer: bigint }, operation: string) => boolean,
): void {
  const missing = graph.unsupported(supports);
  if (missing === null) return;
  throw new ButterflyError(
    'MODEL_UNSUPPORTED',
    `The device ${name} has no kernel for ${missing} of this model; give this worker --device cpu.`,
  );
}
