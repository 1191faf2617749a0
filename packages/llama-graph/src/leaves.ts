import { dtype, tensorFlags, type ImportedTensor, type Tensor } from '@butterfly/ggml';
import type { WeightUse } from '@butterfly/model';
import { cacheLayer, type Cut, type WholeGraph } from './cut.js';
import { refuse } from './refusal.js';

/** What a leaf of a graph is: a tensor that is read and not computed. */
export type Leaf =
  | { readonly kind: 'weight'; readonly name: string }
  /** What is kept of sequences beside keys and values; F32 [width, cells]. */
  | { readonly kind: 'state'; readonly layer: number; readonly name: string; readonly width: number }
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
  /** Memory whose values do not count, because all of them are replaced at once. */
  | { readonly kind: 'scratch' }
  /** What is made anew over the arena: masks, and where to write. */
  | { readonly kind: 'ours' };

const rotations = /^attn_inp_[kv]_rot(?:_swa)?$/u;
const madeAnew = /^(?:attn_inp_(?:kq_mask|[kv]_idxs)(?:_swa)?|rs_s_copy)$/u;

/**
 * Tells what a leaf is by its name and shape.
 * @param rows of the graph.
 * @param reader a node that reads it.
 * @throws ButterflyError MODEL_UNSUPPORTED for one that is not known, by name
 */
export function leafOf(
  leaf: ImportedTensor,
  rows: number,
  isWeight: (name: string) => boolean,
  reader: ImportedTensor | null = null,
): Leaf {
  const { name, type, shape } = leaf;
  if (isWeight(name)) return { kind: 'weight', name };
  const layer = cacheLayer(leaf);
  if (layer !== null) {
    const part = /^cache_([kv])_l\d+$/u.exec(name)?.[1];
    if (part === undefined) {
      if (type !== dtype.F32) throw refuse(`keeps states of another type than F32 (${name})`);
      return { kind: 'state', layer, name: stateKind(name), width: shape[0] };
    }
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
  if (type === dtype.F32 && (leaf.flags & tensorFlags.input) === 0 && reader !== null && replacesAll(reader))
    return { kind: 'scratch' };
  throw refuse(`has the input "${name}" of [${shape.join(', ')}]`);
}

/** Which state of its layer a tensor holds: its name without the number of the layer. */
export function stateKind(name: string): string {
  return name.replace(/\d+$/u, '');
}

/** Whether a node gives the same whatever it reads: filled with one value, or clamped between equal bounds. */
function replacesAll({ op, params }: ImportedTensor): boolean {
  if (op === 'FILL') return true;
  const bounds = new DataView(params.buffer, params.byteOffset);
  return op === 'CLAMP' && bounds.getFloat32(0, true) === bounds.getFloat32(4, true);
}

/** A leaf and the first node that reads it. */
interface ReadLeaf {
  readonly leaf: ImportedTensor;
  readonly reader: ImportedTensor;
}

/** The leaves that the nodes of a cut read, each once. */
export function leavesOf(graph: WholeGraph, cut: Cut): ReadLeaf[] {
  const leaves = new Map<ImportedTensor['pointer'], ReadLeaf>();
  for (const position of cut.nodes) {
    const node = graph.nodes[position];
    for (const pointer of node ? [...node.sources, node.viewOf] : []) {
      if (pointer === null || !node || leaves.has(pointer)) continue;
      const leaf = graph.get(pointer);
      if (leaf.op === 'NONE') leaves.set(pointer, { leaf, reader: node });
    }
  }
  return [...leaves.values()];
}

/** The tensor whose data a chain of views shows. */
export function rootOf(graph: Pick<WholeGraph, 'get'>, tensor: ImportedTensor): ImportedTensor {
  return tensor.viewOf === null ? tensor : graph.get(tensor.viewOf);
}

/** Gives the tensor of a weight in the layout for its use. */
export type FindWeight = (name: string, use: WeightUse) => Tensor;

/** How a node uses a weight that is its source of this number; -1 of what it is a window of. */
export function weightUse({ op }: ImportedTensor, index: number): WeightUse {
  if (index !== 0) return 'elementwise';
  if (op === 'GET_ROWS') return 'lookup';
  if (op === 'MUL_MAT') return 'matmul';
  return op === 'MUL_MAT_ID' ? 'experts' : 'elementwise';
}
