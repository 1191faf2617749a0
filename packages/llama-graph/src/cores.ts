import type { ImportedTensor } from '@butterfly/ggml';
import { isStateName, type Cut, type WholeGraph } from './cut.js';
import { refuse } from './refusal.js';

type Pointer = ImportedTensor['pointer'];

/** Operations that show the data of another tensor. */
export const viewOperations: ReadonlySet<string> = new Set(['VIEW', 'PERMUTE', 'RESHAPE', 'TRANSPOSE']);

/**
 * The nodes that join the rows of a sequence through one of its states: all between the reading and the writing of a state
 * tensor. They are made once for each group of sequences with as many rows, where all else is made once for all rows.
 * Numbers are positions in the graph, which are the same for batches of every shape.
 */
export interface Core {
  /** Name of the state tensor, or names of several. */
  readonly state: string;
  /** Ascending. */
  readonly inner: readonly number[];
  readonly innerSet: ReadonlySet<number>;
  /** Those of `inner` that write the state. */
  readonly writes: ReadonlySet<number>;
  /** Nodes outside that they read. */
  readonly entries: readonly number[];
  /** Those of `inner` that nodes outside or other stages read, and which dimension of each counts rows. */
  readonly exits: readonly { readonly position: number; readonly dimension: number }[];
}

/** Which dimension of each node counts rows; -1 where none or more than one does. */
export function rowDimensions(graph: WholeGraph, withOneMore: WholeGraph, rows: number): number[] {
  if (graph.nodes.length !== withOneMore.nodes.length) throw refuse('is another one for one row more');
  return graph.nodes.map(({ shape }, position) => {
    const other = withOneMore.nodes[position]?.shape ?? shape;
    const different = [0, 1, 2, 3].filter((dimension) => shape[dimension] !== other[dimension]);
    const [only] = different;
    if (only === undefined || different.length > 1) return -1;
    return shape[only] === rows && other[only] === rows + 1 ? only : -1;
  });
}

/**
 * Finds the cores of a cut.
 * @param dimensions as `rowDimensions` gives them.
 * @throws ButterflyError MODEL_UNSUPPORTED where states are used in another way
 */
export function findCores(graph: WholeGraph, cut: Cut, dimensions: readonly number[]): Core[] {
  return new CoreFinder(graph, cut, dimensions).find();
}

/** Between the names of states that have one core. */
const andState = ' and ';

/** Positions of the nodes that read and write each state. */
interface StateAccess {
  readonly reads: ReadonlyMap<string, readonly number[]>;
  readonly writes: ReadonlyMap<string, readonly number[]>;
}

class CoreFinder {
  readonly #index: ReadonlyMap<Pointer, number>;
  readonly #needed: ReadonlySet<number>;
  readonly #users: readonly number[][];
  /** What other stages read. */
  readonly #exits: ReadonlySet<number>;

  constructor(
    private readonly graph: WholeGraph,
    cut: Cut,
    private readonly dimensions: readonly number[],
  ) {
    this.#index = new Map(graph.nodes.map(({ pointer }, position) => [pointer, position]));
    this.#needed = new Set(cut.nodes);
    this.#exits = new Set(cut.exits);
    const users = graph.nodes.map((): number[] => []);
    for (const position of cut.nodes)
      for (const read of new Set(this.#reads(position))) users[read]?.push(position);
    this.#users = users;
  }

  find(): Core[] {
    const [reads, writes] = [new Map<string, number[]>(), new Map<string, number[]>()];
    for (const position of this.#needed) {
      const node = this.#node(position);
      const written = this.#writtenState(node);
      if (written !== null) writes.set(written, [...(writes.get(written) ?? []), position]);
      for (const read of this.#readStates(node)) reads.set(read, [...(reads.get(read) ?? []), position]);
    }
    const cores = [...writes].map(([state, written]) => this.#core(state, reads.get(state) ?? [], written));
    return this.#merged(cores, { reads, writes });
  }

  /** States of which one is computed from what the other gives, as where a token shifts into the next, have one core. */
  #merged(cores: readonly Core[], of: StateAccess): Core[] {
    for (const [i, one] of cores.entries())
      for (const other of cores.slice(i + 1)) {
        if (!one.inner.some((position) => other.innerSet.has(position))) continue;
        const rest = cores.filter((core) => core !== one && core !== other);
        const states = [...one.state.split(andState), ...other.state.split(andState)];
        const all = (by: ReadonlyMap<string, readonly number[]>): number[] =>
          states.flatMap((state) => by.get(state) ?? []);
        const both = this.#core(states.join(andState), all(of.reads), all(of.writes));
        return this.#merged([...rest, both], of);
      }
    return [...cores];
  }

  #core(state: string, reads: readonly number[], writes: readonly number[]): Core {
    const first = Math.min(...reads, ...writes);
    const last = Math.max(...writes);
    const below = new Set(reads);
    const above = new Set(writes);
    for (let position = first; position <= last; position++)
      if (this.#needed.has(position) && this.#reads(position).some((read) => below.has(read)))
        below.add(position);
    for (let position = last; position >= first; position--)
      if (this.#needed.has(position) && this.#usersOf(position).some((user) => above.has(user)))
        above.add(position);
    const inner = new Set([...below].filter((position) => above.has(position)));
    // What is read need not lead to what is written: of a shift of tokens only the last row is kept.
    for (const position of [...reads, ...writes]) inner.add(position);
    this.#complete(inner);
    const exits = [...inner]
      .filter(
        (position) => this.#exits.has(position) || this.#usersOf(position).some((user) => !inner.has(user)),
      )
      .map((position) => ({ position, dimension: this.dimensions[position] ?? -1 }));
    if (exits.some(({ dimension }) => dimension < 0)) throw refuse(`joins rows through ${state} without end`);
    return {
      state,
      inner: [...inner].sort((a, b) => a - b),
      innerSet: inner,
      writes: new Set(writes),
      entries: this.#entries(inner),
      exits,
    };
  }

  /** Adds views of inner nodes, and what reads those that have no dimension of rows and belongs to the core therefore. */
  #complete(inner: Set<number>): void {
    const open = [...inner];
    for (let position = open.pop(); position !== undefined; position = open.pop()) {
      const hasNoRows = this.#node(position).op !== 'CPY' && (this.dimensions[position] ?? -1) < 0;
      for (const user of this.#usersOf(position)) {
        if (inner.has(user) || !(hasNoRows || viewOperations.has(this.#node(user).op))) continue;
        inner.add(user);
        open.push(user);
      }
    }
  }

  /** Nodes outside that inner ones read, through views if so. */
  #entries(inner: ReadonlySet<number>): number[] {
    const entries = new Set<number>();
    const open = [...inner].flatMap((position) => this.#reads(position));
    const seen = new Set<number>();
    for (let position = open.pop(); position !== undefined; position = open.pop()) {
      if (seen.has(position) || inner.has(position)) continue;
      seen.add(position);
      if (viewOperations.has(this.#node(position).op)) open.push(...this.#reads(position));
      else entries.add(position);
    }
    return [...entries];
  }

  /** The state that a node writes what was computed to; null also for one that only moves states. */
  #writtenState({ op, viewOf, sources }: ImportedTensor): string | null {
    if (op !== 'CPY' || viewOf === null) return null;
    const state = this.#stateName(viewOf);
    const [source] = sources;
    if (state === null || !source) return null;
    return this.#isMove(this.graph.get(source)) ? null : state;
  }

  /** Whether a node reads states in order to move them to other cells, which is not done here. */
  #isMove({ op, sources }: ImportedTensor): boolean {
    const [table] = sources;
    return op === 'GET_ROWS' && table !== null && table !== undefined && this.#stateName(table) !== null;
  }

  #readStates(node: ImportedTensor): string[] {
    const { op, sources } = node;
    if (op === 'CPY' || op === 'SCALE' || viewOperations.has(op)) return [];
    // The cells that are not of this batch are moved: their numbers stand behind the others.
    const ids = sources[1] ? this.graph.get(sources[1]) : null;
    if (op === 'GET_ROWS' && ids !== null && ids.viewOffset > 0) return [];
    return sources.flatMap((source) => {
      if (source === null || this.graph.get(source).op === 'CPY') return [];
      return this.#stateName(source) ?? [];
    });
  }

  /** The state that a tensor is, or shows. */
  #stateName(pointer: Pointer): string | null {
    const tensor = this.graph.get(pointer);
    const { name } = tensor.viewOf === null ? tensor : this.graph.get(tensor.viewOf);
    return isStateName(name) ? name : null;
  }

  #node(position: number): ImportedTensor {
    const node = this.graph.nodes[position];
    if (!node) throw new RangeError(`a graph has no node ${position}`);
    return node;
  }

  #usersOf(position: number): readonly number[] {
    return this.#users[position] ?? [];
  }

  /** Positions of the nodes that a node reads. */
  #reads(position: number): number[] {
    const { pointer, sources, viewOf } = this.#node(position);
    return [...sources, viewOf].flatMap((read) =>
      read === null || read === pointer ? [] : (this.#index.get(read) ?? []),
    );
  }
}
