import { ButterflyError, ensure } from '@butterfly/common';
import type { Backend } from '../device/backend.js';
import { dtype, isWeightType, rowBytes, typeTraits } from './dtype.js';
import { GraphContext, type ComputeMemory } from './graph-context.js';
import type { Ggml } from '../library/library.js';
import type { Pointer } from '../library/symbols.js';
import { Uses } from '../library/uses.js';
import {
  describe,
  elements,
  isMatrix,
  isShape,
  isVector,
  repeats,
  sameShape,
  shapeOf,
  type Shape,
  type Tensor,
} from './tensor.js';

const floatTypes: ReadonlySet<number> = new Set([dtype.F32, dtype.F16, dtype.BF16]);
/** `GGML_PREC_F32`. */
const precisionF32 = 10;
/** What `setRows` writes: these and Q8_0 have a kernel that needs no preparation. */
const rowTypes: ReadonlySet<number> = new Set([...floatTypes, dtype.Q8_0]);

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
export class Graph extends GraphContext {
  /** Rows of `table` [n, rows] chosen by `ids` I32 [k]: F32 [n, k]. */
  getRows(table: Tensor, ids: Tensor): Tensor {
    ensure(
      isWeightType(table.type) &&
        ids.type === dtype.I32 &&
        isVector(ids) &&
        isMatrix(table) &&
        this.haveWholeRows(table),
      () => `getRows: ${describe(table)} by ${describe(ids)}`,
    );
    return this.result(
      this.ggml.base.ggml_get_rows(this.take(), table.pointer, ids.pointer),
      dtype.F32,
      shapeOf(table.shape[0], ids.shape[0]),
    );
  }

  /** Writes `rows` F32 [n, k] to the rows `ids` I64 [k] of `table` [n, m], converting to its type; a view of `table`. */
  setRows(table: Tensor, rows: Tensor, ids: Tensor): Tensor {
    ensure(
      rows.type === dtype.F32 &&
        ids.type === dtype.I64 &&
        rowTypes.has(table.type) &&
        table.shape[0] === rows.shape[0] &&
        rows.shape[1] === ids.shape[0] &&
        isMatrix(rows) &&
        isVector(ids) &&
        isMatrix(table) &&
        this.haveWholeRows(rows, table),
      () => `setRows: ${describe(rows)} into ${describe(table)} by ${describe(ids)}`,
    );
    const pointer = this.ggml.base.ggml_set_rows(this.take(), table.pointer, rows.pointer, ids.pointer);
    return { pointer, type: table.type, shape: table.shape, strides: table.strides };
  }

  /** Root mean square norm over the columns (https://arxiv.org/abs/1910.07467), without weights. */
  rmsNorm(a: Tensor, epsilon: number): Tensor {
    ensure(
      a.type === dtype.F32 && epsilon >= 0 && this.haveWholeRows(a),
      () => `rmsNorm: ${describe(a)} with epsilon ${epsilon}`,
    );
    return this.result(this.ggml.base.ggml_rms_norm(this.take(), a.pointer, epsilon), a.type, a.shape);
  }

  add(a: Tensor, b: Tensor): Tensor {
    ensure(
      a.type === dtype.F32 && b.type === dtype.F32 && repeats(b.shape, a.shape) && this.haveWholeRows(a, b),
      () => `add: ${describe(a)} and ${describe(b)}`,
    );
    return this.result(this.ggml.base.ggml_add(this.take(), a.pointer, b.pointer), a.type, a.shape);
  }

  multiply(a: Tensor, b: Tensor): Tensor {
    ensure(
      a.type === dtype.F32 && b.type === dtype.F32 && repeats(b.shape, a.shape) && this.haveWholeRows(a, b),
      () => `multiply: ${describe(a)} and ${describe(b)}`,
    );
    return this.result(this.ggml.base.ggml_mul(this.take(), a.pointer, b.pointer), a.type, a.shape);
  }

  /** `weights` [k, m] times each row of `a` F32 [k, n]: F32 [m, n]. */
  matmul(weights: Tensor, a: Tensor): Tensor {
    ensure(
      a.type === dtype.F32 &&
        isWeightType(weights.type) &&
        weights.shape[0] === a.shape[0] &&
        weights.strides[1] >= weights.strides[0] &&
        this.haveWholeRows(weights, a) &&
        a.shape[2] % weights.shape[2] === 0 &&
        a.shape[3] % weights.shape[3] === 0,
      () => `matmul: ${describe(weights)} by ${describe(a)}`,
    );
    const pointer = this.ggml.base.ggml_mul_mat(this.take(), weights.pointer, a.pointer);
    return this.result(pointer, dtype.F32, [weights.shape[1], a.shape[1], a.shape[2], a.shape[3]]);
  }

  /**
   * As `matmul`, with a matrix of `experts` [k, m, count] for each row, by `ids` I32 [used, rows]: `a` F32 [k, used or 1,
   * rows] gives F32 [m, used, rows].
   */
  matmulExperts(experts: Tensor, a: Tensor, ids: Tensor): Tensor {
    ensure(
      a.type === dtype.F32 &&
        ids.type === dtype.I32 &&
        isWeightType(experts.type) &&
        isMatrix(ids) &&
        experts.shape[0] === a.shape[0] &&
        experts.shape[3] === 1 &&
        this.haveWholeRows(experts, a) &&
        a.shape[2] === ids.shape[1] &&
        ids.shape[0] % a.shape[1] === 0,
      () => `matmulExperts: ${describe(experts)} by ${describe(a)} and ${describe(ids)}`,
    );
    const pointer = this.ggml.base.ggml_mul_mat_id(this.take(), experts.pointer, a.pointer, ids.pointer);
    return this.result(pointer, dtype.F32, shapeOf(experts.shape[1], ids.shape[0], a.shape[2]));
  }

  /** silu(gate) * up (https://arxiv.org/abs/2002.05202). */
  swiglu(gate: Tensor, up: Tensor): Tensor {
    ensure(
      gate.type === dtype.F32 &&
        up.type === dtype.F32 &&
        sameShape(gate.shape, up.shape) &&
        this.isContiguous(gate) &&
        this.isContiguous(up),
      () => `swiglu: ${describe(gate)} and ${describe(up)}`,
    );
    return this.result(
      this.ggml.base.ggml_swiglu_split(this.take(), gate.pointer, up.pointer),
      gate.type,
      gate.shape,
    );
  }

  /** Rotary position embedding of `a` F32 [headSize, heads, rows] at `positions` I32 [rows]. */
  rope(a: Tensor, positions: Tensor, factors: Tensor | null, params: RopeParams): Tensor {
    const { dimensions } = params;
    ensure(
      a.type === dtype.F32 &&
        positions.type === dtype.I32 &&
        isVector(positions) &&
        positions.shape[0] === a.shape[2] &&
        dimensions > 0 &&
        dimensions % 2 === 0 &&
        dimensions <= a.shape[0] &&
        this.haveWholeRows(a, positions) &&
        (factors === null ||
          (factors.type === dtype.F32 && factors.shape[0] >= dimensions / 2 && this.haveWholeRows(factors))),
      () => `rope: ${describe(a)} at ${describe(positions)} over ${dimensions} dimensions`,
    );
    const pointer = this.ggml.base.ggml_rope_ext(
      this.take(),
      a.pointer,
      positions.pointer,
      factors?.pointer ?? null,
      dimensions,
      params.mode,
      params.originalContext,
      params.base,
      params.scale,
      params.extrapolation,
      params.attention,
      params.betaFast,
      params.betaSlow,
    );
    return this.result(pointer, a.type, a.shape);
  }

  /**
   * Attention of queries F32 [headSize, rows, heads] over keys and values [headSize, cached, kvHeads] with a mask
   * F16 [cached, rows] that is added to the scores (https://arxiv.org/abs/2205.14135): F32 [headSize, heads, rows]. Heads
   * of values may have another size, which is that of the result. A fourth dimension, the same of all but the mask, makes
   * several of these; the result has it too.
   */
  flashAttention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, scale: number): Tensor {
    ensure(
      q.type === dtype.F32 &&
        isWeightType(k.type) &&
        isWeightType(v.type) &&
        k.strides[1] >= k.strides[0] &&
        this.haveWholeRows(q, k, v) &&
        sameShape(k.shape, [k.shape[0], v.shape[1], v.shape[2], v.shape[3]]) &&
        k.shape[0] === q.shape[0] &&
        q.shape[2] % k.shape[2] === 0 &&
        q.shape[3] === k.shape[3] &&
        mask.type === dtype.F16 &&
        this.isContiguous(mask) &&
        sameShape(mask.shape, shapeOf(k.shape[1], q.shape[1])),
      () => `flashAttention: ${describe(q)}, ${describe(k)}, ${describe(v)}, mask ${describe(mask)}`,
    );
    const pointer = this.ggml.base.ggml_flash_attn_ext(
      this.take(),
      q.pointer,
      k.pointer,
      v.pointer,
      mask.pointer,
      scale,
      0,
      0,
    );
    // GPUs add up in F16 otherwise; the CPU does as it does.
    this.ggml.base.ggml_flash_attn_ext_set_prec(pointer, precisionF32);
    return this.result(pointer, dtype.F32, [v.shape[0], q.shape[2], q.shape[1], q.shape[3]]);
  }

  /** Copies `a` into `target`, both F32, F16 or BF16 (converting the type); a view of `target`. */
  copy(a: Tensor, target: Tensor): Tensor {
    ensure(
      floatTypes.has(a.type) && floatTypes.has(target.type) && elements(a.shape) === elements(target.shape),
      () => `copy: ${describe(a)} into ${describe(target)}`,
    );
    const pointer = this.ggml.base.ggml_cpy(this.take(), a.pointer, target.pointer);
    return { pointer, type: target.type, shape: target.shape, strides: target.strides };
  }

  /** A copy of `a` F32 as [columns, rows], in the order of its elements. */
  packed(a: Tensor, columns: number, rows: number): Tensor {
    ensure(
      a.type === dtype.F32 && elements(a.shape) === columns * rows,
      () => `packed: ${describe(a)} as [${columns}, ${rows}]`,
    );
    const pointer = this.ggml.base.ggml_cont_2d(this.take(), a.pointer, columns, rows);
    return this.result(pointer, a.type, shapeOf(columns, rows));
  }

  /** `b` behind `a`, both F32 and alike but for this dimension. */
  concat(a: Tensor, b: Tensor, dimension: 0 | 1 | 2 | 3): Tensor {
    const size = (tensor: Tensor, i: number): number => tensor.shape[i] ?? 1;
    ensure(
      a.type === dtype.F32 &&
        b.type === dtype.F32 &&
        [0, 1, 2, 3].every((i) => i === dimension || size(a, i) === size(b, i)),
      () => `concat: ${describe(a)} and ${describe(b)} along ${dimension}`,
    );
    const joined = (i: number): number => size(a, i) + (i === dimension ? size(b, i) : 0);
    const pointer = this.ggml.base.ggml_concat(this.take(), a.pointer, b.pointer, dimension);
    return this.result(pointer, a.type, [joined(0), joined(1), joined(2), joined(3)]);
  }

  reshape(a: Tensor, shape: Shape): Tensor {
    ensure(
      isShape(shape) && this.isContiguous(a) && elements(a.shape) === elements(shape),
      () => `reshape: ${describe(a)} to [${shape.join(', ')}]`,
    );
    const strides = this.contiguousStrides(a.type, shape);
    const pointer = this.ggml.base.ggml_reshape_4d(this.take(), a.pointer, ...shape);
    return { pointer, type: a.type, shape, strides };
  }

  /** A window of `a` with strides in bytes, at `offset` bytes. */
  view(a: Tensor, shape: Shape, strides: readonly [number, number, number], offset: number): Tensor {
    const { blockBytes } = typeTraits(this.ggml, a.type);
    const isStep = (n: number): boolean => Number.isSafeInteger(n) && n >= 0 && n % blockBytes === 0;
    ensure(
      isShape(shape) && isStep(offset) && strides.every(isStep),
      () => `view: [${shape.join(', ')}] with strides [${strides.join(', ')}] at ${offset}`,
    );
    const all: Shape = [blockBytes, ...strides];
    // ggml wants room for packed rows even where they overlap.
    const packed = (elements(shape) / shape[0]) * rowBytes(this.ggml, a.type, shape[0]);
    const end = offset + Math.max(packed, this.#extent(a.type, shape, all));
    const size = this.#extent(a.type, a.shape, a.strides);
    ensure(end <= size, () => `view: [${shape.join(', ')}] at ${offset} ends at ${end} of ${size} bytes`);
    const pointer = this.ggml.base.ggml_view_4d(this.take(), a.pointer, ...shape, ...strides, offset);
    return { pointer, type: a.type, shape, strides: all };
  }

  /** Swaps dimensions 1 and 2 without moving data. */
  swapRowsAndMatrices(a: Tensor): Tensor {
    const pointer = this.ggml.base.ggml_permute(this.take(), a.pointer, 0, 2, 1, 3);
    const [s0, s1, s2, s3] = a.shape;
    const [t0, t1, t2, t3] = a.strides;
    return { pointer, type: a.type, shape: [s0, s2, s1, s3], strides: [t0, t2, t1, t3] };
  }

  protected result(pointer: Pointer, type: number, shape: Shape): Tensor {
    return { pointer, type, shape, strides: this.contiguousStrides(type, shape) };
  }

  /** Swaps columns and rows without moving data. */
  transpose(a: Tensor): Tensor {
    const pointer = this.ggml.base.ggml_permute(this.take(), a.pointer, 1, 0, 2, 3);
    const shape: Shape = [a.shape[1], a.shape[0], a.shape[2], a.shape[3]];
    const strides: Shape = [a.strides[1], a.strides[0], a.strides[2], a.strides[3]];
    return { pointer, type: a.type, shape, strides };
  }

  /** Bytes from the first element to behind the last. */
  #extent(type: number, shape: Shape, strides: Shape): number {
    const last = (shape[1] - 1) * strides[1] + (shape[2] - 1) * strides[2] + (shape[3] - 1) * strides[3];
    return last + rowBytes(this.ggml, type, shape[0]);
  }
}

/**
 * Memory for the intermediates of graphs that run one after the other; grows to the largest. A failure is its end, since
 * ggml's allocator would write through the buffer that it did not get: all graphs in it are void, and it takes no more.
 */
export class ComputeAllocator implements Disposable {
  readonly #ggml: Ggml;
  #pointer: Pointer | null;
  #hasFailed = false;
  #memory: ComputeMemory = { isValid: true, uses: new Uses() };

  constructor(backend: Backend) {
    this.#ggml = backend.ggml;
    this.#pointer = this.#ggml.base.ggml_gallocr_new(backend.plain.pointer);
    if (this.#pointer === null)
      throw new ButterflyError('COMPUTE_FAILED', 'An allocator for compute memory could not be made.');
  }

  /** Bytes held; when it changes, graphs allocated earlier are void. */
  get bytes(): number {
    return this.#pointer === null ? 0 : this.#ggml.base.ggml_gallocr_get_buffer_size(this.#pointer, 0);
  }

  /** @throws ButterflyError COMPUTE_FAILED when memory is short, now or the last time. */
  allocate(graph: Graph): void {
    if (this.#hasFailed)
      throw new ButterflyError(
        'COMPUTE_FAILED',
        'Memory for a computation could not be allocated before; make a new allocator when there is more.',
      );
    if (this.#pointer === null) throw new ButterflyError('COMPUTE_INVALID', 'The allocator is disposed.');
    this.#memory.uses.ensureNone('Memory for computations');
    const bytesBefore = this.bytes;
    const isAllocated = this.#ggml.base.ggml_gallocr_alloc_graph(this.#pointer, graph.pointer);
    if (!isAllocated || this.bytes !== bytesBefore) {
      this.#memory.isValid = false;
      this.#memory = { isValid: true, uses: new Uses() };
    }
    if (!isAllocated) {
      this[Symbol.dispose]();
      this.#hasFailed = true;
      throw new ButterflyError(
        'COMPUTE_FAILED',
        'Memory for a computation could not be allocated; free memory or use a smaller context.',
      );
    }
    graph.allocatedIn(this.#memory);
  }

  /** @throws ButterflyError COMPUTE_INVALID while a graph in it is computed */
  [Symbol.dispose](): void {
    this.#memory.uses.ensureNone('Memory for computations');
    this.#memory.isValid = false;
    if (this.#pointer !== null) this.#ggml.base.ggml_gallocr_free(this.#pointer);
    this.#pointer = null;
  }
}
