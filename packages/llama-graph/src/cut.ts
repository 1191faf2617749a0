import { ensure } from '@butterfly/common';
import type { ImportedTensor } from '@butterfly/ggml';

type Pointer = ImportedTensor['pointer'];

/** A graph in the order of computation, and what its nodes read. */
export interface WholeGraph {
  readonly nodes: readonly ImportedTensor[];
  get(pointer: Pointer): ImportedTensor;
}

/**
 * The part of a graph that computes a range of layers. Positions are those of nodes in the whole graph, which are the same
 * for batches of every shape.
 */
export interface Cut {
  /** What is computed, ascending. */
  readonly nodes: readonly number[];
  /** What comes from the stage before. */
  readonly entries: readonly number[];
  /** What goes to the stage behind; on the last stage, the logits. */
  readonly exits: readonly number[];
}

/** Names of the tensors in which llama.cpp keeps what layers remember; kimi-linear and plamo2 rename one of them. */
const cacheName = /^(?:cache_\w+_l|conv_states_all-|mamba_conv1d_state-|mamba_ssm_states-)(\d+)/u;

/** Whether a tensor of this name holds states of sequences, and not keys or values. */
export function isStateName(name: string): boolean {
  return cacheName.test(name) && !/^cache_[kv]_l/u.test(name);
}

/** The layer that a cache belongs to, by its name; null for other tensors. */
export function cacheLayer({ op, name }: ImportedTensor): number | null {
  const layer = op === 'NONE' ? cacheName.exec(name)?.[1] : undefined;
  return layer === undefined ? null : Number(layer);
}

function isOutput({ op, name }: ImportedTensor): boolean {
  return op === 'NONE' && /^output.*(?:weight|bias)$/u.test(name);
}

/** Nothing before the first layer depends on any. */
const beforeLayers = -1;

/**
 * Cuts ranges of layers out of the graph of a whole model. The level of a node is the highest layer whose weights or
 * caches it depends on. What crosses a cut is the least of the nodes below it from which all above follows without
 * weights of layers: what depends on tokens and positions alone is computed anew in each stage.
 */
export class GraphCutter {
  readonly #index = new Map<Pointer, number>();
  readonly #levels = new Map<Pointer, number>();
  readonly #frontiers = new Map<number, readonly Pointer[]>();

  /** @param layers how many layers the model has. */
  constructor(
    private readonly graph: WholeGraph,
    private readonly layers: number,
  ) {
    for (const [i, { pointer }] of graph.nodes.entries()) this.#index.set(pointer, i);
    // In the order of computation, so that what a node reads is known by then.
    for (const { pointer } of graph.nodes) this.#level(pointer);
  }

  /**
   * The nodes of layers `start` to `end` (exclusive).
   * @param wanted what is computed: all, or only what is written to caches.
   * @param beside positions of nodes that are computed in any case.
   */
  cut(start: number, end: number, wanted: 'all' | 'cachesOnly' = 'all', beside: readonly number[] = []): Cut {
    ensure(
      start >= 0 && start < end && end <= this.layers,
      () => `layers ${start} to ${end} are no range within ${this.layers} layers`,
    );
    const entries = this.#frontier(start);
    const exits = wanted === 'all' ? this.#exits(end) : [];
    const needed = new Set<Pointer>();
    const isEntry = new Set(entries);
    const visit = (from: Pointer): void => {
      const open = [from];
      for (let pointer = open.pop(); pointer !== undefined; pointer = open.pop()) {
        if (needed.has(pointer) || isEntry.has(pointer)) continue;
        needed.add(pointer);
        open.push(...this.#reads(this.graph.get(pointer)));
      }
    };
    exits.forEach(visit);
    for (const position of beside) visit(this.graph.nodes[position]?.pointer ?? 0n);
    for (const node of this.graph.nodes) {
      const layer = this.#writtenLayer(node);
      if (layer !== null && layer >= start && layer < end) visit(node.pointer);
    }
    const positions = (pointers: Iterable<Pointer>): number[] =>
      [...pointers].flatMap((pointer) => this.#index.get(pointer) ?? []).sort((a, b) => a - b);
    return { nodes: positions(needed), entries: positions(entries), exits: positions(exits) };
  }

  #exits(end: number): readonly Pointer[] {
    if (end < this.layers) return this.#frontier(end);
    const last = this.graph.nodes.at(-1);
    return last ? [last.pointer] : [];
  }

  /** The layer whose cache a node writes to. */
  #writtenLayer({ op, viewOf }: ImportedTensor): number | null {
    return (op === 'SET_ROWS' || op === 'CPY') && viewOf !== null ? cacheLayer(this.graph.get(viewOf)) : null;
  }

  #reads({ pointer, sources, viewOf }: ImportedTensor): Pointer[] {
    const read = sources.filter((source): source is Pointer => source !== null && source !== pointer);
    return viewOf === null ? read : [...read, viewOf];
  }

  #level(pointer: Pointer): number {
    const known = this.#levels.get(pointer);
    if (known !== undefined) return known;
    const tensor = this.graph.get(pointer);
    let level = tensor.op === 'NONE' ? this.#ownLayer(tensor) : beforeLayers;
    // A matrix of the output may be the embedding too.
    const isLookup = tensor.op === 'GET_ROWS';
    for (const source of this.#reads(tensor))
      if (!isLookup || !isOutput(this.graph.get(source))) level = Math.max(level, this.#level(source));
    this.#levels.set(pointer, level);
    return level;
  }

  /** The layer that a weight or cache belongs to, where the output counts as one more. */
  #ownLayer(tensor: ImportedTensor): number {
    const cached = cacheLayer(tensor);
    if (cached !== null) return cached;
    const layer = /^blk\.(\d+)\./u.exec(tensor.name)?.[1];
    if (layer !== undefined) return Number(layer);
    return isOutput(tensor) ? this.layers : beforeLayers;
  }

  #isWeightOfLayer(tensor: ImportedTensor): boolean {
    return tensor.op === 'NONE' && this.#ownLayer(tensor) > beforeLayers;
  }

  /** What crosses the cut before a layer. */
  #frontier(layer: number): readonly Pointer[] {
    const known = this.#frontiers.get(layer);
    if (known) return known;
    const crossing = layer === 0 ? new Set<Pointer>() : this.#readAcross(layer);
    for (let isSmaller = true; isSmaller && crossing.size > 1;) {
      const spare = [...crossing]
        .sort((a, b) => (this.#index.get(b) ?? 0) - (this.#index.get(a) ?? 0))
        .find((pointer) => this.#followsFrom(pointer, crossing));
      isSmaller = spare !== undefined && crossing.delete(spare);
    }
    const frontier = [...crossing];
    this.#frontiers.set(layer, frontier);
    return frontier;
  }

  /** The nodes of lower layers that those from `layer` on read. */
  #readAcross(layer: number): Set<Pointer> {
    const across = new Set<Pointer>();
    for (const node of this.graph.nodes) {
      if (this.#level(node.pointer) < layer) continue;
      for (const pointer of this.#reads(node)) {
        const level = this.#level(pointer);
        if (this.#index.has(pointer) && level > beforeLayers && level < layer)
          across.add(this.#origin(pointer));
      }
    }
    return across;
  }

  /**
   * What a node is computed from, as long as that is one node and no weight of a layer: the residual behind its norm. What
   * adds the embedding of tokens to it is not undone, else the stage behind would need the tokens too.
   */
  #origin(pointer: Pointer): Pointer {
    for (let origin = pointer; ;) {
      const read = this.#reads(this.graph.get(origin));
      const before = new Set(
        read.filter((each) => this.#level(each) > beforeLayers || this.#index.has(each)),
      );
      const [only] = before;
      if (only === undefined || before.size > 1 || !this.#index.has(only)) return origin;
      origin = only;
    }
  }

  /** Whether a node can be computed from the others without weights of layers. */
  #followsFrom(wanted: Pointer, others: ReadonlySet<Pointer>): boolean {
    const seen = new Set<Pointer>();
    const open = this.#reads(this.graph.get(wanted));
    for (let pointer = open.pop(); pointer !== undefined; pointer = open.pop()) {
      if (seen.has(pointer) || (pointer !== wanted && others.has(pointer))) continue;
      seen.add(pointer);
      const tensor = this.graph.get(pointer);
      if (this.#isWeightOfLayer(tensor)) return false;
      if (tensor.op !== 'NONE' && this.#level(pointer) > beforeLayers) open.push(...this.#reads(tensor));
    }
    return true;
  }
}
