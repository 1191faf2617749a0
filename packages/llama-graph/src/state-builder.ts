import {
  dtype,
  shapeOf,
  type CloningGraph,
  type ImportedTensor,
  type Shape,
  type Tensor,
} from '@butterfly/ggml';
import type { LayerStates, RowGroup, StateInput } from '@butterfly/model';
import { viewOperations, type Core } from './cores.js';
import { cacheLayer, isStateName, type WholeGraph } from './cut.js';
import { type FindWeight, rootOf, stateKind, weightUse } from './leaves.js';
import { isPacked } from './packed.js';
import { refuse } from './refusal.js';

type Pointer = ImportedTensor['pointer'];

/** A group of sequences with the graph of the whole model for it alone. */
export interface StateGroup extends RowGroup {
  readonly whole: WholeGraph;
}

export interface StateBuilderOptions {
  readonly graph: CloningGraph;
  readonly groups: readonly StateGroup[];
  /** Node of the step's own graph at a position. */
  readonly node: (position: number) => ImportedTensor;
  /** What stands for a node of the step's own graph, made before if it was not yet. */
  readonly made: (node: ImportedTensor) => Tensor;
  readonly find: FindWeight;
  readonly isWeight: (name: string) => boolean;
  /** Of a layer of the model. */
  readonly states: (layer: number) => LayerStates;
  readonly dimensions: readonly number[];
}

/**
 * Makes the cores of a step: for each group of sequences with as many rows the nodes that llama.cpp has for such a batch,
 * over states that are read from and written to the slots that the step names.
 */
export class StateBuilder {
  readonly inputs: readonly StateInput[];
  readonly #indexes: readonly ReadonlyMap<Pointer, number>[];

  constructor(private readonly options: StateBuilderOptions) {
    const { graph, groups } = options;
    this.inputs = groups.map(({ sequences }) => ({
      from: graph.input(dtype.I32, shapeOf(sequences)),
      to: graph.input(dtype.I64, shapeOf(sequences)),
    }));
    this.#indexes = groups.map(
      ({ whole }) => new Map(whole.nodes.map(({ pointer }, position) => [pointer, position])),
    );
  }

  /** The tensors that stand for the exits of a core, by position. @throws ButterflyError MODEL_UNSUPPORTED */
  build(core: Core): Map<number, Tensor> {
    const { graph, groups, node } = this.options;
    const exits = new Map<number, Tensor>();
    for (const [index, group] of groups.entries()) {
      const part = new CorePart(this.options, core, group, {
        input: this.#input(index),
        index: this.#indexes[index] ?? new Map(),
      });
      part.build();
      for (const { position, dimension } of core.exits) {
        const { shape } = node(position);
        const rows = shape.map((size, i) => (i === dimension ? group.rows * group.sequences : size));
        const made = graph.reshape(part.exit(position), rows as unknown as Shape);
        const before = exits.get(position);
        exits.set(position, before ? graph.concat(before, made, dimension as 0 | 1 | 2 | 3) : made);
      }
    }
    return exits;
  }

  #input(index: number): StateInput {
    const input = this.inputs[index];
    if (!input) throw new RangeError(`there is no group ${index}`);
    return input;
  }
}

/** A core for one group of sequences. */
class CorePart {
  readonly #made = new Map<Pointer, Tensor>();

  constructor(
    private readonly options: StateBuilderOptions,
    private readonly core: Core,
    private readonly group: StateGroup,
    private readonly places: {
      readonly input: StateInput;
      readonly index: ReadonlyMap<Pointer, number>;
    },
  ) {}

  build(): void {
    const { core, group } = this;
    for (const position of core.inner) {
      const node = group.whole.nodes[position];
      if (!node) throw refuse('is another one for several sequences');
      if (core.writes.has(position)) this.#write(node);
      else this.#tensor(node.pointer);
    }
  }

  exit(position: number): Tensor {
    const node = this.group.whole.nodes[position];
    if (!node || !isPacked(node)) throw refuse(`gives what it makes of ${this.core.state} in pieces`);
    return this.#tensor(node.pointer);
  }

  /** Writes what was computed to the slots of the group. */
  #write({ sources }: ImportedTensor): void {
    const { graph } = this.options;
    const { whole, sequences } = this.group;
    const [from, to] = sources;
    if (!from || !to) throw refuse(`writes nothing to ${this.core.state}`);
    const target = whole.get(to);
    const leaf = rootOf(whole, target);
    const source = whole.get(from);
    const computed = this.#tensor(from);
    const width = source.shape.reduce((product, size) => product * size, 1) / sequences;
    const arena = this.#arena(leaf);
    // A part of the state, where several are kept in one tensor.
    const offset = target.viewOffset % leaf.strides[1];
    const all = arena.strides[1] * arena.shape[1];
    const table = graph.view(arena, shapeOf(width, arena.shape[1]), [arena.strides[1], all, all], offset);
    const rows = isPacked(source)
      ? graph.reshape(computed, shapeOf(width, sequences))
      : graph.packed(computed, width, sequences);
    graph.expand(graph.setRows(table, rows, this.places.input.to));
  }

  /** What stands for a tensor of the group's graph. */
  #tensor(pointer: Pointer): Tensor {
    const known = this.#made.get(pointer);
    if (known) return known;
    const made = this.#make(pointer);
    this.#made.set(pointer, made);
    return made;
  }

  #make(pointer: Pointer): Tensor {
    const { whole } = this.group;
    const tensor = whole.get(pointer);
    const position = this.places.index.get(pointer);
    if (position === undefined) return this.#leaf(tensor);
    const root = rootOf(whole, tensor);
    if (viewOperations.has(tensor.op) && isStateName(root.name)) return this.#stateView(tensor, root);
    if (root.name === copyIds) return this.places.input.from;
    if (!this.core.innerSet.has(position) && !viewOperations.has(tensor.op))
      return this.#entry(tensor, position);
    const sources = tensor.sources.map((source, i) => {
      if (source === null) return null;
      return source === pointer ? 'itself' : this.#operand(tensor, source, i);
    });
    const viewOf = tensor.viewOf === null ? null : this.#operand(tensor, tensor.viewOf, -1);
    return this.options.graph.clone(tensor, sources, viewOf);
  }

  #operand(node: ImportedTensor, source: Pointer, index: number): Tensor {
    const leaf = this.group.whole.get(source);
    const { isWeight, find } = this.options;
    if (leaf.op === 'NONE' && isWeight(leaf.name)) return find(leaf.name, weightUse(node, index));
    return this.#tensor(source);
  }

  #leaf(tensor: ImportedTensor): Tensor {
    if (isStateName(tensor.name)) return this.#arena(tensor);
    if (tensor.name === copyIds) return this.places.input.from;
    throw refuse(`reads "${tensor.name}" beside ${this.core.state}`);
  }

  /** All slots of a state, in the shape in which a node sees its cells. */
  #stateView(tensor: ImportedTensor, leaf: ImportedTensor): Tensor {
    if (tensor.op !== 'RESHAPE') throw refuse(`sees ${this.core.state} through ${tensor.op}`);
    const arena = this.#arena(leaf);
    let product = 1;
    let isReplaced = false;
    const shape = tensor.shape.map((size) => {
      const isCells = product === leaf.shape[0] && !isReplaced;
      product *= size;
      isReplaced ||= isCells;
      return isCells ? arena.shape[1] : size;
    });
    return this.options.graph.reshape(arena, shape as unknown as Shape);
  }

  /** The rows of the group in what is made once for all rows. */
  #entry(tensor: ImportedTensor, position: number): Tensor {
    const { graph, node, made, dimensions } = this.options;
    const own = node(position);
    const whole = made(own);
    const dimension = dimensions[position] ?? -1;
    if (dimension < 0) return whole;
    if (!isPacked(tensor)) throw refuse(`reads in pieces beside ${this.core.state}`);
    const [, row, matrix, all] = tensor.strides;
    const offset = this.group.rowStart * (own.strides[dimension] ?? 0);
    return graph.view(whole, tensor.shape, [row, matrix, all], offset);
  }

  #arena(leaf: ImportedTensor): Tensor {
    const arena = this.options.states(cacheLayer(leaf) ?? -1).get(stateKind(leaf.name));
    if (arena?.shape[0] !== leaf.shape[0]) throw refuse(`keeps ${leaf.name} in another width`);
    return arena;
  }
}

/** The numbers of the cells that sequences read. */
const copyIds = 'rs_s_copy';
