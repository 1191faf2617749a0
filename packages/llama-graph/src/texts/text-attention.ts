import { shapeOf, type CloningGraph, type ImportedTensor, type Tensor } from '@butterfly/ggml';
import type { BatchShape } from '@butterfly/model';

/** What an attention without a cache reads, of all rows of a batch: F32, F16 and F16 [headSize, rows, heads]. */
interface TextOperands {
  readonly queries: Tensor;
  readonly keys: Tensor;
  readonly values: Tensor;
  readonly sinks: Tensor | null;
  /** Of each text, F16 [rows, rows]. */
  readonly masks: readonly Tensor[];
  /** F32 [heads * valueSize, paddedRows]; null where one text is all. */
  readonly attended: Tensor | null;
}

/**
 * Attention of each text over its own rows, as llama.cpp has it of a text alone; of several it attends over all rows and masks
 * those of the others, which changes last bits with the neighbours.
 * @param node FLASH_ATTN_EXT over what is not cached.
 */
export function attendTexts(
  graph: CloningGraph,
  node: ImportedTensor,
  { spans }: BatchShape,
  { queries, keys, values, sinks, masks, attended }: TextOperands,
): Tensor {
  const window = (of: Tensor, start: number, rows: number): Tensor => {
    const [, row, head, all] = of.strides;
    return graph.view(of, shapeOf(of.shape[0], rows, of.shape[2]), [row, head, all], start * row);
  };
  let start = 0;
  for (const [i, { rows }] of spans.entries()) {
    const mask = masks[i];
    if (!mask) throw new RangeError(`text ${i} has no mask`);
    const operands = {
      q: window(queries, start, rows),
      k: window(keys, start, rows),
      v: window(values, start, rows),
      mask,
    };
    const result = graph.attentionLike(node, operands, sinks);
    if (!attended) return graph.shapedAs(result, node);
    const [, head, row, all] = result.strides;
    const target = graph.view(attended, result.shape, [head, row, all], start * attended.strides[1]);
    graph.expand(graph.copy(result, target));
    start += rows;
  }
  if (!attended) throw new RangeError('a batch needs at least one text');
  return graph.shapedAs(attended, node);
}
