import { dtype, type HeaderModel, type ImportedTensor, type Shape } from '@butterfly/ggml';
import type { LayerAttention, LayerState } from '@butterfly/model';
import { findCores, rowDimensions, viewOperations } from './cores.js';
import { cacheLayer, GraphCutter, isStateName, type Cut, type WholeGraph } from './cut.js';
import { leafOf, leavesOf, rootOf, stateKind, weightUse } from './leaves.js';
import { refuse } from './refusal.js';

/** What the graph of a model tells of its layers. Travels as JSON. */
export interface GraphSurvey {
  readonly layers: number;
  /** F32 numbers of each row that cross every cut. */
  readonly hidden: number;
  /** Null for a layer that attends to nothing. */
  readonly attention: readonly (LayerAttention | null)[];
  readonly states: readonly (readonly LayerState[])[];
  /** Which layers use each weight. */
  readonly users: Readonly<Record<string, readonly number[]>>;
  /** Of each weight that a layer uses, as the graph reads it. */
  readonly shapes: Readonly<Record<string, Shape>>;
  /** Weights that an operation reads which ggml has for F32 only. */
  readonly plainWeights: readonly string[];
  /** Whether queries are multiplied by what depends on their position. */
  readonly hasTemperature: boolean;
}

/** Unlike any dimension of a model, so that the dimension of the rows shows. */
const surveyedRows = 7;
const surveyedOutputs = 3;
/** Rows that a header model for a survey must allow. */
export const surveyRowsMax = 64;
/** Sequences of a batch that it must allow. */
export const surveySequencesMax = 4;
/** Slots that llama.cpp gives window layers more than their window, at most, with graphs of so many rows. */
const windowPadding = 1024;

/** How many tokens of context a survey needs, so that window layers are told from others by their slots. */
export function surveyContextTokens(windowTokens: number): number {
  return Math.ceil((2 * windowTokens + 2 * windowPadding) / 256) * 256;
}

/**
 * Reads what a model is like from one of its graphs, and refuses what could not be computed in parts.
 * @throws ButterflyError MODEL_UNSUPPORTED
 */
export function surveyGraph(
  model: HeaderModel,
  options: { readonly names: ReadonlySet<string>; readonly isChunked: boolean },
): GraphSurvey {
  const graph: WholeGraph = model.graph(surveyedRows, surveyedOutputs).snapshot();
  const { layers } = model;
  const cutter = new GraphCutter(graph, layers);
  const cuts = Array.from({ length: layers }, (_, layer) => cutter.cut(layer, layer + 1));
  const dimensions = stateDimensions(model, graph);
  const states = cuts.map((cut) => {
    findCores(graph, cut, dimensions);
    return statesOf(graph, cut);
  });
  const users = new Map<string, number[]>();
  const shapes: Record<string, Shape> = {};
  const plainWeights = new Set<string>();
  let hasTemperature = false;
  for (const [layer, cut] of cuts.entries()) {
    for (const name of readAsFloats(graph, cut)) if (options.names.has(name)) plainWeights.add(name);
    for (const { leaf: tensor, reader } of leavesOf(graph, cut)) {
      const leaf = leafOf(tensor, surveyedRows, (name) => options.names.has(name), reader);
      if (leaf.kind === 'tokens' && layer > 0) throw refuse('reads token ids in every layer');
      if ((leaf.kind === 'cache' || leaf.kind === 'state') && leaf.layer !== layer)
        throw refuse(`has layers that share keys and values (${layer} and ${leaf.layer})`);
      if (leaf.kind === 'weight') {
        users.set(leaf.name, [...(users.get(leaf.name) ?? []), layer]);
        shapes[leaf.name] = tensor.shape;
      }
      hasTemperature ||= leaf.kind === 'temperature';
    }
  }
  const windowOf = (slots: number): LayerAttention['window'] =>
    slots >= model.contextTokens
      ? null
      : { kind: options.isChunked ? 'chunked' : 'sliding', tokens: model.windowTokens };
  return {
    layers,
    hidden: crossingWidth(graph, cuts),
    attention: cuts.map((cut, layer) => attentionOf(graph, cut, layer, windowOf)),
    states,
    users: Object.fromEntries(users),
    shapes,
    plainWeights: [...plainWeights],
    hasTemperature,
  };
}

/** Numbers of each row that go from stage to stage: one tensor [numbers, rows], the same at each cut. */
function crossingWidth({ nodes }: WholeGraph, cuts: readonly Cut[]): number {
  const widths = new Set<number>();
  for (const cut of cuts.slice(1)) {
    const crossing = cut.entries.flatMap((position) => nodes[position] ?? []);
    const [only] = crossing;
    if (only === undefined || crossing.length > 1)
      throw refuse(`has ${crossing.length} tensors that go from layer to layer`);
    const { type, shape, strides } = only;
    const isPlain =
      type === dtype.F32 && strides[0] === 4 && strides[1] === 4 * shape[0] && shape[1] === surveyedRows;
    if (!isPlain || shape[2] !== 1 || shape[3] !== 1)
      throw refuse(`hands [${shape.join(', ')}] from layer to layer`);
    widths.add(shape[0]);
  }
  const [width, other] = widths;
  if (other !== undefined) throw refuse('hands tensors of several widths from layer to layer');
  return width ?? 1;
}

/** The attention of a layer, as far as the cache and the planner need to know it. */
function attentionOf(
  graph: WholeGraph,
  cut: Cut,
  layer: number,
  windowOf: (slots: number) => LayerAttention['window'],
): LayerAttention | null {
  const nodes = cut.nodes.flatMap((position) => graph.nodes[position] ?? []);
  const attended = nodes.filter(({ op }) => op === 'FLASH_ATTN_EXT');
  const [attention] = attended;
  if (attention === undefined && !cachesKeys(graph, nodes)) return null;
  if (attention === undefined || attended.length > 1)
    throw refuse(`has ${attended.length} attentions in layer ${layer}, and not one of ggml's own`);
  checkCacheUse(graph, nodes, attention);
  const operand = (index: number): ImportedTensor => {
    const pointer = attention.sources[index];
    if (!pointer) throw refuse(`has an attention without its operand ${index}`);
    return graph.get(pointer);
  };
  const [q, k, v] = [operand(0), operand(1), operand(2)];
  const [keys, values] = [rootOf(graph, k), rootOf(graph, v)];
  if (cacheLayer(keys) === null || cacheLayer(values) === null)
    throw refuse(`attends in layer ${layer} to what is not cached`);
  const hasValues = values.pointer !== keys.pointer;
  const width = k.shape[0] * k.shape[2];
  if (keys.shape[0] !== width || (hasValues && values.shape[0] !== v.shape[0] * v.shape[2]))
    throw refuse(`caches in layer ${layer} more than it attends to`);
  return {
    heads: q.shape[2],
    kvHeads: k.shape[2],
    keySize: k.shape[0],
    valueSize: hasValues ? v.shape[0] : 0,
    window: windowOf(keys.shape[1]),
  };
}

/** Operations that take any type apart, beside products and lookups. */
const anyType: ReadonlySet<string> = new Set(['CPY', 'CONT', 'DUP']);

/** Names of the leaves that the nodes of a cut read number by number, directly or through views. */
function readAsFloats(graph: WholeGraph, cut: Cut): string[] {
  return cut.nodes.flatMap((position) => {
    const node = graph.nodes[position];
    if (!node || viewOperations.has(node.op) || anyType.has(node.op)) return [];
    return node.sources.flatMap((source, index) => {
      if (source === null || weightUse(node, index) !== 'elementwise') return [];
      return rootOf(graph, graph.get(source)).name;
    });
  });
}

/** Which dimension of each node counts rows, in a graph with states; none otherwise, as nobody asks. */
function stateDimensions(model: HeaderModel, graph: WholeGraph): readonly number[] {
  if (!graph.nodes.some(({ viewOf }) => viewOf !== null && isStateName(graph.get(viewOf).name))) return [];
  return rowDimensions(graph, model.graph(surveyedRows + 1, surveyedOutputs).snapshot(), surveyedRows);
}

function statesOf(graph: WholeGraph, cut: Cut): LayerState[] {
  return leavesOf(graph, cut)
    .filter(({ leaf }) => isStateName(leaf.name))
    .map(({ leaf }) => ({ name: stateKind(leaf.name), width: leaf.shape[0] }));
}

function cachesKeys(graph: WholeGraph, nodes: readonly ImportedTensor[]): boolean {
  return nodes.some((node) => {
    const root = rootOf(graph, node);
    return cacheLayer(root) !== null && !isStateName(root.name);
  });
}

/** Caches are written row by row and read by the attention, through views; nothing else is known to be right. */
function checkCacheUse(graph: WholeGraph, nodes: readonly ImportedTensor[], attention: ImportedTensor): void {
  for (const node of nodes) {
    if (node === attention || viewOperations.has(node.op)) continue;
    const root = rootOf(graph, node);
    const isWritten = node.op === 'SET_ROWS' && cacheLayer(root) !== null;
    const isRead = node.sources.some((source) => {
      if (source === null) return false;
      const read = rootOf(graph, graph.get(source));
      return cacheLayer(read) !== null && !isStateName(read.name);
    });
    if (isRead && !isWritten) throw refuse(`computes ${node.op} with cached keys or values`);
  }
}
