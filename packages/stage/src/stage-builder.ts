import { ensure, limits } from '@butterfly/common';
import { Graph, HeaderModel, type Ggml } from '@butterfly/ggml';
import { type FindWeight, StageGraphs, checkShape, headerOf } from '@butterfly/llama-graph';
import {
  type BatchShape,
  type LayerCache,
  type LayerStates,
  type ModelSpec,
  type ModelTensor,
  type SpanLayout,
  type StageWeights,
  type StepGraph,
  type WeightUse,
  LlamaFamilyBuilder,
  arrangeWeights,
  evenLayout,
  graphTensorsMax,
  plainLayout,
  servedHead,
  shardTensors,
  typicalAttention,
  weightUse,
} from '@butterfly/model';
import type { CacheType } from '@butterfly/wire';
import { dtypeOf } from './kv-cache.js';
import { findIn, type LayerRange, type LoadedWeights, type UsedWeight } from './loading/stage-weights.js';

/** Makes the graphs of a stage. */
export interface StageBuilder extends Disposable {
  /** What the stage holds in memory. */
  readonly weights: readonly UsedWeight[];
  /** How attention takes queries, so that a row has the same numbers whatever is computed beside it. */
  readonly layout: SpanLayout;
  /** Gives it the memory of the stage, once, before the first graph. @throws ButterflyError MODEL_CORRUPT */
  use(weights: LoadedWeights, caches: readonly (LayerCache | null)[], states: readonly LayerStates[]): void;
  /** Whoever gets the graph disposes it. @throws ButterflyError COMPUTE_FAILED, MODEL_UNSUPPORTED */
  build(batch: BatchShape): StepGraph;
}

interface BuilderOptions {
  /** Whether the first stage takes rows of the embedding instead of token ids: see `EmbeddingLookup`. */
  readonly isLookedUp: boolean;
  readonly ggml: Ggml;
  readonly spec: ModelSpec;
  readonly range: LayerRange;
  readonly cacheType: CacheType;
  readonly rowsMax: number;
}

/** @throws ButterflyError MODEL_UNSUPPORTED, MODEL_CORRUPT */
export function stageBuilder(options: BuilderOptions): StageBuilder {
  return options.spec.graph.kind === 'family'
    ? new FamilyStageBuilder(options)
    : new ImportedStageBuilder(options);
}

/** Graphs of the llama family, which are built here. */
class FamilyStageBuilder implements StageBuilder {
  readonly weights: readonly UsedWeight[];
  readonly layout: SpanLayout;
  #memory: { readonly weights: StageWeights; readonly caches: readonly LayerCache[] } | null = null;

  constructor(private readonly options: BuilderOptions) {
    const isHere = ({ use }: UsedWeight): boolean => use !== 'lookup' || !options.isLookedUp;
    this.weights = familyWeights(options.spec, options.range).filter(isHere);
    const shape = typicalAttention(options.spec.attention);
    ensure(shape !== null, () => 'A model of the llama family attends in every layer.');
    this.layout = (rows, end) => evenLayout(rows, end, shape);
  }

  use(loaded: LoadedWeights, layers: readonly (LayerCache | null)[]): void {
    const { spec, range, isLookedUp } = this.options;
    const caches = layers.flatMap((cache) => cache ?? []);
    const weights = arrangeWeights(
      { ...range, layers: spec.layers, tied: spec.tiedEmbeddings, isLookedUp },
      ({ name, use }) => loaded.find(name, use),
    );
    this.#memory = { weights, caches };
  }

  build(batch: BatchShape): StepGraph {
    const { ggml, spec } = this.options;
    const { graph: family, hidden } = spec;
    ensure(family.kind === 'family', () => `${spec.architecture} is not of the llama family.`);
    ensure(this.#memory !== null, () => 'A graph was wanted before there is memory for it.');
    const { weights, caches } = this.#memory;
    const graph = new Graph(ggml, graphTensorsMax(weights.layers.length, batch));
    try {
      return new LlamaFamilyBuilder(graph, { ...family, hidden }, weights, caches, batch).build();
    } catch (error) {
      graph[Symbol.dispose]();
      throw error;
    }
  }

  [Symbol.dispose](): void {
    this.#memory = null;
  }
}

/** Graphs that llama.cpp builds of the whole model, of which the part of the stage is made again. */
class ImportedStageBuilder implements StageBuilder {
  readonly weights: readonly UsedWeight[];
  readonly layout: SpanLayout;
  readonly #model: HeaderModel;
  readonly #graphs: StageGraphs;
  #memory: {
    readonly find: FindWeight;
    readonly caches: readonly (LayerCache | null)[];
    readonly states: readonly LayerStates[];
  } | null = null;

  constructor({ ggml, spec, range, cacheType, rowsMax, isLookedUp }: BuilderOptions) {
    const { graph, attention, tensors } = spec;
    ensure(graph.kind === 'imported', () => `${spec.architecture} is not imported.`);
    const givesHidden = range.layerEnd === spec.layers && servedHead(spec) !== null;
    this.#model = new HeaderModel(ggml, {
      ...(givesHidden ? { part: 'trunk' as const } : {}),
      header: headerOf(spec),
      contextTokens: graph.contextTokens,
      rowsMax: rowsMax + rowsPadded,
      sequencesMax: graph.stateSlots > 0 ? Math.min(graph.stateSlots, limits.stepSequencesMax) : 1,
      cacheType: dtypeOf[cacheType],
      isRanking: spec.embedding !== null && spec.embedding.ranks !== null,
    });
    try {
      const names = new Set(tensors.map(({ name }) => name));
      this.#graphs = new StageGraphs({
        ggml,
        model: this.#model,
        range,
        attention,
        names,
        isLookedUp,
        givesHidden,
        embedding: spec.embedding && { isRanking: spec.embedding.ranks !== null },
      });
      this.weights = this.#graphs.weights.map(({ name, use, shape }) => {
        const source = tensorOf(spec, name);
        checkShape(source, shape);
        return { source, use };
      });
    } catch (error) {
      this.#model[Symbol.dispose]();
      throw error;
    }
    this.layout = importedLayout(attention, this.#graphs.hasHeadTerms);
  }

  use(loaded: LoadedWeights, caches: readonly (LayerCache | null)[], states: readonly LayerStates[]): void {
    this.#memory = { find: findIn(loaded), caches, states };
  }

  build(batch: BatchShape): StepGraph {
    ensure(this.#memory !== null, () => 'A graph was wanted before there is memory for it.');
    const { find, caches, states } = this.#memory;
    return this.#graphs.build(batch, find, caches, states);
  }

  [Symbol.dispose](): void {
    this.#model[Symbol.dispose]();
  }
}

/** As for the llama family where all layers attend as its layers do; else as llama.cpp has it. */
function importedLayout(attention: ModelSpec['attention'], hasHeadTerms: boolean): SpanLayout {
  const first = typicalAttention(attention);
  const isUsual =
    first !== null &&
    !hasHeadTerms &&
    attention.every(
      (layer) =>
        layer === null ||
        (layer.heads === first.heads && layer.kvHeads === first.kvHeads && layer.keySize === layer.valueSize),
    );
  return isUsual ? (rows, end) => evenLayout(rows, end, first) : plainLayout;
}

/** By so many rows a step may be padded. */
const rowsPadded = 64;

function tensorOf(spec: ModelSpec, name: string): ModelTensor {
  const tensor = spec.tensors.find((each) => each.name === name);
  ensure(tensor !== undefined, () => `The model has no tensor ${name}.`);
  return tensor;
}

/** The weights of a range with their uses; a tied embedding in a stage that is first and last has two. */
export function familyWeights(spec: ModelSpec, range: LayerRange): UsedWeight[] {
  return shardTensors(spec, range.layerStart, range.layerEnd).flatMap((source) => {
    if (source.name !== 'token_embd.weight') return [{ source, use: weightUse(source.name) }];
    const uses: WeightUse[] = [];
    if (range.layerStart === 0) uses.push('lookup');
    if (range.layerEnd === spec.layers && spec.tiedEmbeddings) uses.push('matmul');
    return uses.map((use) => ({ source, use }));
  });
}
