import { ensure } from '@butterfly/common';
import { ownSourcesMax } from '../graph/graph-context.js';
import { Graph } from '../graph/graph.js';
import { describe, sameShape, type Tensor } from '../graph/tensor.js';
import type { Ggml } from '../library/library.js';
import type { Pointer } from '../library/symbols.js';
import { tensorStruct, type ImportedTensor } from './tensor-struct.js';

/** Where ggml_flash_attn_ext_set_n_kv_max writes, in bytes into the parameters. */
const attentionSeenMax = 16;

/**
 * A graph that takes over operations which llama.cpp made, over other tensors. Their shapes, strides and parameters come
 * from there and are not checked again; what stands for a source must have its type and shape.
 */
export class CloningGraph extends Graph {
  readonly #view: DataView;
  readonly #bytes: Uint8Array;
  readonly #start: Pointer;
  /** Operations of llama.cpp may read more than ours do; ggml ends the process where it has no room for what they read. */
  #furtherSourcesLeft: number;

  /** @param tensorsMax as in `GraphContext` */
  constructor(ggml: Ggml, tensorsMax: number) {
    super(ggml, tensorsMax, ownSourcesMax + 1);
    this.#furtherSourcesLeft = tensorsMax;
    const { start, memory } = this.descriptions();
    this.#start = start;
    this.#view = new DataView(memory);
    this.#bytes = new Uint8Array(memory);
  }

  /**
   * The same operation over these sources. Disposing the graph voids it.
   * @param sources in their order; `self` where the original reads itself, as casts do.
   * @param viewOf stands for the tensor that the original is a window of.
   */
  clone(
    original: ImportedTensor,
    sources: readonly (Tensor | 'itself' | null)[],
    viewOf: Tensor | null,
  ): Tensor {
    const { type, shape, strides, opCode, params, viewOffset } = original;
    ensure(
      sources.length === original.sources.length && (viewOf !== null) === (original.viewOf !== null),
      () => `clone: ${original.op} has other sources than ${sources.length}`,
    );
    this.#takeSources(sources.length);
    const pointer = this.ggml.base.ggml_new_tensor_4d(this.take(), type, ...shape);
    const at = this.#at(pointer);
    for (const [i, stride] of strides.entries())
      this.#view.setBigUint64(at + tensorStruct.strides + 8 * i, BigInt(stride), true);
    this.#view.setInt32(at + tensorStruct.op, opCode, true);
    this.#bytes.set(params, at + tensorStruct.params);
    for (const [i, source] of sources.entries()) {
      const address = source === 'itself' ? pointer : (source?.pointer ?? 0n);
      this.#view.setBigUint64(at + tensorStruct.sources + 8 * i, address, true);
    }
    if (viewOf) {
      const [root, offset] = this.#rootOf(viewOf.pointer);
      this.#view.setBigUint64(at + tensorStruct.viewOf, root, true);
      this.#view.setBigUint64(at + tensorStruct.viewOffset, offset + BigInt(viewOffset), true);
    }
    return { pointer, type, shape, strides };
  }

  /**
   * An attention with the scale, the bias, the cap and the precision of the original, over other queries, keys, values and
   * mask (see `flashAttention`); its sinks F32 [heads] are attended beside the keys.
   */
  attentionLike(
    original: ImportedTensor,
    operands: { readonly q: Tensor; readonly k: Tensor; readonly v: Tensor; readonly mask: Tensor },
    sinks: Tensor | null,
  ): Tensor {
    const { q, k, v, mask } = operands;
    ensure(
      sinks === null || sinks.shape[0] === q.shape[2],
      () => `attentionLike: sinks ${describe(sinks ?? q)} for queries ${describe(q)}`,
    );
    const made = this.flashAttention(q, k, v, mask, 1);
    const at = this.#at(made.pointer);
    this.#bytes.set(original.params, at + tensorStruct.params);
    // How many keys are seen at most is another number here; 0 says that it is not known.
    this.#view.setInt32(at + tensorStruct.params + attentionSeenMax, 0, true);
    // Sinks are the fifth source (ggml_flash_attn_ext_add_sinks).
    if (sinks) this.#takeSources(ownSourcesMax + 1);
    if (sinks) this.#view.setBigUint64(at + tensorStruct.sources + 8 * 4, sinks.pointer, true);
    return made;
  }

  /** `a` as if it had the shape, which has as many elements; both are contiguous. */
  shapedAs(a: Tensor, original: ImportedTensor): Tensor {
    return sameShape(a.shape, original.shape) ? a : this.reshape(a, original.shape);
  }

  /** What a tensor of this or another graph is a window of, and where it begins in that. */
  #rootOf(pointer: Pointer): readonly [root: Pointer, offset: bigint] {
    if (pointer < this.#start || pointer >= this.#start + BigInt(this.#bytes.length)) return [pointer, 0n];
    const at = this.#at(pointer);
    const root = this.#view.getBigUint64(at + tensorStruct.viewOf, true);
    return root === 0n ? [pointer, 0n] : [root, this.#view.getBigUint64(at + tensorStruct.viewOffset, true)];
  }

  #takeSources(count: number): void {
    this.#furtherSourcesLeft -= Math.max(0, count - ownSourcesMax);
    ensure(this.#furtherSourcesLeft >= 0, () => 'The graph has no room for what its operations read.');
  }

  #at(pointer: Pointer): number {
    return Number(pointer - this.#start);
  }
}
