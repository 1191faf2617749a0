import type { HeaderModel, Shape } from '@butterfly/ggml';
import type { LayerAttention } from '@butterfly/model';
import { GraphCutter, type Cut, type WholeGraph } from '../cut.js';

/** What the graph tells of a layer that predicts the token after the next one. */
export interface SurveyedHead {
  readonly attention: LayerAttention;
  /** Of each weight that it uses, as the graph reads it. */
  readonly shapes: Readonly<Record<string, Shape>>;
  /** As in `GraphSurvey`. */
  readonly plainWeights: readonly string[];
}

/**
 * The whole graph of a layer that predicts the token after the next one, and what of it only fills its cache.
 * @param model of which the part is `head`
 */
export function cutHead(
  model: HeaderModel,
  rows: number,
): { readonly graph: WholeGraph; readonly whole: Cut; readonly silent: Cut } {
  const graph: WholeGraph = model.graph(rows, Math.min(rows, 3)).snapshot();
  const cutter = new GraphCutter(graph, model.layers + 1);
  const end = model.layers + 1;
  return { graph, whole: cutter.cut(0, end), silent: cutter.cut(0, end, 'cachesOnly') };
}
