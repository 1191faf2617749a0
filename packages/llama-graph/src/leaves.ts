import { dtype, type ImportedTensor } from '@butterfly/ggml';
import type { WeightUse } from '@butterfly/model';
import { cacheLayer, type Cut, type WholeGraph } from './cut.js';
import { refuse } from './refusal.js';

/** What a leaf of a graph is: a tensor that is read and not computed. */
export type Leaf =
  | { readonly kind: 'weight'; readonly name: string }
  /** Keys or values of a layer. */
  | { readonly kind: 'cache'; readonly layer: number; readonly part: 'keys' | 'values' }
  /** I32 [rows] token ids. */
  | { readonly kind: 'tokens' }
  /** I32 [rows * each]: with several for each row, all first ones, then all second ones. */
  | { readonly kind: 'positions'; readonly each: number }
  /** I32 [outputs]: the rows whose logits are wanted. */
  | { readonly kind: 'logitRows' }
  /** F32 [1, 1, rows], by `temperature` of the model. */
  | { readonly kind: 'temperature' }
  /** F32 [n, n]: what rotates heads before they are cached in few bits. */
  | { readonly kind: 'rotation'; readonly size: number }
  /** What is made anew over the arena: masks, and where to write. */
  | { readonly kind: 'ours' };

const rotations = /^attn_inp_[kv]_rot(?:_swa)?$/u;
const madeAnew = /^attn_inp_(?:kq_mask|[kv]_idxs)(?:_swa)?$/u;

/**
 * Tells what a leaf is by its name and shape.
 * @param rows of the graph.
 * @throws ButterflyError MODEL_UNSUPPORTED for one that is not known, by name
 */
export function leafOf(leaf: ImportedTensor, rows: number, isWeight: (name: string) => boolean): Leaf {
  const { name, type, shape } = leaf;
  if (isWeight(name)) return { kind: 'weight', name };
  const layer = cacheLayer(leaf);
  if (layer !== null) {
    const part = /^cache_([kv])_l\d+$/u.exec(name)?.[1];
    if (part === undefined) throw refuse(`keeps states of sequences (${name})`);
    return { kind: 'cache', layer, part: part === 'k' ? 'keys' : 'values' };
  }
  if (name === 'inp_tokens' && type === dtype.I32 && shape[0] === rows) return { kind: 'tokens' };
  if (name === 'inp_pos' && type === dtype.I32 && shape[0] % rows === 0)
    return { kind: 'positions', each: shape[0] / rows };
  if (name === 'out_ids' && type === dtype.I32) return { kind: 'logitRows' };
  if (name === 'inp_attn_scale' && type === dtype.F32 && shape[2] === rows) return { kind: 'temperature' };
  if (rotations.test(name) && type === dtype.F32 && shape[0] === shape[1])
    return { kind: 'rotation', size: shape[0] };
  if (madeAnew.test(name)) return { kind: 'ours' };
  throw refuse(`has the input "${name}" of [${shape.join(', ')}]`);
}

/** The leaves that the nodes of a cut read, each once. */
export function leavesOf(graph: WholeGraph, cut: Cut): ImportedTensor[] {
  const leaves = new Map<ImportedTensor['pointer'], ImportedTensor>();
  for (const position of cut.nodes) {
    const node = graph.nodes[position];
    for (const pointer of node ? [...node.sources, node.viewOf] : []) {
      if (pointer === null) continue;
      const tensor = graph.get(pointer);
      if (tensor.op === 'NONE') leaves.set(pointer, tensor);
    }
  }
  return [...leaves.values()];
}

/** The tensor whose data a chain of views shows. */
export function rootOf(graph: Pick<WholeGraph, 'get'>, tensor: ImportedTensor): ImportedTensor {
  return tensor.viewOf === null ? tensor : graph.get(tensor.viewOf);
}

/** How a node uses a weight that is its source of this number; -1 of what it is a window of. */
export function weightUse({ op }: ImportedTensor, index: number): WeightUse {
  if (index !== 0) return 'elementwise';
  if (op === 'GET_ROWS') return 'lookup';
  if (op === 'MUL_MAT') return 'matmul';
  return op === 'MUL_MAT_ID' ? 'experts' : 'elementwise';
}
