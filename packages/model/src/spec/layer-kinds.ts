import { limits } from '@butterfly/common';
import { layerOf, usedShare, usersOf } from './layer-tensors.js';
import type { ModelSpec, ModelTensor } from './spec.js';

/** What a layer, or the mean of some, has to read. */
export interface LayerWeights {
  /** Bytes of the weights that every token is computed with. */
  readonly plainBytes: number;
  /** Bytes of all experts. */
  readonly expertBytes: number;
  /** The share of these that computes one token; 1 for a layer without. */
  readonly usedShare: number;
}

/** Layers that take as long as each other: of the same tensors, attention and states. */
export interface LayerKind extends LayerWeights {
  /** Ascending; at least one. */
  readonly layers: readonly number[];
}

/**
 * The kinds of layers of a model, those first that read most for a token, all layers of a kind together. Where there are
 * more than `limits.layerKindsMax` of them, as some quantisers give every layer types of its own, the layers of those that read
 * least join the kind whose layers read about as much as they do.
 */
export function layerKinds(spec: ModelSpec): readonly LayerKind[] {
  const tensors = tensorsByLayer(spec);
  const alike = new Map<string, number[]>();
  for (const [layer, own] of tensors.entries()) {
    const key = kindKey(spec, layer, own);
    const layers = alike.get(key);
    if (layers) layers.push(layer);
    else alike.set(key, [layer]);
  }
  const all = [...alike.values()].map((layers): LayerKind => ({
    layers,
    ...weightsOf(spec, tensors[layers[0] ?? 0] ?? []),
  }));
  const total = (kind: LayerKind): number => kind.layers.length * activeBytes(kind);
  const sorted = all.sort((a, b) => total(b) - total(a) || first(a) - first(b));
  const kept = sorted.slice(0, limits.layerKindsMax);
  const joined = kept.map((kind) => [kind]);
  for (const kind of sorted.slice(limits.layerKindsMax)) joined[nearest(kind, kept)]?.push(kind);
  return joined.map((kinds) => ({
    ...meanWeights(kinds),
    layers: kinds.flatMap(({ layers }) => layers).sort((a, b) => a - b),
  }));
}

/** By layer, the index of its kind. */
export function kindOfLayers(kinds: readonly LayerKind[]): number[] {
  const of: number[] = [];
  for (const [index, { layers }] of kinds.entries()) for (const layer of layers) of[layer] = index;
  return of;
}

/** Bytes of the weights that one token is computed with. */
export function activeBytes({ plainBytes, expertBytes, usedShare }: LayerWeights): number {
  return plainBytes + expertBytes * usedShare;
}

/**
 * Bytes of the weights that so many rows together read. Each row chooses its experts by itself, so of the others' share
 * (1 − used)^rows is left that nobody chose.
 */
export function readBytes({ plainBytes, expertBytes, usedShare }: LayerWeights, rows: number): number {
  return plainBytes + expertBytes * (1 - (1 - usedShare) ** rows);
}

/** The kind whose layers read for a token about as much, by ratio. */
export function nearest(weights: LayerWeights, kinds: readonly LayerWeights[]): number {
  const bytes = Math.log(Math.max(1, activeBytes(weights)));
  const distances = kinds.map((kind) => Math.abs(Math.log(Math.max(1, activeBytes(kind))) - bytes));
  return distances.indexOf(Math.min(...distances));
}

/** What a layer of these reads on average. */
export function meanWeights(kinds: readonly LayerKind[]): LayerWeights {
  const count = sum(kinds, ({ layers }) => layers.length);
  const plainBytes = sum(kinds, (kind) => kind.layers.length * kind.plainBytes) / count;
  const expertBytes = sum(kinds, (kind) => kind.layers.length * kind.expertBytes) / count;
  const usedBytes = sum(kinds, (kind) => kind.layers.length * kind.expertBytes * kind.usedShare) / count;
  return { plainBytes, expertBytes, usedShare: expertBytes === 0 ? 1 : usedBytes / expertBytes };
}

const first = ({ layers }: LayerKind): number => layers[0] ?? 0;

function sum<T>(values: readonly T[], valueOf: (value: T) => number): number {
  return values.reduce((total, value) => total + valueOf(value), 0);
}

/** The tensors that belong to each layer and that it uses. */
function tensorsByLayer(spec: ModelSpec): ModelTensor[][] {
  const tensors = Array.from({ length: spec.layers }, (): ModelTensor[] => []);
  for (const tensor of spec.tensors) {
    const layer = layerOf(tensor);
    if (layer !== null && usersOf(spec, tensor)?.includes(layer)) tensors[layer]?.push(tensor);
  }
  return tensors;
}

function kindKey(spec: ModelSpec, layer: number, tensors: readonly ModelTensor[]): string {
  const described = tensors.map(
    ({ name, type, shape }) => `${name.replace(/^blk\.\d+\./u, '')} ${type} ${shape.join('x')}`,
  );
  const states = spec.graph.kind === 'imported' ? (spec.graph.states[layer] ?? []) : [];
  return JSON.stringify([described.sort(), spec.attention[layer] ?? null, states]);
}

function weightsOf(spec: ModelSpec, tensors: readonly ModelTensor[]): LayerWeights {
  const ofExperts = tensors.filter((tensor) => usedShare(spec, tensor) < 1);
  const expertBytes = sum(ofExperts, ({ bytes }) => bytes);
  const usedBytes = sum(ofExperts, (tensor) => tensor.bytes * usedShare(spec, tensor));
  return {
    plainBytes: sum(tensors, ({ bytes }) => bytes) - expertBytes,
    expertBytes,
    usedShare: expertBytes === 0 ? 1 : usedBytes / expertBytes,
  };
}
