import koffi from 'koffi';
import { ButterflyError, ensure } from '@butterfly/common';
import type { BufferType, NativeBuffer } from '../device/buffer.js';
import { rowBytes, typeTraits } from './dtype.js';
import type { Ggml } from '../library/library.js';
import type { Pointer } from '../library/symbols.js';
import { Uses } from '../library/uses.js';
import { describe, isShape, sameShape, type Shape, type Tensor } from './tensor.js';

/** Memory that an allocator gave to graphs; no more valid once the allocator moved or freed it. */
export interface ComputeMemory {
  isValid: boolean;
  /** Computations over it. */
  readonly uses: Uses;
}

/** Most tensors that one operation of ours reads: flash attention has queries, keys, values and a mask. */
export const ownSourcesMax = 4;

/**
 * The tensors of a graph: made, placed in memory, filled and read. No data lives here. Every call checks types, shapes
 * and bounds first, because ggml ends the process on a wrong one.
 */
export class GraphContext implements Disposable {
  protected readonly ggml: Ggml;
  readonly #graph: Pointer;
  /** Where the context lies: ggml would end the process if it could not have that memory. */
  #room: Pointer | null;
  #context: Pointer | null;
  readonly #roomBytes: number;
  #tensorsLeft: number;
  #memory: ComputeMemory | null = null;
  /** Tensors that have no memory yet and may be placed; views and results of operations never may. */
  readonly #placeable = new Set<Pointer>();
  readonly #placed = new Map<Pointer, NativeBuffer>();
  readonly #uses = new Uses();

  /**
   * @param tensorsMax how many tensors, views included, it may hold.
   * @param sourcesMax how many tensors its operations read at most, on average.
   * @throws ButterflyError COMPUTE_FAILED when memory is short
   */
  constructor(ggml: Ggml, tensorsMax: number, sourcesMax = ownSourcesMax) {
    ensure(
      Number.isInteger(tensorsMax) && tensorsMax > 0 && tensorsMax <= 1 << 20,
      () => `A graph of ${tensorsMax} tensors is out of bounds.`,
    );
    this.ggml = ggml;
    this.#tensorsLeft = tensorsMax;
    const { base } = ggml;
    // What operations read from other graphs, such as weights, takes room in the computation as well.
    const nodesMax = tensorsMax * sourcesMax;
    const memSize =
      base.ggml_tensor_overhead() * tensorsMax + base.ggml_graph_overhead_custom(nodesMax, false) + 4096;
    this.#roomBytes = memSize;
    this.#room = base.ggml_backend_buft_alloc_buffer(
      base.ggml_backend_dev_buffer_type(ggml.cpuDevice),
      memSize,
    );
    this.#context =
      this.#room &&
      base.ggml_init({ memSize, memBuffer: base.ggml_backend_buffer_get_base(this.#room), noAlloc: true });
    if (this.#context === null) {
      this[Symbol.dispose]();
      throw new ButterflyError(
        'COMPUTE_FAILED',
        `A graph context of ${memSize} bytes could not be made; free memory.`,
      );
    }
    this.#graph = base.ggml_new_graph_custom(this.#context, nodesMax, false);
  }

  /** The native graph. @throws ButterflyError COMPUTE_INVALID when disposed */
  get pointer(): Pointer {
    this.#alive();
    return this.#graph;
  }

  /** The native graph, ready to be computed. @throws ButterflyError COMPUTE_INVALID while it has no memory */
  get computable(): Pointer {
    ensure(this.#memory?.isValid === true, () => 'The graph has no memory; allocate it (again) first.');
    return this.pointer;
  }

  /** Keeps it and the memory that an allocator gave it from being freed until what this returns is called. */
  hold(): () => void {
    const releases = [this.#uses.begin(), this.#memory?.uses.begin()];
    return () => {
      for (const release of releases) release?.();
    };
  }

  /** Of the computation: nodes, and tensors that it reads and does not compute. @throws ButterflyError LIBRARY_MISMATCH */
  get size(): { readonly nodes: number; readonly leaves: number } {
    const nodes = this.ggml.base.ggml_graph_n_nodes(this.pointer);
    // `struct ggml_cgraph` of ggml-impl.h begins with its room, its nodes and its leaves; no function tells the last.
    const [, known = -1, leaves = -1] = koffi.decode(this.#graph, 'int', 3) as number[];
    if (known !== nodes || leaves < 0)
      throw new ButterflyError('LIBRARY_MISMATCH', 'A graph of this ggml does not begin as expected.');
    return { nodes, leaves };
  }

  /** Tensors that nobody placed: inputs, and what operations write into. */
  get unplaced(): readonly Pointer[] {
    return [...this.#placeable];
  }

  /** Says which memory all that was expanded has; for `ComputeAllocator` and `Scheduler`. */
  allocatedIn(memory: ComputeMemory): void {
    this.#memory = memory;
  }

  /** A tensor without data; place it in a buffer or let the allocator do so. */
  tensor(type: number, shape: Shape): Tensor {
    ensure(isShape(shape), () => `A tensor cannot have the shape [${shape.join(', ')}].`);
    const strides = this.contiguousStrides(type, shape);
    ensure(
      Number.isSafeInteger(strides[3] * shape[3]),
      () => `A tensor of [${shape.join(', ')}] is too large for any memory.`,
    );
    const pointer = this.ggml.base.ggml_new_tensor_4d(this.take(), type, ...shape);
    this.#placeable.add(pointer);
    return { pointer, type, shape, strides };
  }

  /** Bytes that the tensor takes in memory of this type. */
  bytesIn(type: BufferType, tensor: Tensor): number {
    this.#alive();
    return this.ggml.base.ggml_backend_buft_get_alloc_size(type.pointer, tensor.pointer);
  }

  /** Gives a tensor of this graph its memory, once: `offset` bytes into the buffer. */
  place(tensor: Tensor, buffer: NativeBuffer, offset: number): void {
    const bytes = this.bytesIn(buffer.type, tensor);
    ensure(
      offset >= 0 && offset % buffer.type.alignment === 0 && offset + bytes <= buffer.bytes,
      () => `${bytes} bytes at ${offset} do not fit the buffer of ${buffer.bytes} bytes.`,
    );
    ensure(
      this.#placeable.has(tensor.pointer) && !this.#hasMemory(tensor),
      () => `${describe(tensor)} has its memory already, or that of another tensor.`,
    );
    const address = buffer.address + BigInt(offset);
    const status = this.ggml.base.ggml_backend_tensor_alloc(buffer.pointer, tensor.pointer, address);
    if (status !== 0)
      throw new ButterflyError('COMPUTE_FAILED', `ggml could not place a tensor (status ${status}).`);
    this.#placeable.delete(tensor.pointer);
    this.#placed.set(tensor.pointer, buffer);
  }

  /** Copies a whole tensor in the file's layout into the tensor's own, off the event loop. */
  setData(tensor: Tensor, from: NativeBuffer, bytes: number): Promise<void> {
    ensure(
      this.isContiguous(tensor) && bytes === tensor.strides[3] * tensor.shape[3] && bytes <= from.bytes,
      () => `${bytes} bytes do not fill ${describe(tensor)}.`,
    );
    ensure(this.#hasMemory(tensor), () => `${describe(tensor)} has no memory yet.`);
    const { address } = from;
    const releases = [this.hold(), from.uses.begin(), this.#placed.get(tensor.pointer)?.uses.begin()];
    return new Promise<void>((resolve, reject) => {
      this.ggml.base.ggml_backend_tensor_set.async(tensor.pointer, address, 0, bytes, (error) => {
        if (error)
          reject(
            new ButterflyError('COMPUTE_FAILED', `A tensor could not be set: ${error.message}`, {
              cause: error,
            }),
          );
        else resolve();
      });
    }).finally(() => {
      for (const release of releases) release?.();
    });
  }

  /** Makes the computation include this tensor and all that it needs, after what was expanded before. */
  expand(tensor: Tensor): void {
    this.ggml.base.ggml_build_forward_expand(this.pointer, tensor.pointer);
    this.#memory = null;
  }

  /** A tensor that the caller fills before each computation, through `data`. */
  input(type: number, shape: Shape): Tensor {
    const tensor = this.tensor(type, shape);
    this.ggml.base.ggml_set_input(tensor.pointer);
    return tensor;
  }

  /** Keeps the tensor's memory from being reused by later operations, so that it can be read through `data`. */
  keep(tensor: Tensor): void {
    this.#alive();
    this.ggml.base.ggml_set_output(tensor.pointer);
  }

  /** The bytes of an allocated input or kept tensor, without a copy; void once its memory is freed or moved. */
  data(tensor: Tensor): ArrayBuffer {
    ensure(this.isContiguous(tensor), () => `data: ${describe(tensor)} is not contiguous`);
    ensure(
      this.#memory?.isValid !== false,
      () => `The memory of ${describe(tensor)} was freed or moved; allocate the graph again.`,
    );
    ensure(this.#hasMemory(tensor), () => `${describe(tensor)} has no memory yet.`);
    const address = this.ggml.base.ggml_get_data(tensor.pointer);
    if (address === null) throw new ButterflyError('COMPUTE_INVALID', 'The tensor has no memory yet.');
    return koffi.view(address, tensor.strides[3] * tensor.shape[3]);
  }

  /** Writes bytes into a tensor that has memory, wherever that is, `offset` bytes behind its beginning; waits until done. */
  write(tensor: Tensor, bytes: Uint8Array, offset = 0): void {
    this.#checkAccess(tensor, offset, bytes.length);
    if (bytes.length > 0) this.ggml.base.ggml_backend_tensor_set(tensor.pointer, bytes, offset, bytes.length);
  }

  /** Reads bytes of a tensor that has memory into `target`; waits until done. */
  read(tensor: Tensor, target: Uint8Array, offset = 0): void {
    this.#checkAccess(tensor, offset, target.length);
    if (target.length > 0)
      this.ggml.base.ggml_backend_tensor_get(tensor.pointer, target, offset, target.length);
  }

  /** Sets bytes of a tensor that has memory to zero. */
  zero(tensor: Tensor, offset: number, bytes: number): void {
    this.#checkAccess(tensor, offset, bytes);
    if (bytes > 0) this.ggml.base.ggml_backend_tensor_memset(tensor.pointer, 0, offset, bytes);
  }

  /** The first operation of the computation, as ggml calls it, that is not supported; null where all are. */
  unsupported(supports: (node: Pick<Tensor, 'pointer'>, operation: string) => boolean): string | null {
    const { base } = this.ggml;
    for (let i = 0; i < base.ggml_graph_n_nodes(this.pointer); i++) {
      const pointer = base.ggml_graph_node(this.#graph, i);
      const operation = base.ggml_op_desc(pointer);
      if (!supports({ pointer }, operation)) return operation;
    }
    return null;
  }

  /** Whether elements of a row lie one behind the other in each of these, as kernels want it: not so in what was transposed. */
  protected haveWholeRows(...tensors: readonly Tensor[]): boolean {
    return tensors.every(({ type, strides }) => strides[0] === typeTraits(this.ggml, type).blockBytes);
  }

  isContiguous(a: Tensor): boolean {
    return sameShape(a.strides, this.contiguousStrides(a.type, a.shape));
  }

  /** @throws ButterflyError COMPUTE_INVALID while it is computed or filled */
  [Symbol.dispose](): void {
    this.#uses.ensureNone('A graph');
    if (this.#context !== null) this.ggml.base.ggml_free(this.#context);
    this.#context = null;
    if (this.#room !== null) this.ggml.base.ggml_backend_buffer_free(this.#room);
    this.#room = null;
    this.#memory = null;
  }

  /** The memory of the tensors' descriptions, and where it begins. */
  protected descriptions(): { readonly start: Pointer; readonly memory: ArrayBuffer } {
    this.#alive();
    if (this.#room === null) throw new ButterflyError('COMPUTE_INVALID', 'The graph is disposed.');
    const start = this.ggml.base.ggml_backend_buffer_get_base(this.#room);
    return { start, memory: koffi.view(start, this.#roomBytes) };
  }

  protected contiguousStrides(type: number, shape: Shape): Shape {
    const row = rowBytes(this.ggml, type, shape[0]);
    return [typeTraits(this.ggml, type).blockBytes, row, row * shape[1], row * shape[1] * shape[2]];
  }

  /** The context, with one tensor less to give. */
  protected take(): Pointer {
    const context = this.#alive();
    ensure(this.#tensorsLeft > 0, () => 'The graph has no room for another tensor.');
    this.#tensorsLeft--;
    return context;
  }

  #checkAccess(tensor: Tensor, offset: number, bytes: number): void {
    const size = this.isContiguous(tensor) ? tensor.strides[3] * tensor.shape[3] : 0;
    ensure(
      Number.isInteger(offset) && offset >= 0 && bytes >= 0 && offset + bytes <= size,
      () => `${bytes} bytes at ${offset} are not inside ${describe(tensor)}.`,
    );
    const type = this.#placed.get(tensor.pointer)?.type;
    ensure(
      type === undefined || type.isPlain || !type.isHost,
      () =>
        `${describe(tensor)} lies in ${type?.name ?? ''} memory, which is filled as a whole and not read.`,
    );
    ensure(
      this.#memory?.isValid !== false,
      () => `The memory of ${describe(tensor)} was freed or moved; allocate the graph again.`,
    );
    ensure(this.#hasMemory(tensor), () => `${describe(tensor)} has no memory yet.`);
  }

  #alive(): Pointer {
    if (this.#context === null) throw new ButterflyError('COMPUTE_INVALID', 'The graph is disposed.');
    return this.#context;
  }

  /** @throws ButterflyError COMPUTE_INVALID when the buffer that it lies in is disposed */
  #hasMemory(tensor: Tensor): boolean {
    this.#alive();
    this.#placed.get(tensor.pointer)?.ensureAlive();
    return this.ggml.base.ggml_get_data(tensor.pointer) !== null;
  }
}
