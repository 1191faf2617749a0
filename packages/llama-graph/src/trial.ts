import { toButterflyError } from '@butterfly/common';
import type { Ggml, HeaderModel } from '@butterfly/ggml';
import { type AttentionSpan, type BatchShape, type PooledRows, plainLayout } from '@butterfly/model';
import { refuse } from './refusal.js';
import { StageGraphs } from './stage-graph.js';
import type { GraphSurvey } from './survey.js';
import { TrialMemory } from './trial-memory.js';

const regionSlots = 256;

/** Decoding, a prompt beside it, and a piece of a prompt that only fills the cache; of one row alone graphs may differ. */
const batches: readonly BatchShape[] = [
  batchOf([1], 1),
  batchOf([1, 1], 2),
  batchOf([1, 3], 2),
  batchOf([4], 0),
  batchOf([64], 1),
];

/** A text, and two of other lengths; of an encoder these are all that there is. */
const texts: readonly (readonly number[])[] = [[1], [3, 4], [64]];

function textsOf(rowsOfTexts: readonly number[], isScored: boolean): BatchShape {
  const rows = rowsOfTexts.reduce((sum, each) => sum + each, 0);
  let rowStart = 0;
  const pooled = rowsOfTexts.map((count, i): PooledRows => ({
    rowStart: (rowStart += count) - count,
    rows: count,
    takes: i === 0 ? 'mean' : 'last',
    isScored,
  }));
  const batch = batchOf(rowsOfTexts, rows);
  return { ...batch, pooled };
}

/** Where nothing is cached, each text attends to its own rows. */
function asTexts(batch: BatchShape): BatchShape {
  return {
    ...batch,
    spans: batch.spans.map((span) => ({ ...span, cached: { start: 0, slots: span.rows, first: 0 } })),
  };
}

function batchOf(rowsOfSequences: readonly number[], logitRows: number): BatchShape {
  const spans = rowsOfSequences.map((rows, i): AttentionSpan => ({
    rows,
    ...plainLayout(rows, rows),
    cached: { start: i * regionSlots, slots: regionSlots, first: 0 },
    room: null,
  }));
  const rows = rowsOfSequences.reduce((sum, each) => sum + each, 0);
  return { rows, paddedRows: rows, spans, logitRows, paddedLogitRows: logitRows };
}

/**
 * Builds graphs of the whole model and of its halves over no memory, so that what cannot be built is refused when a model
 * is opened, and not in its first step.
 * @throws ButterflyError MODEL_UNSUPPORTED
 */
export function tryGraphs(
  ggml: Ggml,
  model: HeaderModel,
  { survey, names }: { readonly survey: GraphSurvey; readonly names: ReadonlySet<string> },
): void {
  const { layers, attention, crossings, isEncoder } = survey;
  const isRanking = (survey.embedding?.scores ?? 0) > 0;
  const embedding = survey.embedding && { isRanking };
  const pooled = embedding ? texts.map((rows) => textsOf(rows, isRanking)) : [];
  const tried = isEncoder ? pooled.map(asTexts) : [...batches, ...pooled];
  const middle = nearestCut(layers / 2, crossings);
  const ranges = [
    [0, layers],
    ...(middle > 0
      ? [
          [0, middle],
          [middle, layers],
        ]
      : []),
  ] as const;
  using memory = new TrialMemory(ggml, survey);
  for (const [layerStart = 0, layerEnd = layers] of ranges) {
    const range = { layerStart, layerEnd };
    const graphs = new StageGraphs({ ggml, model, range, attention, names, embedding });
    const find = memory.weights(graphs.weights);
    for (const batch of tried) {
      try {
        const { caches, states } = memory;
        const built = graphs.build(
          batch,
          find,
          caches.slice(layerStart, layerEnd),
          states.slice(layerStart, layerEnd),
        );
        built.graph[Symbol.dispose]();
      } catch (thrown) {
        const error = toButterflyError(thrown);
        throw error.code === 'MODEL_UNSUPPORTED' ? error : refuse(`cannot be taken apart (${error.message})`);
      }
    }
  }
}

/** The layer nearest to `wanted` that a stage may begin with; 0 where none but the first may. */
function nearestCut(wanted: number, crossings: GraphSurvey['crossings']): number {
  const cuts = crossings.flatMap((width, before) => (width === null ? [] : [before + 1]));
  return cuts.reduce((best, cut) => (Math.abs(cut - wanted) < Math.abs(best - wanted) ? cut : best), 0);
}
