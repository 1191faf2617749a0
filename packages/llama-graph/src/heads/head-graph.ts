import type { CloningGraph, Ggml, HeaderModel } from '@butterfly/ggml';
import type { BatchShape, LayerAttention, LayerCache, StepGraph } from '@butterfly/model';
import type { Cut } from '../cut.js';
import { GraphBuilder } from '../graph-builder.js';
import type { FindWeight } from '../leaves.js';
import { refuse } from '../refusal.js';
import { cutHead } from './head-cut.js';
import { coreRows, weightsOf, type ImportedWeight } from '../stage-graph.js';

interface HeadGraphsOptions {
  readonly ggml: Ggml;
  /** Of which the part is `head`; whoever made it disposes it. */
  readonly model: HeaderModel;
  readonly attention: LayerAttention;
  readonly names: ReadonlySet<string>;
}

/**
 * The graphs of the layer that predicts the token after the next one (multi-token prediction, section 2.2 of
 * https://arxiv.org/abs/2412.19437): of each row it takes the last hidden state of the model at one position, and the token
 * of the next.
 */
export class HeadGraphs {
  readonly weights: readonly ImportedWeight[];
  readonly #cuts: { readonly whole: Cut; readonly silent: Cut };
  readonly #operations: readonly string[];

  /** @throws ButterflyError MODEL_UNSUPPORTED */
  constructor(private readonly options: HeadGraphsOptions) {
    const { graph, whole, silent } = cutHead(options.model, coreRows);
    this.#cuts = { whole, silent };
    this.#operations = graph.nodes.map(({ op }) => op);
    this.weights = weightsOf(options.names, [{ graph, cut: whole }]);
  }

  /**
   * The graph of a step. Whoever gets it disposes it.
   * @param find gives the tensor of each of `weights`.
   * @throws ButterflyError MODEL_UNSUPPORTED, COMPUTE_FAILED
   */
  build(batch: BatchShape, find: FindWeight, cache: LayerCache): StepGraph<CloningGraph> {
    const { model, attention } = this.options;
    const imported = model.graph(batch.paddedRows, Math.max(1, batch.paddedLogitRows));
    const isSilent = batch.logitRows === 0;
    const cut = isSilent ? this.#cuts.silent : this.#cuts.whole;
    const nodes = cut.nodes.map((position) => imported.node(position));
    const isAsKnown =
      imported.size === this.#operations.length &&
      nodes.every(({ op }, i) => op === this.#operations[cut.nodes[i] ?? -1]);
    if (!isAsKnown) throw refuse(`guesses otherwise for ${batch.paddedRows} rows`);
    const [exit] = isSilent ? [] : cut.exits;
    const { layers } = model;
    return new GraphBuilder({
      ...this.options,
      ...{ batch, find, nodes, caches: [cache], isLast: true },
      range: { layerStart: layers, layerEnd: layers + 1 },
      attention: [...Array.from({ length: layers }, () => null), attention],
      get: (pointer) => imported.get(pointer),
      node: (position) => imported.node(position),
      positionOf: (pointer) => imported.positionOf(pointer),
      logits: exit === undefined ? null : imported.node(exit).pointer,
      ...{ pooled: null, hidden: null, entries: [], exits: [], watched: [] },
      ...{ states: [], cores: [], groups: [], dimensions: [] },
    }).build();
  }
}
