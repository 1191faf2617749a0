import type { ImportedTensor } from '@butterfly/ggml';
import type { LayerAttention } from '@butterfly/model';
import { viewOperations } from './cores.js';
import { cacheLayer, isStateName, type WholeGraph } from './cut.js';
import { rootOf } from './leaves.js';
import { refuse } from './refusal.js';

/**
 * The attention over what each layer caches, as far as the cache and the planner need to know it; null for a layer that
 * caches nothing, and attends to nothing or to what an earlier one cached.
 * @param windowOf tells the window of caches of so many slots.
 * @throws ButterflyError MODEL_UNSUPPORTED
 */
export function attentionsOf(
  graph: WholeGraph,
  layers: number,
  windowOf: (slots: number) => LayerAttention['window'],
): (LayerAttention | null)[] {
  const found = new Map<number, LayerAttention>();
  for (const node of graph.nodes) {
    if (node.op !== 'FLASH_ATTN_EXT') continue;
    const { layer, attention } = attentionOf(graph, node, windowOf);
    const known = found.get(layer);
    if (known && (known.heads !== attention.heads || known.kvHeads !== attention.kvHeads))
      throw refuse(`has attentions of several kinds over what layer ${layer} caches`);
    found.set(layer, attention);
  }
  checkCacheUse(graph);
  for (const node of graph.nodes) {
    const layer = cacheOf(graph, node);
    if (layer !== null && !found.has(layer))
      throw refuse(`has no attention over what layer ${layer} caches that is one of ggml's own`);
  }
  return Array.from({ length: layers }, (_, layer) => found.get(layer) ?? null);
}

/**
 * Whether a model is an encoder: it attends, and caches nothing of it.
 * @throws ButterflyError MODEL_UNSUPPORTED where it does both
 */
export function attendsWithoutCache(graph: WholeGraph): boolean {
  const attentions = graph.nodes.filter(({ op }) => op === 'FLASH_ATTN_EXT');
  const isCached = ({ sources: [, keys] }: ImportedTensor): boolean =>
    Boolean(keys) && cacheLayer(rootOf(graph, graph.get(keys ?? 0n))) !== null;
  const cached = attentions.filter(isCached).length;
  if (cached > 0 && cached < attentions.length)
    throw refuse('caches what some layers attend to, and not others');
  return attentions.length > 0 && cached === 0;
}

function attentionOf(
  graph: WholeGraph,
  node: ImportedTensor,
  windowOf: (slots: number) => LayerAttention['window'],
): { readonly layer: number; readonly attention: LayerAttention } {
  const operand = (index: number): ImportedTensor => {
    const pointer = node.sources[index];
    if (!pointer) throw refuse(`has an attention without its operand ${index}`);
    return graph.get(pointer);
  };
  const [q, k, v] = [operand(0), operand(1), operand(2)];
  const [keys, values] = [rootOf(graph, k), rootOf(graph, v)];
  const layer = cacheLayer(keys);
  if (layer === null || cacheLayer(values) !== layer)
    throw refuse('attends to what is not cached, or not by one layer');
  const hasValues = values.pointer !== keys.pointer;
  const width = k.shape[0] * k.shape[2];
  if (keys.shape[0] !== width || (hasValues && values.shape[0] !== v.shape[0] * v.shape[2]))
    throw refuse(`caches in layer ${layer} more than it attends to`);
  const attention = {
    heads: q.shape[2],
    kvHeads: k.shape[2],
    keySize: k.shape[0],
    valueSize: hasValues ? v.shape[0] : 0,
    window: windowOf(keys.shape[1]),
  };
  return { layer, attention };
}

/** The layer whose keys or values a node shows or writes; null for other nodes. */
function cacheOf(graph: WholeGraph, node: ImportedTensor): number | null {
  const root = rootOf(graph, node);
  return isStateName(root.name) ? null : cacheLayer(root);
}

/** Caches are written row by row and read by attentions, through views; nothing else is known to be right. */
function checkCacheUse(graph: WholeGraph): void {
  for (const node of graph.nodes) {
    if (node.op === 'FLASH_ATTN_EXT' || viewOperations.has(node.op)) continue;
    const isWritten = node.op === 'SET_ROWS' && cacheOf(graph, node) !== null;
    const isRead = node.sources.some(
      (source) => source !== null && cacheOf(graph, graph.get(source)) !== null,
    );
    if (isRead && !isWritten) throw refuse(`computes ${node.op} with cached keys or values`);
  }
}
