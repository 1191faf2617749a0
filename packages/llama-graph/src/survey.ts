import type { HeaderModel, Shape } from '@butterfly/ggml';
import type { LayerAttention, LayerState } from '@butterfly/model';
import { attendsWithoutCache, attentionsOf } from './attention-survey.js';
import { viewOperations } from './cores.js';
import { crossingParts, widthOf } from './crossing.js';
import { cacheLayer, GraphCutter, isStateName, type Cut, type WholeGraph } from './cut.js';
import type { SurveyedHead } from './heads/head-cut.js';
import { surveyPooling, type SurveyedEmbedding } from './texts/pooled-end.js';
import { refuse } from './refusal.js';
import { leafOf, leavesOf, readingsOf, rootOf, stateKind, weightUse, type Leaf } from './leaves.js';

/** What the graph of a model tells of its layers. Travels as JSON. */
export interface GraphSurvey {
  readonly layers: number;
  /** As in `ModelSpec`, like the next one. */
  readonly crossings: readonly (number | null)[];
  readonly tokenLayers: readonly number[];
  /** Of what each layer caches; null for one that caches nothing. */
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
  /** As in `ModelSpec`. */
  readonly isEncoder: boolean;
  /** Null where none can be made. */
  readonly embedding: SurveyedEmbedding | null;
  /** The layer that predicts the token after the next one; null without one that can be computed here. */
  readonly head: SurveyedHead | null;
}

/** Unlike any dimension of a model, so that the dimension of the rows shows. */
export const surveyedRows = 7;
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
  options: {
    readonly names: ReadonlySet<string>;
    readonly isChunked: boolean;
    readonly isRanking: boolean;
  },
): GraphSurvey {
  const graph: WholeGraph = model.graph(surveyedRows, surveyedOutputs).snapshot();
  checkKernels(graph);
  const { layers } = model;
  const cutter = new GraphCutter(graph, layers);
  const cuts = Array.from({ length: layers }, (_, layer) => cutter.cut(layer, layer + 1));
  const isWeight = (name: string): boolean => options.names.has(name);
  const read = cuts.map((cut) =>
    readingsOf(graph, cut).map(({ leaf: tensor, reader }) => ({
      leaf: leafOf(tensor, surveyedRows, isWeight, reader),
      tensor,
    })),
  );
  const users = new Map<string, Set<number>>();
  const shapes: Record<string, Shape> = {};
  for (const [layer, leaves] of read.entries())
    for (const { leaf, tensor } of leaves) {
      if (leaf.kind !== 'weight') continue;
      users.set(leaf.name, (users.get(leaf.name) ?? new Set()).add(layer));
      shapes[leaf.name] = tensor.shape;
    }
  const reads = (layer: number, kind: Leaf['kind']): boolean =>
    read[layer]?.some(({ leaf }) => leaf.kind === kind) ?? false;
  const isEncoder = attendsWithoutCache(graph);
  const pooled = surveyPooling(model, { isRanking: options.isRanking, isWeight });
  for (const { name, shape } of pooled?.weights ?? []) {
    users.set(name, (users.get(name) ?? new Set()).add(layers - 1));
    shapes[name] = shape;
  }
  if (isEncoder && pooled?.rows !== graph.nodes.length - 1)
    throw refuse('sees tokens that come later, and makes no embedding but logits of them');
  const windowOf = (slots: number): LayerAttention['window'] =>
    slots >= model.contextTokens
      ? null
      : { kind: options.isChunked ? 'chunked' : 'sliding', tokens: model.windowTokens };
  return {
    layers,
    crossings: crossingsOf(
      graph,
      cuts,
      read.map((leaves) => leaves.map(({ leaf }) => leaf)),
    ),
    tokenLayers: [...cuts.keys()].filter((layer) => layer > 0 && reads(layer, 'tokens')),
    attention: isEncoder ? cuts.map(() => null) : attentionsOf(graph, layers, windowOf),
    states: cuts.map((cut, layer) => statesOf(graph, cut, layer)),
    users: Object.fromEntries([...users].map(([name, layersOf]) => [name, [...layersOf]])),
    shapes,
    plainWeights: [...new Set(cuts.flatMap((cut) => readAsFloats(graph, cut)))].filter(isWeight),
    hasTemperature: [...cuts.keys()].some((layer) => reads(layer, 'temperature')),
    isEncoder,
    embedding: pooled?.embedding ?? null,
    head: null,
  };
}

/** Numbers of each row that cross each cut between two layers; null where layers cannot be parted. */
function crossingsOf(
  graph: WholeGraph,
  cuts: readonly Cut[],
  read: readonly (readonly Leaf[])[],
): (number | null)[] {
  /** Layers that read what an earlier one keeps, with that one. */
  const joined = read.flatMap((leaves, layer) =>
    leaves.flatMap((leaf) =>
      leaf.kind === 'cache' || leaf.kind === 'state' ? [{ from: leaf.layer, to: layer }] : [],
    ),
  );
  return cuts.slice(1).map(({ entries }, before) => {
    const isWithin = joined.some(
      ({ from, to }) => Math.min(from, to) <= before && before < Math.max(from, to),
    );
    const parts = isWithin ? null : crossingParts(graph, entries, surveyedRows);
    return parts === null || parts.length === 0 ? null : widthOf(parts);
  });
}

/** GGML_F32_STEP where it is largest, with AVX-512. */
const vectorStep = 64;

/**
 * The kernel of this operation takes whole vectors and has no rest (ggml_compute_forward_rwkv_wkv7_f32): of smaller heads
 * it reads and writes what is not theirs. All models that there are have heads of 64.
 */
function checkKernels(graph: WholeGraph): void {
  for (const { op, sources } of graph.nodes) {
    const size = op === 'RWKV_WKV7' && sources[0] ? graph.get(sources[0]).shape[0] : vectorStep;
    if (size % vectorStep !== 0) throw refuse(`computes RWKV_WKV7 with heads of ${size}`);
  }
}

/** Operations that take any type apart, beside products and lookups. */
const anyType: ReadonlySet<string> = new Set(['CPY', 'CONT', 'DUP']);

/** Names of the leaves that the nodes of a cut read number by number, directly or through views. */
export function readAsFloats(graph: WholeGraph, cut: Cut): string[] {
  return cut.nodes.flatMap((position) => {
    const node = graph.nodes[position];
    if (!node || viewOperations.has(node.op) || anyType.has(node.op)) return [];
    return node.sources.flatMap((source, index) => {
      if (source === null || weightUse(node, index) !== 'elementwise') return [];
      return rootOf(graph, graph.get(source)).name;
    });
  });
}

function statesOf(graph: WholeGraph, cut: Cut, layer: number): LayerState[] {
  return leavesOf(graph, cut)
    .filter((leaf) => isStateName(leaf.name) && cacheLayer(leaf) === layer)
    .map(({ name, shape }) => ({ name: stateKind(name), width: shape[0] }));
}
