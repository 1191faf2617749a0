import type { CloningGraph, Ggml, HeaderModel, ImportedTensor, Tensor } from '@butterfly/ggml';
import type { BatchShape, LayerAttention, LayerCache, StepGraph, WeightUse } from '@butterfly/model';
import { GraphCutter, type Cut, type WholeGraph } from './cut.js';
import { isBiased, sinksOperand } from './attention-operands.js';
import { GraphBuilder, type FindWeight } from './graph-builder.js';
import { leafOf, leavesOf, weightUse } from './leaves.js';
import { refuse } from './refusal.js';

type Pointer = ImportedTensor['pointer'];

/** A weight of a stage and how it is used; one that is used in two ways may lie in two layouts. */
export interface ImportedWeight {
  readonly name: string;
  readonly use: WeightUse;
  /** As llama.cpp's graph has it. */
  readonly shape: Tensor['shape'];
}

export interface StageGraphOptions {
  readonly ggml: Ggml;
  /** Whoever made it disposes it. */
  readonly model: HeaderModel;
  readonly range: { readonly layerStart: number; readonly layerEnd: number };
  readonly attention: readonly LayerAttention[];
  /** Names of the model's weights. */
  readonly names: ReadonlySet<string>;
}

/** The graphs of a range of layers of a model, cut out of those that llama.cpp builds of the whole. */
export class StageGraphs {
  readonly weights: readonly ImportedWeight[];
  /** Whether heads of any layer of the model have terms of their own (sinks, ALiBi), so that they cannot change places. */
  readonly hasHeadTerms: boolean;
  /** What is computed where logits are wanted, or activations go on; and where a step only fills the cache. */
  readonly #cuts: { readonly whole: Cut; readonly silent: Cut };
  /** The node that enters the last layer, on the last stage, if it is computed there. */
  readonly #lastEntry: number | null;
  readonly #operations: readonly string[];

  /** @throws ButterflyError MODEL_UNSUPPORTED */
  constructor(private readonly options: StageGraphOptions) {
    const { model, range } = options;
    const imported = model.graph(2, 1);
    const graph: WholeGraph = { nodes: imported.nodes(), get: (pointer) => imported.get(pointer) };
    const cutter = new GraphCutter(graph, model.layers);
    const { layerStart, layerEnd } = range;
    const whole = cutter.cut(layerStart, layerEnd);
    this.#cuts = { whole, silent: cutter.cut(layerStart, layerEnd, 'cachesOnly') };
    const entry = layerEnd === model.layers ? cutter.cut(layerEnd - 1, layerEnd).entries[0] : undefined;
    this.#lastEntry = entry === undefined || whole.entries.includes(entry) ? null : entry;
    this.#operations = graph.nodes.map(({ op }) => op);
    this.hasHeadTerms = graph.nodes.some(
      (node) => node.op === 'FLASH_ATTN_EXT' && (node.sources[sinksOperand] !== undefined || isBiased(node)),
    );
    this.weights = weightsOf(graph, whole, (name) => options.names.has(name));
  }

  get isFirst(): boolean {
    return this.options.range.layerStart === 0;
  }

  get isLast(): boolean {
    return this.options.range.layerEnd === this.options.model.layers;
  }

  /**
   * The graph of a step. Whoever gets it disposes it.
   * @param find gives the tensor of each of `weights`.
   * @param caches of the layers of the range.
   * @throws ButterflyError MODEL_UNSUPPORTED, COMPUTE_FAILED
   */
  build(batch: BatchShape, find: FindWeight, caches: readonly LayerCache[]): StepGraph<CloningGraph> {
    const { model } = this.options;
    const imported = model.graph(batch.paddedRows, Math.max(1, batch.paddedLogitRows));
    const isSilent = this.isLast && batch.logitRows === 0;
    const cut = isSilent ? this.#cuts.silent : this.#cuts.whole;
    const nodes = cut.nodes.map((position) => imported.node(position));
    const isAsKnown =
      imported.size === this.#operations.length &&
      nodes.every(({ op }, i) => op === this.#operations[cut.nodes[i] ?? -1]);
    if (!isAsKnown) throw refuse(`is another one for ${batch.paddedRows} rows`);
    const pointerOf = (position: number | null | undefined): Pointer | null =>
      position === null || position === undefined ? null : imported.node(position).pointer;
    return new GraphBuilder({
      ...this.options,
      get: (pointer) => imported.get(pointer),
      nodes,
      entry: pointerOf(cut.entries[0]),
      exit: pointerOf(cut.exits[0]),
      lastEntry: pointerOf(this.#lastEntry),
      isLast: this.isLast,
      batch,
      find,
      caches,
    }).build();
  }
}

/** How each weight is used by the nodes of a cut. */
function weightsOf(graph: WholeGraph, cut: Cut, isWeight: (name: string) => boolean): ImportedWeight[] {
  const found = new Map<string, ImportedWeight>();
  for (const leaf of leavesOf(graph, cut)) leafOf(leaf, 2, isWeight);
  for (const position of cut.nodes) {
    const node = graph.nodes[position];
    if (!node) continue;
    const read = [...node.sources.entries(), [-1, node.viewOf] as const];
    for (const [index, pointer] of read) {
      if (pointer === null) continue;
      const { op, name, shape } = graph.get(pointer);
      if (op !== 'NONE' || !isWeight(name)) continue;
      const use = weightUse(node, index);
      found.set(`${use} ${name}`, { name, use, shape });
    }
  }
  return [...found.values()];
}
