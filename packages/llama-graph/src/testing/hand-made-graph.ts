import { dtype, type ImportedTensor, type Shape } from '@butterfly/ggml';
import type { WholeGraph } from '../cut.js';

type Pointer = ImportedTensor['pointer'];

/** A graph without llama.cpp: nodes in the order in which they are made, and leaves. */
export class HandMadeGraph implements WholeGraph {
  readonly nodes: ImportedTensor[] = [];
  readonly #tensors = new Map<Pointer, ImportedTensor>();

  get(pointer: Pointer): ImportedTensor {
    const tensor = this.#tensors.get(pointer);
    if (!tensor) throw new RangeError(`there is no tensor ${pointer}`);
    return tensor;
  }

  /** What is read and not computed. */
  leaf(name: string, change: Partial<ImportedTensor> = {}): Pointer {
    return this.#made({ op: 'NONE', name, ...change });
  }

  /** What is computed from `sources`. */
  node(op: string, sources: readonly Pointer[], change: Partial<ImportedTensor> = {}): Pointer {
    const pointer = this.#made({ op, sources, ...change });
    this.nodes.push(this.get(pointer));
    return pointer;
  }

  /** Positions of nodes, by their names and ascending. */
  names(positions: readonly number[]): string[] {
    return positions.map((position) => this.nodes[position]?.name ?? '');
  }

  #made(change: Partial<ImportedTensor>): Pointer {
    const tensor = tensorOf({ pointer: BigInt(this.#tensors.size + 1), ...change });
    this.#tensors.set(tensor.pointer, tensor);
    return tensor.pointer;
  }
}

/** A leaf F32 [4, 2], unless told otherwise. */
export function tensorOf(change: Partial<ImportedTensor>): ImportedTensor {
  const shape: Shape = change.shape ?? [4, 2, 1, 1];
  return {
    pointer: 1n,
    op: 'NONE',
    opCode: 0,
    type: dtype.F32,
    shape,
    strides: [4, 4 * shape[0], 4 * shape[0] * shape[1], 4 * shape[0] * shape[1] * shape[2]],
    flags: 0,
    sources: [],
    viewOf: null,
    viewOffset: 0,
    name: '',
    params: new Uint8Array(64),
    ...change,
  };
}

export interface HandMadeModel {
  readonly graph: HandMadeGraph;
  readonly layers: number;
}

/**
 * A model whose layers are norm, cached keys, attention and residual; nodes are named as `embedding`, `norm-0`, `scaled-0`,
 * `key-0`, `stored-0`, `seen-0`, `attention-0`, `out-0`, `residual-0`, … `norm`, `scaled`, `logits`, and `mask`, which
 * depends on positions alone.
 * @param options.cacheOf which layer's cache a layer attends to; its own by default.
 * @param options.hasSecondPath whether layers hand on a second tensor that no other one follows from.
 */
export function handMadeModel(
  layers: number,
  options: {
    readonly isTied?: boolean;
    readonly cacheOf?: (layer: number) => number;
    readonly hasSecondPath?: boolean;
  } = {},
): HandMadeModel {
  const graph = new HandMadeGraph();
  const embeddings = graph.leaf('token_embd.weight');
  const mask = graph.node('CPY', [graph.leaf('attn_inp_kq_mask')], { name: 'mask' });
  let x = graph.node('GET_ROWS', [embeddings, graph.leaf('inp_tokens')], { name: 'embedding' });
  let side = x;
  const caches = Array.from({ length: layers }, (_, layer) => graph.leaf(`cache_k_l${layer}`));
  const slots = graph.leaf('attn_inp_k_idxs');
  for (const [layer, cache] of caches.entries()) {
    const named = (name: string) => ({ name: `${name}-${layer}` });
    const weight = (name: string): Pointer => graph.leaf(`blk.${layer}.${name}.weight`);
    const norm = graph.node('RMS_NORM', [x], named('norm'));
    const scaled = graph.node('MUL', [norm, weight('attn_norm')], named('scaled'));
    const key = graph.node('MUL_MAT', [weight('attn_k'), scaled], named('key'));
    graph.node('SET_ROWS', [key, slots], { ...named('stored'), viewOf: cache });
    const seen = graph.node('VIEW', [], {
      ...named('seen'),
      viewOf: caches[options.cacheOf?.(layer) ?? layer] ?? cache,
    });
    const attention = graph.node('FLASH_ATTN_EXT', [scaled, seen, seen, mask], named('attention'));
    const out = graph.node('MUL_MAT', [weight('attn_output'), attention], named('out'));
    x = graph.node('ADD', [x, out], named('residual'));
    if (options.hasSecondPath) {
      side = graph.node('MUL', [side, weight('side')], named('side'));
      x = graph.node('ADD', [x, side], named('sum'));
    }
  }
  const norm = graph.node('RMS_NORM', [x], { name: 'norm' });
  const scaled = graph.node('MUL', [norm, graph.leaf('output_norm.weight')], { name: 'scaled' });
  graph.node('MUL_MAT', [options.isTied ? embeddings : graph.leaf('output.weight'), scaled], {
    name: 'logits',
  });
  return { graph, layers };
}
