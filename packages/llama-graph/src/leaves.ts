import { dtype, tensorFlags, type ImportedTensor, type Shape, type Tensor } from '@butterfly/ggml';
import type { WeightUse } from '@butterfly/model';
import { isMaskOf } from './attention-operands.js';
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
  /** F32 [hidden, rows]: last hidden states, of which the token after the next one is predicted. */
  | { readonly kind: 'hidden' }
  /** What texts are pooled by: F32 [rows, texts] weights of means, or I32 [texts] rows. */
  | { readonly kind: 'pooling'; readonly takes: 'mean' | 'row' }
  /** Memory whose values do not count, because all of them are replaced at once. */
  | { readonly kind: 'scratch' }
  /** What is made anew over the arena: masks, and where to write. */
  | { readonly kind: 'ours' };

const rotations = /^attn_inp_[kv]_rot(?:_swa)?$/u;
const madeAnew = /^(?:attn_inp_(?:kq_mask|[kv]_idxs)(?:_swa)?|rs_s_copy)$/u;

/** A node that reads a leaf, and the graph in which it does. */
export interface Reader {
  readonly node: ImportedTensor;
  readonly get: WholeGraph['get'];
}

/**
 * Tells what a leaf is by its name and shape; of one without a name, by who reads it.
 * @param rows of the graph.
 * @throws ButterflyError MODEL_UNSUPPORTED for one that is not known, by name
 */
export function leafOf(
  leaf: ImportedTensor,
  rows: number,
  isWeight: (name: string) => boolean,
  reader: Reader | null = null,
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
  const isTokens = name === 'inp_tokens' || (reader !== null && looksTokensUp(leaf, reader, isWeight));
  if (isTokens && type === dtype.I32 && isVector(shape, rows)) return { kind: 'tokens' };
  if (name === 'inp_pos' && type === dtype.I32 && shape[0] % rows === 0)
    return { kind: 'positions', each: shape[0] / rows };
  if (name === 'out_ids' && type === dtype.I32) return { kind: 'logitRows' };
  if (name === 'inp_attn_scale' && type === dtype.F32 && shape[2] === rows) return { kind: 'temperature' };
  if (rotations.test(name) && type === dtype.F32 && shape[0] === shape[1])
    return { kind: 'rotation', size: shape[0] };
  if (madeAnew.test(name) || (reader !== null && isMaskOf(leaf, reader.node))) return { kind: 'ours' };
  if (name === 'mtp_h_input' && type === dtype.F32 && shape[1] === rows) return { kind: 'hidden' };
  if (name === 'mean' && type === dtype.F32) return { kind: 'pooling', takes: 'mean' };
  if (name === 'cls' && type === dtype.I32) return { kind: 'pooling', takes: 'row' };
  const isInput = (leaf.flags & tensorFlags.input) !== 0;
  if (type === dtype.F32 && !isInput && reader !== null && replacesAll(reader.node))
    return { kind: 'scratch' };
  throw refuse(`has the input "${name}" of [${shape.join(', ')}]`);
}

/** As ggml names leaves that nobody else does (ggml_build_forward_impl of ggml.c). */
const noName = /^leaf_\d+$/u;
/** What gemma3n and gemma4 look up beside the embedding (build_inp_per_layer of src/models/gemma4.cpp and gemma3n.cpp). */
const perLayerEmbedding = 'per_layer_token_embd.weight';

/** What layers look up that predict the token after the next one, and in which node (graph_mtp of src/models/qwen35.cpp and others). */
const headEmbedding = /^(?:token_embd|blk\.\d+\.nextn\.embed_tokens)\.weight$/u;
const headLookup = /^mtp_tok_embd-\d+$/u;

/** Whether a leaf without a name is an input by which rows of an embedding are chosen: token ids again. */
function looksTokensUp(
  { name, pointer, flags }: ImportedTensor,
  { node, get }: Reader,
  isWeight: (name: string) => boolean,
): boolean {
  const [table, ids] = node.sources;
  if (!noName.test(name) || (flags & tensorFlags.input) === 0) return false;
  if (node.op !== 'GET_ROWS' || ids !== pointer || !table) return false;
  const { name: embedding } = get(table);
  const isOfHead = headLookup.test(node.name) && headEmbedding.test(embedding);
  return isWeight(embedding) && (embedding === perLayerEmbedding || isOfHead);
}

function isVector(shape: Readonly<Shape>, length: number): boolean {
  return shape.every((size, dimension) => size === (dimension === 0 ? length : 1));
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

/** A leaf and a node that reads it. */
interface ReadLeaf {
  readonly leaf: ImportedTensor;
  readonly reader: Reader;
}

/** The leaves that the nodes of a cut read, each as often as one does. */
export function readingsOf(graph: WholeGraph, cut: Cut): ReadLeaf[] {
  const get = (pointer: ImportedTensor['pointer']): ImportedTensor => graph.get(pointer);
  return cut.nodes.flatMap((position) => {
    const node = graph.nodes[position];
    const read = new Set(node ? [...node.sources, node.viewOf] : []);
    return [...read].flatMap((pointer) => {
      if (pointer === null || !node) return [];
      const leaf = graph.get(pointer);
      return leaf.op === 'NONE' ? [{ leaf, reader: { node, get } }] : [];
    });
  });
}

/** The leaves that the nodes of a cut read, each once. */
export function leavesOf(graph: WholeGraph, cut: Cut): ImportedTensor[] {
  return [...new Map(readingsOf(graph, cut).map(({ leaf }) => [leaf.pointer, leaf])).values()];
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

/**
 * What the matrix of the output is multiplied by.
 * @param made what stands for the nodes of the graph
 * @throws ButterflyError MODEL_UNSUPPORTED where there is none
 */
export function beforeLogits(
  logits: ImportedTensor['pointer'],
  { get }: Pick<WholeGraph, 'get'>,
  isWeight: (name: string) => boolean,
  made: ReadonlyMap<ImportedTensor['pointer'], Tensor>,
): Tensor {
  for (let node = get(logits); node.op !== 'NONE';) {
    const [first, second] = node.sources;
    if (!first) break;
    const isOutput = node.op === 'MUL_MAT' && isWeight(get(first).name);
    const found = isOutput && second ? made.get(second) : undefined;
    if (found) return found;
    node = get(first);
  }
  throw refuse('makes logits without a matrix');
}
