import { toButterflyError } from '@butterfly/common';
import type { HeaderModel, ImportedTensor, Shape } from '@butterfly/ggml';
import { type Cut, GraphCutter, type WholeGraph } from '../cut.js';
import { leafOf, leavesOf, type Leaf } from '../leaves.js';
import { refuse } from '../refusal.js';

/** How a graph makes embeddings of the rows of its last layer. Positions are those of nodes in the whole graph. */
export interface PooledEnd {
  /** What is computed before rows are taken, ascending. */
  readonly trunk: readonly number[];
  /** Gives the rows that are pooled: F32 [width, outputs]. */
  readonly rows: number;
  /** Takes what the tail begins with, or the embedding itself. */
  readonly taken: number;
  readonly takes: Extract<Leaf, { kind: 'pooling' }>['takes'];
  /** What llama.cpp computes of what is taken, ascending: projections, or the head that scores. */
  readonly tail: readonly number[];
}

/** Moves numbers, and computes nothing. */
const moving: ReadonlySet<string> = new Set(['CONT', 'TRANSPOSE', 'PERMUTE', 'VIEW', 'RESHAPE']);

/**
 * Finds where rows are pooled in a cut that ends with it.
 * @param rows of the graph, as for `leafOf`.
 * @throws ButterflyError MODEL_UNSUPPORTED
 */
export function pooledEnd(
  graph: WholeGraph,
  cut: Cut,
  rows: number,
  isWeight: (name: string) => boolean,
): PooledEnd {
  const positions = new Map(graph.nodes.map(({ pointer }, position) => [pointer, position]));
  const found = cut.nodes.flatMap((position) => {
    const node = graph.nodes[position];
    const leaf = node && poolingOf(graph, node, rows, isWeight);
    return node && leaf ? [{ position, node, leaf }] : [];
  });
  const [first] = found;
  if (!first || found.length > 1) throw refuse('makes no embeddings of its rows');
  let source = first.node.sources[0];
  while (source && first.leaf.takes === 'mean' && moving.has(graph.get(source).op))
    [source] = graph.get(source).sources;
  const rowsAt = source ? positions.get(source) : undefined;
  if (rowsAt === undefined) throw refuse('pools what it does not compute');
  const trunk = cut.nodes.filter((position) => position <= rowsAt);
  const tail = cut.nodes.filter((position) => position > first.position);
  checkTail(graph, { taken: first.position, tail }, isWeight);
  return { trunk, rows: rowsAt, taken: first.position, takes: first.leaf.takes, tail };
}

/** The leaf by which a node pools; null for a node that does not. */
function poolingOf(
  graph: WholeGraph,
  node: ImportedTensor,
  rows: number,
  isWeight: (name: string) => boolean,
): Extract<Leaf, { kind: 'pooling' }> | null {
  const index = node.sources[1];
  if ((node.op !== 'GET_ROWS' && node.op !== 'MUL_MAT') || !index) return null;
  const tensor = graph.get(index);
  if (tensor.op !== 'NONE' || isWeight(tensor.name)) return null;
  const leaf = leafOf(tensor, rows, isWeight, { node, get: (pointer) => graph.get(pointer) });
  const isFitting = leaf.kind === 'pooling' && (leaf.takes === 'mean') === (node.op === 'MUL_MAT');
  return isFitting ? leaf : null;
}

/** It is made again for each text by itself, so it must depend on nothing but what is taken. */
function checkTail(
  graph: WholeGraph,
  { taken, tail }: Pick<PooledEnd, 'taken' | 'tail'>,
  isWeight: (name: string) => boolean,
): void {
  const known = new Set([taken, ...tail].map((position) => graph.nodes[position]?.pointer));
  for (const position of tail)
    for (const source of graph.nodes[position]?.sources ?? []) {
      if (source === null || known.has(source)) continue;
      const { op, name } = graph.get(source);
      if (op !== 'NONE' || !isWeight(name)) throw refuse(`makes embeddings of "${name}" too`);
    }
}

/** What the embeddings of a model are like. */
export interface SurveyedEmbedding {
  /** Numbers of an embedding. */
  readonly width: number;
  /** How many the model's head gives; 0 without one. */
  readonly scores: number;
  readonly takes: PooledEnd['takes'];
}

interface PoolingSurvey {
  readonly embedding: SurveyedEmbedding;
  /** Position of the node whose rows are pooled. */
  readonly rows: number;
  /** That the last layer, its end included, reads in such a graph. */
  readonly weights: readonly { readonly name: string; readonly shape: Shape }[];
}

/** Unlike any dimension of a model. */
const surveyedRows = 7;

/** What a model's embeddings are like; null where none can be made, as where its rows are not pooled in a way that is known. */
export function surveyPooling(
  model: HeaderModel,
  options: { readonly isRanking: boolean; readonly isWeight: (name: string) => boolean },
): PoolingSurvey | null {
  const { isRanking, isWeight } = options;
  try {
    const graph: WholeGraph = model.graph(surveyedRows, surveyedRows, 1, 'pooled').snapshot();
    const cut = new GraphCutter(graph, model.layers).cut(model.layers - 1, model.layers);
    const end = pooledEnd(graph, cut, surveyedRows, isWeight);
    const widthAt = (position: number): number => graph.nodes[position]?.shape[0] ?? 0;
    const last = widthAt(end.tail.at(-1) ?? end.rows);
    return {
      embedding: {
        width: isRanking ? widthAt(end.rows) : last,
        scores: isRanking ? last : 0,
        takes: end.takes,
      },
      rows: end.rows,
      weights: leavesOf(graph, cut).filter(({ name }) => isWeight(name)),
    };
  } catch (thrown) {
    const error = toButterflyError(thrown);
    if (error.code !== 'MODEL_UNSUPPORTED') throw error;
    return null;
  }
}
