import koffi from 'koffi';
import { ButterflyError } from '@butterfly/common';
import type { Ggml } from '../library/library.js';
import type { Pointer } from '../library/symbols.js';
import { TensorReader, tensorStruct, type ImportedTensor } from './tensor-struct.js';

/** The nodes of a graph lie in one context of some hundreds of bytes for each. */
const contextBytesMax = 2 ** 28;

/** A graph that llama.cpp built, read as it is asked for. */
export class ImportedGraph {
  /** How many nodes it has, in the order of computation. */
  readonly size: number;
  readonly #ggml: Ggml;
  readonly #pointers: Pointer[] = [];
  #positions: ReadonlyMap<Pointer, number> | null = null;
  readonly #read = new Map<Pointer, ImportedTensor>();
  readonly #reader: TensorReader;
  readonly #first: Pointer;
  readonly #last: Pointer;

  /** @param lasting what lives as long as the model, such as weights: filled as it is met. */
  constructor(
    ggml: Ggml,
    graph: Pointer,
    private readonly lasting: Map<Pointer, ImportedTensor>,
  ) {
    this.#ggml = ggml;
    const { base } = ggml;
    this.size = base.ggml_graph_n_nodes(graph);
    for (let i = 0; i < this.size; i++) this.#pointers.push(base.ggml_graph_node(graph, i));
    let [first, last] = [this.#pointers[0] ?? 0n, this.#pointers[0] ?? 0n];
    for (const pointer of this.#pointers) {
      if (pointer < first) first = pointer;
      if (pointer > last) last = pointer;
    }
    [this.#first, this.#last] = [first, last];
    const bytes = Number(last - first) + tensorStruct.bytes;
    if (this.size === 0 || bytes > contextBytesMax)
      throw new ButterflyError('LIBRARY_MISMATCH', 'The nodes of a graph do not lie in one context.');
    this.#reader = new TensorReader(ggml, koffi.view(first, bytes), first);
  }

  node(index: number): ImportedTensor {
    const pointer = this.#pointers[index];
    if (pointer === undefined) throw new ButterflyError('COMPUTE_INVALID', `A graph has no node ${index}.`);
    return this.get(pointer);
  }

  /** The position of a node; undefined for what is none. */
  positionOf(pointer: Pointer): number | undefined {
    this.#positions ??= new Map(this.#pointers.map((each, position) => [each, position]));
    return this.#positions.get(pointer);
  }

  /** All nodes; the position of a node is the same in graphs of every shape. */
  nodes(): ImportedTensor[] {
    return this.#pointers.map((pointer) => this.get(pointer));
  }

  /** All that the graph has, read at once, so that it outlives the native one. */
  snapshot(): { readonly nodes: readonly ImportedTensor[]; get(pointer: Pointer): ImportedTensor } {
    const nodes = this.nodes();
    const all = new Map<Pointer, ImportedTensor>();
    const keep = (pointer: Pointer | null): void => {
      if (pointer === null || all.has(pointer)) return;
      const tensor = this.get(pointer);
      all.set(pointer, tensor);
      keep(tensor.viewOf);
    };
    for (const { pointer, sources, viewOf } of nodes)
      for (const each of [pointer, ...sources, viewOf]) keep(each);
    return {
      nodes,
      get: (pointer) => {
        const tensor = all.get(pointer);
        if (!tensor) throw new ButterflyError('COMPUTE_INVALID', 'A graph reads what it does not have.');
        return tensor;
      },
    };
  }

  /** A node, or a tensor that nodes read. */
  get(pointer: Pointer): ImportedTensor {
    const known = this.#read.get(pointer) ?? this.lasting.get(pointer);
    if (known) return known;
    const isNear = pointer >= this.#first && pointer <= this.#last;
    const tensor = isNear ? this.#reader.read(pointer) : this.#readAlone(pointer);
    // Inputs have the memory of the graph, and it is used again.
    if (!isNear && isLasting(tensor)) this.lasting.set(pointer, tensor);
    else this.#read.set(pointer, tensor);
    return tensor;
  }

  #readAlone(pointer: Pointer): ImportedTensor {
    return new TensorReader(this.#ggml, koffi.view(pointer, tensorStruct.bytes), pointer).read(pointer);
  }
}

/** Weights and caches, which have names in a table of their own and belong to the model. */
function isLasting({ op, name }: ImportedTensor): boolean {
  return op === 'NONE' && /\.(?:weight|bias)$|^(?:cache_|blk\.)/u.test(name);
}
