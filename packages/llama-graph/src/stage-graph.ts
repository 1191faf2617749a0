import type { ButterflyError } from '@butterfly/common';
import type { CloningGraph, Ggml, HeaderModel, ImportedGraph, ImportedTensor, Tensor } from '@butterfly/ggml';
import {
  type BatchShape,
  type LayerAttention,
  type LayerCache,
  type LayerStates,
  type RowGroup,
  type StepGraph,
  type WeightUse,
  rowGroups,
} from '@butterfly/model';
import { findCores, rowDimensions, type Core } from './cores.js';
import { crossingParts, type CrossingPart } from './crossing.js';
import { GraphCutter, isStateName, type Cut, type WholeGraph } from './cut.js';
import { isBiased, sinksOperand } from './attention-operands.js';
import { GraphBuilder, type GraphBuilderOptions } from './graph-builder.js';
import { pooledEnd, type PooledEnd } from './texts/pooled-end.js';
import { type FindWeight, leafOf, readingsOf, weightUse } from './leaves.js';
import { refuse } from './refusal.js';
import type { StateGroup } from './state-builder.js';

/** A weight of a stage and how it is used; one that is used in two ways may lie in two layouts. */
export interface ImportedWeight {
  readonly name: string;
  readonly use: WeightUse;
  /** As llama.cpp's graph has it, like the shape. */
  readonly type: number;
  readonly shape: Tensor['shape'];
}

export interface StageGraphOptions {
  readonly ggml: Ggml;
  /** Whoever made it disposes it. */
  readonly model: HeaderModel;
  readonly range: { readonly layerStart: number; readonly layerEnd: number };
  readonly attention: readonly (LayerAttention | null)[];
  readonly names: ReadonlySet<string>;
  /** Whether the first stage takes rows of the embedding instead of token ids. */
  readonly isLookedUp?: boolean;
  /** How embeddings of texts may be wanted; null, the default, where none can be made. */
  readonly embedding?: { readonly isRanking: boolean } | null;
  /** Whether the last stage gives the last hidden state of every row too, where the model is made for that; by default not. */
  readonly givesHidden?: boolean;
}

/** A step and the memory that it is computed over. */
type StepMemory = Pick<GraphBuilderOptions, 'batch' | 'find' | 'caches' | 'states' | 'groups'>;

/** The graphs of a range of layers of a model, cut out of those that llama.cpp builds of the whole. */
export class StageGraphs {
  readonly weights: readonly ImportedWeight[];
  /** Whether heads of any layer of the model have terms of their own (sinks, ALiBi), so that they cannot change places. */
  readonly hasHeadTerms: boolean;
  /** What is computed where logits are wanted, or activations go on; and where a step only fills the cache. */
  readonly #cuts: { readonly whole: Cut; readonly silent: Cut };
  readonly #entries: readonly CrossingPart[];
  /** None on the last stage. */
  readonly #exits: readonly CrossingPart[];
  /** What enters the last layer, of the last stage, as far as it is computed there. */
  readonly #watched: { readonly whole: readonly CrossingPart[]; readonly silent: readonly CrossingPart[] };
  /** The position of the last hidden states; null where they are not given. */
  readonly #hidden: number | null;
  readonly #operations: readonly string[];
  /** Of the last stage, where embeddings can be made. */
  readonly #pooled: Pick<PooledCut, 'end' | 'operations'> | null;
  readonly #cores: { readonly whole: readonly Core[]; readonly silent: readonly Core[] };
  readonly #dimensions: readonly number[];
  /** Graphs of groups of sequences with as many rows, by both numbers. */
  readonly #groupGraphs = new Map<string, WholeGraph>();

  /** @throws ButterflyError MODEL_UNSUPPORTED */
  constructor(private readonly options: StageGraphOptions) {
    const { model, range } = options;
    const graph: WholeGraph = model.graph(coreRows, 1).snapshot();
    const cutter = new GraphCutter(graph, model.layers);
    const { layerStart, layerEnd } = range;
    const behind = options.isLookedUp && layerStart === 0 ? lookupOf(graph) : null;
    this.#hidden = options.givesHidden && this.isLast ? hiddenOf(graph) : null;
    const cut = (wanted: 'all' | 'cachesOnly'): Cut => {
      const made = cutter.cut(layerStart, layerEnd, wanted, this.#hidden === null ? [] : [this.#hidden]);
      if (behind === null) return made;
      return { ...made, nodes: made.nodes.filter((position) => position !== behind), entries: [behind] };
    };
    const whole = cut('all');
    this.#cuts = { whole, silent: cut('cachesOnly') };
    const hasStates = graph.nodes.some(
      ({ viewOf }) => viewOf !== null && isStateName(graph.get(viewOf).name),
    );
    this.#dimensions = hasStates
      ? rowDimensions(graph, model.graph(coreRows + 1, 1).snapshot(), coreRows)
      : [];
    this.#cores = {
      whole: hasStates ? findCores(graph, whole, this.#dimensions) : [],
      silent: hasStates ? findCores(graph, this.#cuts.silent, this.#dimensions) : [],
    };
    this.#entries = partsOf(graph, whole.entries);
    this.#exits = this.isLast ? [] : partsOf(graph, whole.exits);
    const watched = (cut: Cut): CrossingPart[] =>
      this.isLast ? watchedIn(cut, range, (layer) => cutter.cut(layer, layer + 1).entries, graph) : [];
    this.#watched = { whole: watched(whole), silent: watched(this.#cuts.silent) };
    this.#operations = graph.nodes.map(({ op }) => op);
    this.hasHeadTerms = graph.nodes.some(
      (node) => node.op === 'FLASH_ATTN_EXT' && (node.sources[sinksOperand] !== undefined || isBiased(node)),
    );
    const isWeight = (name: string): boolean => options.names.has(name);
    const pooled = this.isLast && options.embedding ? pooledCut(model, range, graph, isWeight) : null;
    this.#pooled = pooled && { end: pooled.end, operations: pooled.operations };
    this.weights = weightsOf(options.names, [{ graph, cut: whole }, ...(pooled ? [pooled] : [])]);
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
  build(
    batch: BatchShape,
    find: FindWeight,
    caches: readonly (LayerCache | null)[],
    states: readonly LayerStates[],
  ): StepGraph<CloningGraph> {
    const { model } = this.options;
    // Before the graph of the step itself, which the next one voids.
    const groups =
      this.#cores.whole.length === 0 ? [] : rowGroups(batch).map((group) => this.#withGraph(group));
    if (this.isLast && (batch.pooled?.length ?? 0) > 0)
      return this.#buildPooled({ batch, find, caches, states, groups });
    const imported = model.graph(batch.paddedRows, Math.max(1, batch.paddedLogitRows));
    const isSilent = this.isLast && batch.logitRows === 0;
    const cut = isSilent ? this.#cuts.silent : this.#cuts.whole;
    if (imported.size !== this.#operations.length) throw this.#isAnother(batch);
    const nodes = cut.nodes.map((position) => imported.node(position));
    const isAsKnown = nodes.every(({ op }, i) => op === this.#operations[cut.nodes[i] ?? -1]);
    if (!isAsKnown) throw this.#isAnother(batch);
    const logits = this.isLast && !isSilent ? cut.exits[0] : undefined;
    return this.#builder(
      imported,
      { batch, find, caches, states, groups },
      {
        nodes,
        logits: logits === undefined ? null : imported.node(logits).pointer,
        pooled: null,
        hidden: this.#hidden === null ? null : imported.node(this.#hidden).pointer,
        watched: isSilent ? this.#watched.silent : this.#watched.whole,
        cores: isSilent ? this.#cores.silent : this.#cores.whole,
      },
    );
  }

  /** Of the last stage, for a step that wants embeddings. */
  #buildPooled(step: StepMemory): StepGraph<CloningGraph> {
    const { batch } = step;
    if (!this.#pooled) throw refuse('makes no embeddings');
    const { operations, end } = this.#pooled;
    const { model, embedding } = this.options;
    const imported = model.graph(batch.paddedRows, batch.paddedLogitRows, 1, 'pooled');
    const at = (positions: readonly number[]): ImportedTensor[] =>
      positions.map((position) => imported.node(position));
    const nodes = at(end.trunk);
    const isAsKnown =
      imported.size === operations.length &&
      nodes.every(({ op }, i) => op === operations[end.trunk[i] ?? -1]);
    if (!isAsKnown) throw this.#isAnother(batch);
    return this.#builder(imported, step, {
      nodes,
      logits: null,
      hidden: null,
      pooled: {
        rows: imported.node(end.rows).pointer,
        taken: imported.node(end.taken).pointer,
        tail: at(end.tail),
        isScoring: embedding?.isRanking ?? false,
      },
      watched: this.#watched.whole,
      cores: this.#cores.whole,
    });
  }

  #builder(
    imported: ImportedGraph,
    step: StepMemory,
    parts: Pick<GraphBuilderOptions, 'nodes' | 'logits' | 'pooled' | 'hidden' | 'watched' | 'cores'>,
  ): StepGraph<CloningGraph> {
    return new GraphBuilder({
      ...this.options,
      ...step,
      ...parts,
      get: (pointer) => imported.get(pointer),
      entries: this.#entries,
      exits: this.#exits,
      isLast: this.isLast,
      node: (position) => imported.node(position),
      positionOf: (pointer) => imported.positionOf(pointer),
      dimensions: this.#dimensions,
    }).build();
  }

  #isAnother({ paddedRows, paddedLogitRows }: BatchShape): ButterflyError {
    return refuse(`is another one for ${paddedRows} rows with ${paddedLogitRows} logits`);
  }

  #withGraph(group: RowGroup): StateGroup {
    const { rows, sequences } = group;
    const key = `${rows}x${sequences}`;
    const whole =
      this.#groupGraphs.get(key) ?? this.options.model.graph(rows * sequences, 1, sequences).snapshot();
    const isSame =
      whole.nodes.length === this.#operations.length &&
      whole.nodes.every(({ op }, position) => op === this.#operations[position]);
    if (!isSame) throw refuse(`is another one for ${sequences} sequences`);
    if (this.#groupGraphs.size >= groupGraphsMax) this.#groupGraphs.clear();
    this.#groupGraphs.set(key, whole);
    return { ...group, whole };
  }
}

/** Rows of the graphs by which a stage is cut, unlike any dimension of a model, so that the dimension of rows shows. */
export const coreRows = 7;
/** Graphs of thousands of nodes are some megabytes each. */
const groupGraphsMax = 32;

/** @throws ButterflyError MODEL_UNSUPPORTED where layers cannot be parted */
function partsOf(graph: WholeGraph, positions: readonly number[]): CrossingPart[] {
  const parts = crossingParts(graph, positions, coreRows);
  if (parts === null) throw refuse('cannot be parted here');
  return parts;
}

/** What enters the last layer of which all that enters is computed in a cut, or what leads to it; none for the first. */
function watchedIn(
  cut: Cut,
  { layerStart, layerEnd }: StageGraphOptions['range'],
  entriesOf: (layer: number) => readonly number[],
  graph: WholeGraph,
): CrossingPart[] {
  const computed = new Set(cut.nodes);
  for (let layer = layerEnd - 1; layer > layerStart; layer--) {
    const parts = entriesOf(layer)
      .filter((position) => computed.has(position))
      .flatMap((position) => crossingParts(graph, [position], coreRows) ?? []);
    if (parts.length > 0) return parts;
  }
  return [];
}

/** The node that looks tokens up in the embedding. */
function lookupOf(graph: WholeGraph): number {
  const found = graph.nodes.findIndex(({ op, sources: [table, ids] }) => {
    if (op !== 'GET_ROWS' || !table || !ids) return false;
    return graph.get(table).name === 'token_embd.weight' && graph.get(ids).name === 'inp_tokens';
  });
  if (found < 0) throw refuse('looks no tokens up');
  return found;
}

/** The node of the last hidden states of all rows. */
function hiddenOf(graph: WholeGraph): number {
  const found = graph.nodes.findIndex(({ name }) => name === 'h_nextn');
  if (found < 0 || graph.nodes[found]?.shape[1] !== coreRows)
    throw refuse('gives no last hidden state of every row');
  return found;
}

/** How each weight is used by the nodes of cuts. */
export function weightsOf(
  names: ReadonlySet<string>,
  cuts: readonly { readonly graph: WholeGraph; readonly cut: Cut }[],
): ImportedWeight[] {
  const found = new Map<string, ImportedWeight>();
  for (const { graph, cut } of cuts) {
    for (const { leaf, reader } of readingsOf(graph, cut))
      leafOf(leaf, coreRows, (name) => names.has(name), reader);
    for (const node of cut.nodes.flatMap((position) => graph.nodes[position] ?? []))
      for (const [index, pointer] of [...node.sources.entries(), [-1, node.viewOf] as const]) {
        if (pointer === null) continue;
        const { op, name, type, shape } = graph.get(pointer);
        if (op !== 'NONE' || !names.has(name)) continue;
        const use = weightUse(node, index);
        found.set(`${use} ${name}`, { name, use, type, shape });
      }
  }
  return [...found.values()];
}

/** The last layers of the graph by which embeddings are made. */
interface PooledCut {
  readonly graph: WholeGraph;
  readonly cut: Cut;
  readonly end: PooledEnd;
  readonly operations: readonly string[];
}

/** @throws ButterflyError MODEL_UNSUPPORTED where it is not the graph of logits up to the rows that are pooled */
function pooledCut(
  model: HeaderModel,
  { layerStart, layerEnd }: StageGraphOptions['range'],
  plain: WholeGraph,
  isWeight: (name: string) => boolean,
): PooledCut {
  const graph: WholeGraph = model.graph(coreRows, coreRows, 1, 'pooled').snapshot();
  const cut = new GraphCutter(graph, model.layers).cut(layerStart, layerEnd);
  const end = pooledEnd(graph, cut, coreRows, isWeight);
  const operations = graph.nodes.map(({ op }) => op);
  const isSame = operations.slice(0, end.rows + 1).every((op, position) => op === plain.nodes[position]?.op);
  if (!isSame) throw refuse('computes embeddings otherwise than logits');
  return { graph, cut, end, operations };
}
