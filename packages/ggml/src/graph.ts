import koffi from 'koffi';
import { ButterflyError, ensure } from '@butterfly/common';
import type { CpuBackend } from './backend.js';
import type { BufferType, NativeBuffer } from './buffer.js';
import { dtype, rowBytes, typeTraits } from './dtype.js';
import type { Ggml } from './library.js';
import type { Pointer } from './symbols.js';
import { describe, elements, repeats, sameShape, shapeOf, type Shape, type Tensor } from './tensor.js';

/** Parameters of ggml_rope_ext (ggml.h); YaRN as in https://arxiv.org/abs/2309.00071. */
export interface RopeParams {
  readonly dimensions: number;
  /** 0 rotates neighbouring pairs, 2 (NeoX) rotates halves. */
  readonly mode: 0 | 2;
  readonly originalContext: number;
  readonly base: number;
  readonly scale: number;
  readonly extrapolation: number;
  readonly attention: number;
  readonly betaFast: number;
  readonly betaSlow: number;
}

/**
 * A context of tensor descriptions and one computation over them. No data lives here: inputs and weights are placed
 * in buffers, intermediates get theirs from a `ComputeAllocator`. Every operation checks types, shapes and bounds
 * first, because ggml ends the process on a wrong one.
 */
export class Graph implements Disposable {
  readonly pointer: Pointer;
  readonly #ggml: Ggml;
  #context: Pointer | null;
  #tensorsLeft: number;

  /** @param tensorsMax how many tensors, views included, it may hold. */
  constructor(ggml: Ggml, tensorsMax: number) {
    ensure(Number.isInteger(tensorsMax) && tensorsMax > 0 && tensorsMax <= 1 << 20, () => `A graph of ${tensorsMax} tensors is out of bounds.`);
    this.#ggml = ggml;
    this.#tensorsLeft = tensorsMax;
    const { base } = ggml;
    const memSize = base.ggml_tensor_overhead() * tensorsMax + base.ggml_graph_overhead_custom(tensorsMax, false) + 4096;
    this.#context = base.ggml_init({ memSize, memBuffer: null, noAlloc: true });
    if (this.#context === null) throw new ButterflyError('COMPUTE_FAILED', `A graph context of ${memSize} bytes could not be made.`);
    this.pointer = base.ggml_new_graph_custom(this.#context, tensorsMax, false);
  }

  /** A tensor without data; place it in a buffer or let the allocator do so. */
  tensor(type: number, shape: Shape): Tensor {
    ensure(shape.every((n) => Number.isSafeInteger(n) && n > 0), () => `A tensor cannot have the shape [${shape.join(', ')}].`);
    const strides = this.#contiguousStrides(type, shape);
    const pointer = this.#ggml.base.ggml_new_tensor_4d(this.#take(), type, ...shape);
    return { pointer, type, shape, strides };
  }

  /** Bytes that the tensor takes in memory of this type. */
  bytesIn(type: BufferType, tensor: Tensor): number {
    return this.#ggml.base.ggml_backend_buft_get_alloc_size(type.pointer, tensor.pointer);
  }

  /** Gives the tensor its memory: `offset` bytes into the buffer. */
  place(tensor: Tensor, buffer: NativeBuffer, offset: number): void {
    const bytes = this.bytesIn(buffer.type, tensor);
    ensure(
      offset >= 0 && offset % buffer.type.alignment === 0 && offset + bytes <= buffer.bytes,
      () => `${bytes} bytes at ${offset} do not fit the buffer of ${buffer.bytes} bytes.`,
    );
    const status = this.#ggml.base.ggml_backend_tensor_alloc(buffer.pointer, tensor.pointer, buffer.address + BigInt(offset));
    if (status !== 0) throw new ButterflyError('COMPUTE_FAILED', `ggml could not place a tensor (status ${status}).`);
  }

  /** Copies a whole tensor in the file's layout into the tensor's own, off the event loop. */
  setData(tensor: Tensor, from: NativeBuffer, bytes: number): Promise<void> {
    ensure(bytes === tensor.strides[3] * tensor.shape[3] && bytes <= from.bytes, () => `${bytes} bytes do not fill ${describe(tensor)}.`);
    return new Promise((resolve, reject) => {
      this.#ggml.base.ggml_backend_tensor_set.async(tensor.pointer, from.address, 0, bytes, (error) => {
        if (error) reject(new ButterflyError('COMPUTE_FAILED', `A tensor could not be set: ${error.message}`, { cause: error }));
        else resolve();
      });
    });
  }

  /** Makes the computation include this tensor and all that it needs, after what was expanded before. */
  expand(tensor: Tensor): void {
    this.#ggml.base.ggml_build_forward_expand(this.pointer, tensor.pointer);
  }

  /** A tensor that the caller fills before each computation, through `data`. */
  input(type: number, shape: Shape): Tensor {
    const tensor = this.tensor(type, shape);
    this.#ggml.base.ggml_set_input(tensor.pointer);
    return tensor;
  }

  /** Keeps the tensor's memory from being reused by later operations, so that it can be read through `data`. */
  keep(tensor: Tensor): void {
    this.#ggml.base.ggml_set_output(tensor.pointer);
  }

  /** The bytes of an allocated input or kept tensor, without a copy; void once its memory is freed or moved. */
  data(tensor: Tensor): ArrayBuffer {
    ensure(this.isContiguous(tensor), () => `data: ${describe(tensor)} is not contiguous`);
    const address = this.#ggml.base.ggml_get_data(tensor.pointer);
    if (address === null) throw new ButterflyError('COMPUTE_INVALID', 'The tensor has no memory yet.');
    return koffi.view(address, tensor.strides[3] * tensor.shape[3]);
  }

  /** Whether the backend can run the operation that made this tensor with its sources where they are. */
  supported(tensor: Tensor): boolean {
    return this.#ggml.base.ggml_backend_dev_supports_op(this.#ggml.cpuDevice, tensor.pointer);
  }

  /** Rows of `table` [n, rows] chosen by `ids` I32 [k]: F32 [n, k]. */
  getRows(table: Tensor, ids: Tensor): Tensor {
    ensure(ids.type === dtype.I32 && sameShape(ids.shape, shapeOf(ids.shape[0])) && table.shape[2] === 1 && table.shape[3] === 1,
      () => `getRows: ${describe(table)} by ${describe(ids)}`);
    return this.#result(this.#ggml.base.ggml_get_rows(this.#take(), table.pointer, ids.pointer), dtype.F32, shapeOf(table.shape[0], ids.shape[0]));
  }

  /** Writes `rows` F32 [n, k] to the rows `ids` I64 [k] of `table` [n, m], converting to its type; a view of `table`. */
  setRows(table: Tensor, rows: Tensor, ids: Tensor): Tensor {
    ensure(
      rows.type === dtype.F32 && ids.type === dtype.I64 && table.shape[0] === rows.shape[0] && rows.shape[1] === ids.shape[0] &&
        elements(rows.shape) === rows.shape[0] * rows.shape[1] && elements(ids.shape) === ids.shape[0] && elements(table.shape) === table.shape[0] * table.shape[1] && rows.strides[0] === 4,
      () => `setRows: ${describe(rows)} into ${describe(table)} by ${describe(ids)}`,
    );
    const pointer = this.#ggml.base.ggml_set_rows(this.#take(), table.pointer, rows.pointer, ids.pointer);
    return { pointer, type: table.type, shape: table.shape, strides: table.strides };
  }

  /** Root mean square norm over the columns (https://arxiv.org/abs/1910.07467), without weights. */
  rmsNorm(a: Tensor, epsilon: number): Tensor {
    ensure(a.type === dtype.F32 && a.strides[0] === 4, () => `rmsNorm: ${describe(a)}`);
    return this.#result(this.#ggml.base.ggml_rms_norm(this.#take(), a.pointer, epsilon), a.type, a.shape);
  }

  add(a: Tensor, b: Tensor): Tensor {
    ensure(a.type === dtype.F32 && b.type === dtype.F32 && repeats(b.shape, a.shape), () => `add: ${describe(a)} and ${describe(b)}`);
    return this.#result(this.#ggml.base.ggml_add(this.#take(), a.pointer, b.pointer), a.type, a.shape);
  }

  multiply(a: Tensor, b: Tensor): Tensor {
    ensure(a.type === dtype.F32 && b.type === dtype.F32 && repeats(b.shape, a.shape), () => `multiply: ${describe(a)} and ${describe(b)}`);
    return this.#result(this.#ggml.base.ggml_mul(this.#take(), a.pointer, b.pointer), a.type, a.shape);
  }

  /** `weights` [k, m] times each row of `a` F32 [k, n]: F32 [m, n]. */
  matmul(weights: Tensor, a: Tensor): Tensor {
    ensure(
      a.type === dtype.F32 && weights.shape[0] === a.shape[0] && weights.strides[0] === typeTraits(this.#ggml, weights.type).blockBytes &&
        a.shape[2] % weights.shape[2] === 0 && a.shape[3] % weights.shape[3] === 0,
      () => `matmul: ${describe(weights)} by ${describe(a)}`,
    );
    const pointer = this.#ggml.base.ggml_mul_mat(this.#take(), weights.pointer, a.pointer);
    return this.#result(pointer, dtype.F32, [weights.shape[1], a.shape[1], a.shape[2], a.shape[3]]);
  }

  /** silu(gate) * up (https://arxiv.org/abs/2002.05202). */
  swiglu(gate: Tensor, up: Tensor): Tensor {
    ensure(gate.type === dtype.F32 && up.type === dtype.F32 && sameShape(gate.shape, up.shape) && this.isContiguous(gate) && this.isContiguous(up),
      () => `swiglu: ${describe(gate)} and ${describe(up)}`);
    return this.#result(this.#ggml.base.ggml_swiglu_split(this.#take(), gate.pointer, up.pointer), gate.type, gate.shape);
  }

  /** Rotary position embedding of `a` F32 [headSize, heads, rows] at `positions` I32 [rows]. */
  rope(a: Tensor, positions: Tensor, factors: Tensor | null, params: RopeParams): Tensor {
    const { dimensions } = params;
    ensure(
      a.type === dtype.F32 && positions.type === dtype.I32 && elements(positions.shape) === positions.shape[0] && positions.shape[0] === a.shape[2] &&
        dimensions > 0 && dimensions % 2 === 0 && dimensions <= a.shape[0] && a.strides[0] === 4 &&
        (factors === null || (factors.type === dtype.F32 && factors.shape[0] >= dimensions / 2)),
      () => `rope: ${describe(a)} at ${describe(positions)} over ${dimensions} dimensions`,
    );
    const pointer = this.#ggml.base.ggml_rope_ext(
      this.#take(), a.pointer, positions.pointer, factors?.pointer ?? null, dimensions, params.mode, params.originalContext,
      params.base, params.scale, params.extrapolation, params.attention, params.betaFast, params.betaSlow,
    );
    return this.#result(pointer, a.type, a.shape);
  }

  /**
   * Attention of queries F32 [headSize, rows, heads] over keys and values [headSize, cached, kvHeads] with a mask
   * F16 [cached, rows] that is added to the scores (https://arxiv.org/abs/2205.14135): F32 [headSize, heads, rows].
   */
  flashAttention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, scale: number): Tensor {
    const blockBytes = (t: Tensor): number => typeTraits(this.#ggml, t.type).blockBytes;
    ensure(
      q.type === dtype.F32 && q.strides[0] === 4 && k.strides[0] === blockBytes(k) && v.strides[0] === blockBytes(v) && sameShape(k.shape, v.shape) &&
        k.shape[0] === q.shape[0] && q.shape[2] % k.shape[2] === 0 && q.shape[3] === 1 && k.shape[3] === 1 &&
        mask.type === dtype.F16 && this.isContiguous(mask) && sameShape(mask.shape, shapeOf(k.shape[1], q.shape[1])),
      () => `flashAttention: ${describe(q)}, ${describe(k)}, ${describe(v)}, mask ${describe(mask)}`,
    );
    const pointer = this.#ggml.base.ggml_flash_attn_ext(this.#take(), q.pointer, k.pointer, v.pointer, mask.pointer, scale, 0, 0);
    return this.#result(pointer, dtype.F32, [v.shape[0], q.shape[2], q.shape[1], 1]);
  }

  /** Copies `a` into `target` (converting the type); a view of `target`. */
  copy(a: Tensor, target: Tensor): Tensor {
    ensure(elements(a.shape) === elements(target.shape), () => `copy: ${describe(a)} into ${describe(target)}`);
    const pointer = this.#ggml.base.ggml_cpy(this.#take(), a.pointer, target.pointer);
    return { pointer, type: target.type, shape: target.shape, strides: target.strides };
  }

  /** Index of the first largest column of each row of `a` F32 [n, rows]: I32 [rows]. */
  argmax(a: Tensor): Tensor {
    ensure(a.type === dtype.F32 && elements(a.shape) === a.shape[0] * a.shape[1] && a.strides[0] === 4, () => `argmax: ${describe(a)}`);
    return this.#result(this.#ggml.base.ggml_argmax(this.#take(), a.pointer), dtype.I32, shapeOf(a.shape[1]));
  }

  reshape(a: Tensor, shape: Shape): Tensor {
    ensure(this.isContiguous(a) && elements(a.shape) === elements(shape), () => `reshape: ${describe(a)} to [${shape.join(', ')}]`);
    return this.#result(this.#ggml.base.ggml_reshape_4d(this.#take(), a.pointer, ...shape), a.type, shape);
  }

  /** A window of `a` with strides in bytes, at `offset` bytes. */
  view(a: Tensor, shape: Shape, strides: readonly [number, number, number], offset: number): Tensor {
    const row = rowBytes(this.#ggml, a.type, shape[0]);
    const end = offset + row + (shape[1] - 1) * strides[0] + (shape[2] - 1) * strides[1] + (shape[3] - 1) * strides[2];
    const size = a.strides[3] * a.shape[3];
    ensure(shape.every((n) => n > 0) && offset >= 0 && end <= size, () => `view: [${shape.join(', ')}] at ${offset} ends at ${end} of ${size} bytes`);
    const pointer = this.#ggml.base.ggml_view_4d(this.#take(), a.pointer, ...shape, ...strides, offset);
    return { pointer, type: a.type, shape, strides: [typeTraits(this.#ggml, a.type).blockBytes, ...strides] };
  }

  /** Swaps dimensions 1 and 2 without moving data. */
  swapRowsAndMatrices(a: Tensor): Tensor {
    const pointer = this.#ggml.base.ggml_permute(this.#take(), a.pointer, 0, 2, 1, 3);
    const [s0, s1, s2, s3] = a.shape;
    const [t0, t1, t2, t3] = a.strides;
    return { pointer, type: a.type, shape: [s0, s2, s1, s3], strides: [t0, t2, t1, t3] };
  }

  isContiguous(a: Tensor): boolean {
    return sameShape(a.strides, this.#contiguousStrides(a.type, a.shape));
  }

  [Symbol.dispose](): void {
    if (this.#context !== null) this.#ggml.base.ggml_free(this.#context);
    this.#context = null;
  }

  #result(pointer: Pointer, type: number, shape: Shape): Tensor {
    return { pointer, type, shape, strides: this.#contiguousStrides(type, shape) };
  }

  #contiguousStrides(type: number, shape: Shape): Shape {
    const row = rowBytes(this.#ggml, type, shape[0]);
    return [typeTraits(this.#ggml, type).blockBytes, row, row * shape[1], row * shape[1] * shape[2]];
  }

  /** The context, with one tensor less to give. */
  #take(): Pointer {
    if (this.#context === null) throw new ButterflyError('COMPUTE_INVALID', 'The graph is disposed.');
    ensure(this.#tensorsLeft > 0, () => 'The graph has no room for another tensor.');
    this.#tensorsLeft--;
    return this.#context;
  }
}

/** Memory for the intermediates of graphs that run one after the other; grows to the largest. */
export class ComputeAllocator implements Disposable {
  readonly #ggml: Ggml;
  #pointer: Pointer | null;

  constructor(backend: CpuBackend) {
    this.#ggml = backend.ggml;
    this.#pointer = this.#ggml.base.ggml_gallocr_new(backend.plain.pointer);
    if (this.#pointer === null) throw new ButterflyError('COMPUTE_FAILED', 'An allocator for compute memory could not be made.');
  }

  /** Bytes held; when it changes, graphs allocated earlier are void. */
  get bytes(): number {
    return this.#pointer === null ? 0 : this.#ggml.base.ggml_gallocr_get_buffer_size(this.#pointer, 0);
  }

  /** @throws ButterflyError COMPUTE_FAILED when memory is short. */
  allocate(graph: Graph): void {
    if (this.#pointer === null) throw new ButterflyError('COMPUTE_INVALID', 'The allocator is disposed.');
    if (!this.#ggml.base.ggml_gallocr_alloc_graph(this.#pointer, graph.pointer))
      throw new ButterflyError('COMPUTE_FAILED', 'Memory for a computation could not be allocated; free memory or use a smaller context.');
  }

  [Symbol.dispose](): void {
    if (this.#pointer !== null) this.#ggml.base.ggml_gallocr_free(this.#pointer);
    this.#pointer = null;
  }
}
