import {
  CloningGraph,
  dtype,
  shapeOf,
  type Ggml,
  type HeaderModel,
  type ImportedTensor,
  type Shape,
  type Tensor,
} from '@butterfly/ggml';
import {
  type BatchShape,
  type LayerAttention,
  type LayerCache,
  type LayerStates,
  type MaskInput,
  type StepGraph,
  type StepInputs,
  type StepOutputs,
} from '@butterfly/model';
import { AttentionBuilder } from './attention-builder.js';
import { viewOperations, type Core } from './cores.js';
import { packCrossing, unpackCrossing, widthOf, type CrossingPart } from './crossing.js';
import { cacheLayer, isStateName } from './cut.js';
import { type FindWeight, beforeLogits, leafOf, rootOf, weightUse } from './leaves.js';
import { poolNodes, tensorsOfTexts, type PooledNodes } from './texts/pooling-builder.js';
import { refuse } from './refusal.js';
import { StateBuilder, type StateGroup } from './state-builder.js';

type Pointer = ImportedTensor['pointer'];

export interface GraphBuilderOptions {
  readonly ggml: Ggml;
  readonly model: HeaderModel;
  readonly range: { readonly layerStart: number; readonly layerEnd: number };
  readonly attention: readonly (LayerAttention | null)[];
  readonly names: ReadonlySet<string>;
  readonly get: (pointer: Pointer) => ImportedTensor;
  /** What is to be computed, in order. */
  readonly nodes: readonly ImportedTensor[];
  /** What the stage before computes; none on the first. */
  readonly entries: readonly CrossingPart[];
  /** What the stage behind gets; none on the last. */
  readonly exits: readonly CrossingPart[];
  /** The logits, on the last stage; null where a step only fills the cache. */
  readonly logits: Pointer | null;
  /** In place of logits, how embeddings are made; null where none are wanted. */
  readonly pooled: PooledNodes | null;
  /** The last hidden states of all rows; null where nobody wants them. */
  readonly hidden: Pointer | null;
  /** What enters the last layer of those that are computed, if not the stage, of which numbers are watched on the last. */
  readonly watched: readonly CrossingPart[];
  readonly isLast: boolean;
  readonly batch: BatchShape;
  readonly find: FindWeight;
  /** Of the layers of the range; null for one that attends to nothing. */
  readonly caches: readonly (LayerCache | null)[];
  readonly states: readonly LayerStates[];
  readonly cores: readonly Core[];
  readonly groups: readonly StateGroup[];
  readonly node: (position: number) => ImportedTensor;
  readonly positionOf: (pointer: Pointer) => number | undefined;
  /** Which dimension of each node counts rows; none without cores. */
  readonly dimensions: readonly number[];
}

/** Inputs, sums and views of a stage, beyond its nodes, and beyond those for each tensor that crosses. */
const tensorsBeside = 64;
const tensorsOfPart = 8;
/** For each span: what its attention in a layer takes, and its parts of masks with and without window, and of ALiBi. */
const tensorsOfAttention = 10;
const masksMax = 4;

type Writable<T> = { -readonly [K in keyof T]: T[K] };

/** Makes the nodes of a part of an imported graph again, over the weights, the arena and the spans of a stage. */
export class GraphBuilder {
  readonly #graph: CloningGraph;
  /** What stands for each tensor of the imported graph. */
  readonly #made = new Map<Pointer, Tensor>();
  readonly #inputs: Writable<StepInputs> & {
    masks: MaskInput[];
    attended: Tensor[];
    rotations: Tensor[];
    ones: Tensor[];
  };
  readonly #attention: AttentionBuilder;
  /** The core that a position belongs to. */
  readonly #coreOf = new Map<number, Core>();
  readonly #states: StateBuilder | null;
  /** What is to be made in this part of the graph. */
  readonly #needed: ReadonlySet<Pointer>;
  readonly #begun = new Set<Pointer>();
  readonly #coresMade = new Set<Core>();

  constructor(private readonly options: GraphBuilderOptions) {
    const { ggml, nodes, batch } = options;
    const perSpan = batch.spans.length * (tensorsOfAttention * options.caches.length + masksMax);
    const { entries, exits, watched, pooled } = options;
    const ofParts = tensorsOfPart * (entries.length + exits.length + watched.length);
    const inCores = options.cores.reduce((sum, { inner }) => sum + 3 * inner.length + 32, 0);
    this.#graph = new CloningGraph(
      ggml,
      2 * nodes.length +
        perSpan +
        inCores * options.groups.length +
        ofParts +
        tensorsOfTexts(pooled, batch) +
        tensorsBeside,
    );
    this.#needed = new Set(nodes.map(({ pointer }) => pointer));
    for (const core of options.cores) for (const position of core.inner) this.#coreOf.set(position, core);
    this.#inputs = {
      source:
        entries.length === 0
          ? this.#input(dtype.I32, shapeOf(batch.paddedRows))
          : this.#input(dtype.F32, shapeOf(widthOf(entries), batch.paddedRows)),
      tokens: null,
      positions: null,
      slots: null,
      roomSlots: null,
      masks: [],
      attended: [],
      logitRowIds: null,
      temperature: null,
      rotations: [],
      states: [],
      ones: [],
    };
    this.#attention = new AttentionBuilder(this.#graph, this.#inputs, {
      ...options,
      windowTokens: options.model.windowTokens,
      operand: (node, index, pointer) => this.#operand(node, index, pointer),
    });
    this.#states = this.#stateBuilder();
    this.#inputs.states = this.#states?.inputs ?? [];
  }

  /** @throws ButterflyError MODEL_UNSUPPORTED, COMPUTE_FAILED */
  build(): StepGraph<CloningGraph> {
    try {
      this.#enter();
      for (const node of this.options.nodes) this.#make(node);
      const outputs = this.#outputs();
      return { graph: this.#graph, inputs: this.#inputs, outputs };
    } catch (error) {
      this.#graph[Symbol.dispose]();
      throw error;
    }
  }

  /** Makes what crosses into the stage of its activations. */
  #enter(): void {
    const { entries, node } = this.options;
    if (entries.length === 0) return;
    const made = unpackCrossing(
      this.#graph,
      this.#inputs.source,
      entries,
      (position) => node(position).shape,
    );
    for (const [position, tensor] of made) this.#made.set(node(position).pointer, tensor);
  }

  #input(type: number, shape: Shape): Tensor {
    return this.#graph.input(type, shape);
  }

  #stateBuilder(): StateBuilder | null {
    const { cores, groups, node, find, names, states, range, dimensions } = this.options;
    if (cores.length === 0) return null;
    return new StateBuilder({
      graph: this.#graph,
      groups,
      node,
      made: (wanted) => {
        this.#make(wanted);
        const made = this.#made.get(wanted.pointer);
        if (!made) throw refuse(`reads ${wanted.op} beside a state before it is there`);
        return made;
      },
      find,
      isWeight: (name) => names.has(name),
      states: (layer) => states[layer - range.layerStart] ?? new Map(),
      dimensions,
    });
  }

  /** Makes a node, after what it reads; a core is made as a whole. */
  #make(node: ImportedTensor): void {
    if (this.#made.has(node.pointer) || this.#begun.has(node.pointer)) return;
    this.#begun.add(node.pointer);
    const { positionOf, get } = this.options;
    const position = positionOf(node.pointer);
    const core = position === undefined ? undefined : this.#coreOf.get(position);
    if (core) {
      this.#makeCore(core);
      return;
    }
    // In order of computation this is so already, but for what a core reads or gives.
    if (this.#states)
      for (const read of [...node.sources, node.viewOf])
        if (read !== null && read !== node.pointer && this.#needed.has(read)) this.#make(get(read));
    this.#add(node);
  }

  #makeCore(core: Core): void {
    const { node } = this.options;
    if (this.#coresMade.has(core)) return;
    this.#coresMade.add(core);
    for (const position of core.entries) this.#make(node(position));
    for (const [position, made] of this.#states?.build(core) ?? [])
      this.#made.set(node(position).pointer, made);
  }

  #add(node: ImportedTensor): void {
    const graph = this.#graph;
    const root = rootOf(this.options, node);
    // Clearing and moving states is not done here: a step says which slots are read.
    if (isStateName(root.name) || root.name === 'rs_s_copy' || this.#movesStates(node)) return;
    if (cacheLayer(root) !== null) {
      if (node.op === 'SET_ROWS') this.#write(node, root);
      else if (!viewOperations.has(node.op)) throw refuse(`computes ${node.op} into a cache`);
      return;
    }
    const made =
      node.op === 'FLASH_ATTN_EXT'
        ? this.#attention.attend(node)
        : graph.clone(
            node,
            node.sources.map((source, i) => this.#sourceOf(node, i, source)),
            node.viewOf === null ? null : this.#operand(node, -1, node.viewOf),
          );
    this.#made.set(node.pointer, made);
    if (node.pointer === this.options.logits || node.pointer === this.options.hidden) graph.keep(made);
    // One by one, so that the order is llama.cpp's: what is cached must be written before it is attended to.
    graph.expand(made);
  }

  #movesStates({ op, sources }: ImportedTensor): boolean {
    const [table] = sources;
    const { get } = this.options;
    return op === 'GET_ROWS' && Boolean(table) && isStateName(rootOf(this.options, get(table ?? 0n)).name);
  }

  /** Writes keys or values of the rows that do not pad. */
  #write(node: ImportedTensor, root: ImportedTensor): void {
    const { batch } = this.options;
    const [source] = node.sources;
    if (!source) throw refuse('writes nothing into a cache');
    const data = this.#operand(node, 0, source);
    const [, row, matrix, all] = data.strides;
    const rows = this.#graph.view(data, shapeOf(data.shape[0], batch.rows), [row, matrix, all], 0);
    const kind = this.#attention.isInRooms(root) ? 'roomSlots' : 'slots';
    const slots = (this.#inputs[kind] ??= this.#input(dtype.I64, shapeOf(batch.rows)));
    this.#graph.expand(this.#graph.setRows(this.#attention.cacheOf(root), rows, slots));
  }

  /** Casts name themselves as what they write to (ggml_cast). */
  #sourceOf(node: ImportedTensor, index: number, source: Pointer | null): Tensor | 'itself' | null {
    if (source === null) return null;
    return source === node.pointer ? 'itself' : this.#operand(node, index, source);
  }

  /** What stands for a source of a node. */
  #operand(node: ImportedTensor, index: number, pointer: Pointer): Tensor {
    const known = this.#made.get(pointer);
    if (known) return known;
    const tensor = this.options.get(pointer);
    if (tensor.op !== 'NONE') throw refuse(`reads ${tensor.op} "${tensor.name}" from another part`);
    const leaf = this.#leaf(tensor, node, index);
    return leaf;
  }

  #leaf(tensor: ImportedTensor, node: ImportedTensor, index: number): Tensor {
    const { batch, names, find } = this.options;
    const reader = { node, get: this.options.get };
    const leaf = leafOf(tensor, batch.paddedRows, (name) => names.has(name), reader);
    const keep = (made: Tensor): Tensor => {
      this.#made.set(tensor.pointer, made);
      return made;
    };
    switch (leaf.kind) {
      case 'weight':
        return find(leaf.name, weightUse(node, index));
      case 'tokens':
        return keep(this.#tokens(tensor.type));
      case 'positions':
        this.#inputs.positions = { tensor: this.#input(tensor.type, tensor.shape), each: leaf.each };
        return keep(this.#inputs.positions.tensor);
      case 'logitRows':
        return keep((this.#inputs.logitRowIds = this.#input(tensor.type, tensor.shape)));
      case 'temperature':
        return keep((this.#inputs.temperature = this.#input(tensor.type, tensor.shape)));
      case 'rotation': {
        const made = this.#input(tensor.type, tensor.shape);
        this.#inputs.rotations.push(made);
        return keep(made);
      }
      case 'hidden':
        return keep((this.#inputs.hidden = this.#input(tensor.type, tensor.shape)));
      case 'scratch':
        return keep(this.#graph.tensor(tensor.type, tensor.shape));
      case 'cache':
      case 'state':
      case 'pooling':
      case 'ours':
        throw refuse(`reads "${tensor.name}" in ${node.op}`);
      default:
        return leaf satisfies never;
    }
  }

  #tokens(type: number): Tensor {
    if (this.options.entries.length === 0) return this.#inputs.source;
    return (this.#inputs.tokens ??= this.#input(type, shapeOf(this.options.batch.paddedRows)));
  }

  #outputs(): StepOutputs {
    const { logits, isLast, exits } = this.options;
    if (!isLast) {
      const activations = this.#packed(exits);
      if (!activations) throw refuse('hands nothing on');
      this.#graph.keep(activations);
      this.#graph.expand(activations);
      return { activations, logits: null, rowSums: this.#sums(activations), logitRowSums: null };
    }
    const sums = this.#sums(this.#packed(this.options.watched) ?? this.#entered());
    if (this.options.pooled) return this.#embeddings(this.options.pooled, sums);
    const { hidden, names } = this.options;
    const isWeight = (name: string): boolean => names.has(name);
    const before = logits === null ? null : beforeLogits(logits, this.options, isWeight, this.#made);
    return {
      activations: null,
      hidden: hidden === null ? null : (this.#made.get(hidden) ?? null),
      logits: logits === null ? null : (this.#made.get(logits) ?? null),
      rowSums: sums,
      logitRowSums: before && this.#sums(before),
    };
  }

  #embeddings(pooled: PooledNodes, rowSums: Tensor): StepOutputs {
    const rows = this.#made.get(pooled.rows);
    if (!rows) throw refuse('pools rows that it does not compute');
    const { vectors, means } = poolNodes(this.#graph, rows, pooled, {
      texts: this.options.batch.pooled ?? [],
      weight: (node, index, pointer) => this.#operand(node, index, pointer),
    });
    this.#inputs.means = means;
    return { activations: null, logits: null, vectors, rowSums, logitRowSums: this.#sums(rows) };
  }

  /** Tensors that cross a cut side by side, F32 [width, paddedRows]; null where some are not made. */
  #packed(parts: readonly CrossingPart[]): Tensor | null {
    const tensors = parts.flatMap((part) => {
      const tensor = this.#made.get(this.options.node(part.position).pointer);
      return tensor ? [{ tensor, part }] : [];
    });
    if (tensors.length === 0 || tensors.length < parts.length) return null;
    return packCrossing(this.#graph, tensors, this.options.batch.paddedRows);
  }

  /** What the stage begins with: activations, or the rows of the embedding. */
  #entered(): Tensor {
    return this.options.entries.length === 0 ? this.#embedded() : this.#inputs.source;
  }

  #embedded(): Tensor {
    const node = this.options.nodes.find(({ op }) => op === 'GET_ROWS');
    const made = node && this.#made.get(node.pointer);
    if (!made) throw refuse('begins with no embedding');
    return made;
  }

  /** The sum of each row: a product with ones, which all threads compute, as ggml has one thread alone add up rows. */
  #sums(x: Tensor): Tensor {
    const graph = this.#graph;
    let ones = this.#inputs.ones.find(({ shape }) => shape[0] === x.shape[0]);
    if (!ones) {
      ones = this.#input(dtype.F32, shapeOf(x.shape[0]));
      this.#inputs.ones.push(ones);
    }
    const sums = graph.matmul(ones, x);
    graph.keep(sums);
    graph.expand(sums);
    return sums;
  }
}
