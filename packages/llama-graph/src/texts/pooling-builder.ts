import type { CloningGraph, ImportedTensor, Tensor } from '@butterfly/ggml';
import { type BatchShape, type PooledRows, poolTexts, tensorsOfPooling } from '@butterfly/model';
import { refuse } from '../refusal.js';

type Pointer = ImportedTensor['pointer'];

/** The nodes by which llama.cpp makes embeddings of a batch that has one text. */
export interface PooledNodes {
  /** Gives the rows that are pooled. */
  readonly rows: Pointer;
  /** Takes one row, or the mean. */
  readonly taken: Pointer;
  /** What is computed of that, in order. */
  readonly tail: readonly ImportedTensor[];
  /** Whether the tail scores texts, and is not a part of every embedding. */
  readonly isScoring: boolean;
}

/** How many tensors the embeddings of a batch take at most. */
export function tensorsOfTexts(pooled: PooledNodes | null, { pooled: texts = [] }: BatchShape): number {
  return pooled === null ? 0 : texts.length * (tensorsOfPooling + pooled.tail.length);
}

/**
 * Makes the embedding of each text by itself.
 * @param rows F32 [width, rows] of all texts.
 * @param options.weight finds the weight that a node of the tail reads.
 */
export function poolNodes(
  graph: CloningGraph,
  rows: Tensor,
  pooled: PooledNodes,
  options: {
    readonly texts: readonly PooledRows[];
    readonly weight: (node: ImportedTensor, index: number, pointer: Pointer) => Tensor;
  },
): ReturnType<typeof poolTexts> {
  const { tail, taken: first, isScoring } = pooled;
  return poolTexts(graph, rows, options.texts, (taken, { isScored }) => {
    if (isScored && !isScoring) throw refuse('has no head that scores texts');
    if (isScored !== isScoring || tail.length === 0) return taken;
    const made = new Map<Pointer, Tensor>([[first, taken]]);
    let last = taken;
    for (const node of tail) {
      const operand = (pointer: Pointer, index: number): Tensor =>
        made.get(pointer) ?? options.weight(node, index, pointer);
      last = graph.clone(
        node,
        node.sources.map((source, index) => (source === null ? null : operand(source, index))),
        node.viewOf === null ? null : operand(node.viewOf, -1),
      );
      made.set(node.pointer, last);
    }
    return last;
  });
}
