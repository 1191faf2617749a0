import { ensure, toButterflyError } from '@butterfly/common';
import { CloningGraph, dtype, shapeOf, type Ggml, type HeaderModel, type Tensor } from '@butterfly/ggml';
import {
  type AttentionSpan,
  type BatchShape,
  type LayerCache,
  type LayerStates,
  plainLayout,
} from '@butterfly/model';
import type { FindWeight } from './leaves.js';
import { refuse } from './refusal.js';
import { StageGraphs } from './stage-graph.js';
import type { GraphSurvey } from './survey.js';

/** Slots of the arena, and of states, that there could be; any number shows what a graph is. */
const trialSlots = 512;
const regionSlots = 256;
const trialStateSlots = 8;

/** Decoding, a prompt beside it, and a piece of a prompt that only fills the cache; of one row alone graphs may differ. */
const batches: readonly BatchShape[] = [
  batchOf([1], 1),
  batchOf([1, 1], 2),
  batchOf([1, 3], 2),
  batchOf([4], 0),
  batchOf([64], 1),
];

function batchOf(rowsOfSequences: readonly number[], logitRows: number): BatchShape {
  const spans = rowsOfSequences.map((rows, i): AttentionSpan => ({
    rows,
    ...plainLayout(rows, rows),
    regionStart: i * regionSlots,
    cachedSlots: regionSlots,
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
  const { layers, attention, crossings } = survey;
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
    const graphs = new StageGraphs({ ggml, model, range: { layerStart, layerEnd }, attention, names });
    const find = memory.weights(graphs);
    for (const batch of batches) {
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

/** Tensors without memory where a stage has its own. */
class TrialMemory implements Disposable {
  readonly caches: readonly (LayerCache | null)[];
  readonly states: readonly LayerStates[];
  readonly #tensors: CloningGraph;
  readonly #weights = new Map<string, Tensor>();

  constructor(ggml: Ggml, { attention, states, shapes }: GraphSurvey) {
    const perLayer = 2 + Math.max(0, ...states.map(({ length }) => length));
    this.#tensors = new CloningGraph(ggml, Object.keys(shapes).length + perLayer * attention.length + 16);
    const tensor = (type: number, width: number, count: number): Tensor =>
      this.#tensors.input(type, shapeOf(width, count));
    this.caches = attention.map((layer) => {
      if (!layer) return null;
      const { kvHeads, keySize, valueSize } = layer;
      return {
        keys: tensor(dtype.F16, kvHeads * keySize, trialSlots),
        values: valueSize === 0 ? null : tensor(dtype.F16, kvHeads * valueSize, trialSlots),
      };
    });
    this.states = states.map(
      (layer) => new Map(layer.map(({ name, width }) => [name, tensor(dtype.F32, width, trialStateSlots)])),
    );
  }

  weights({ weights }: StageGraphs): FindWeight {
    for (const { name, type, shape } of weights)
      if (!this.#weights.has(name)) this.#weights.set(name, this.#tensors.input(type, shape));
    return (name) => {
      const weight = this.#weights.get(name);
      ensure(weight !== undefined, () => `${name} is no weight of its layers`);
      return weight;
    };
  }

  [Symbol.dispose](): void {
    this.#tensors[Symbol.dispose]();
  }
}
