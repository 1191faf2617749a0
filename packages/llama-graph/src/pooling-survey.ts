import { toButterflyError } from '@butterfly/common';
import type { HeaderModel, Shape } from '@butterfly/ggml';
import { GraphCutter, type WholeGraph } from './cut.js';
import { leavesOf } from './leaves.js';
import { pooledEnd } from './pooled-end.js';
import type { GraphSurvey } from './survey.js';

interface PoolingSurvey {
  readonly embedding: NonNullable<GraphSurvey['embedding']>;
  /** Position of the node whose rows are pooled. */
  readonly rows: number;
  /** That the last layer, its end included, reads in such a graph. */
  readonly weights: readonly { readonly name: string; readonly shape: Shape }[];
}

/** Unlike any dimension of a model. */
const rows = 7;

/** What a model's embeddings are like; null where none can be made, as where its rows are not pooled in a way that is known. */
export function surveyPooling(
  model: HeaderModel,
  options: { readonly isRanking: boolean; readonly isWeight: (name: string) => boolean },
): PoolingSurvey | null {
  const { isRanking, isWeight } = options;
  try {
    const graph: WholeGraph = model.graph(rows, rows, 1, 'pooled').snapshot();
    const cut = new GraphCutter(graph, model.layers).cut(model.layers - 1, model.layers);
    const end = pooledEnd(graph, cut, rows, isWeight);
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
