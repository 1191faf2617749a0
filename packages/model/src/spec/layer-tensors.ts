import { ensure } from '@butterfly/common';
import { ggmlTypes } from '../gguf/ggml-types.js';
import type { ModelSpec, ModelTensor } from './spec.js';

const totalBytes = (tensors: readonly ModelTensor[]): number =>
  tensors.reduce((sum, { bytes }) => sum + bytes, 0);
const elements = ({ shape }: ModelTensor): number =>
  shape.reduce((product, dimension) => product * dimension, 1);

/** The layer that a tensor belongs to, or null for those of the whole model. */
export function layerOf({ name }: ModelTensor): number | null {
  const layer = /^blk\.(\d+)\./u.exec(name)?.[1];
  return layer === undefined ? null : Number(layer);
}

/** The layers that use a tensor; null for all. */
export function usersOf({ sharedTensors }: ModelSpec, tensor: ModelTensor): readonly number[] | null {
  if (Object.hasOwn(sharedTensors, tensor.name)) return sharedTensors[tensor.name] ?? null;
  const layer = layerOf(tensor);
  return layer === null ? null : [layer];
}

/** Bytes of the weights of each layer; of one that several layers use, in each of these. */
export function layerBytes(spec: ModelSpec): number[] {
  const bytes = Array.from({ length: spec.layers }, () => 0);
  for (const tensor of spec.tensors) {
    if (layerOf(tensor) === null) continue;
    for (const layer of usersOf(spec, tensor) ?? []) bytes[layer] = (bytes[layer] ?? 0) + tensor.bytes;
  }
  return bytes;
}

/** Whether no layer but the first and the last uses a tensor that belongs to none. */
function isOfEnds(spec: ModelSpec, tensor: ModelTensor): boolean {
  const isEnd = (layer: number): boolean => layer === 0 || layer === spec.layers - 1;
  return layerOf(tensor) === null && (usersOf(spec, tensor)?.every(isEnd) ?? false);
}

/** Tensors that belong to no layer and that only the first and the last use, this one among them. */
function tensorsBeside(spec: ModelSpec, layer: number): ModelTensor[] {
  return spec.tensors.filter((tensor) => isOfEnds(spec, tensor) && usersOf(spec, tensor)?.includes(layer));
}

/** Bytes of the weights that only the first stage holds. */
export function inputBytes(spec: ModelSpec): number {
  return totalBytes(tensorsBeside(spec, 0));
}

/** Bytes of the weights that only the last stage holds; a tied embedding counts here as well as in the input. */
export function outputBytes(spec: ModelSpec): number {
  return totalBytes(tensorsBeside(spec, spec.layers - 1));
}

/** Bytes of the weights that every stage holds, or that some do for layers in the midst: which ones, a plan decides. */
export function everyStageBytes(spec: ModelSpec): number {
  return totalBytes(spec.tensors.filter((tensor) => layerOf(tensor) === null && !isOfEnds(spec, tensor)));
}

/**
 * The tensors that a stage of layers `layerStart` to `layerEnd` (exclusive) needs, each once, in file order: its layers,
 * and what these use beside: the embedding on the first stage, the head on the last, and what serves all.
 * @throws ButterflyError COMPUTE_INVALID for an empty or impossible range
 */
export function shardTensors(spec: ModelSpec, layerStart: number, layerEnd: number): ModelTensor[] {
  ensure(
    Number.isInteger(layerStart) &&
      Number.isInteger(layerEnd) &&
      0 <= layerStart &&
      layerStart < layerEnd &&
      layerEnd <= spec.layers,
    () => `layers ${layerStart} to ${layerEnd} are no range within ${spec.layers} layers`,
  );
  const isWithin = (layer: number): boolean => layerStart <= layer && layer < layerEnd;
  return spec.tensors.filter((tensor) => usersOf(spec, tensor)?.some(isWithin) ?? true);
}

/** Multiplications and additions with weights for one token: in each layer, and in the output matrix, which an encoder has not. */
export function operationsPerToken(spec: ModelSpec): { readonly layer: number; readonly output: number } {
  const typical = Math.floor(spec.layers / 2);
  const matrices = spec.tensors.filter((tensor) => layerOf(tensor) === typical && tensor.shape.length > 1);
  return {
    layer: 2 * matrices.reduce((sum, tensor) => sum + activeElements(spec, tensor), 0),
    output: spec.isEncoder ? 0 : 2 * spec.hidden * spec.vocabulary,
  };
}

/** Names of matrices that lie behind each other, one for each expert. */
const expertName = /_(?:ch)?exps\.weight$/u;

/** What belongs to experts that are chosen for each row: matrices, and their biases and scales. */
const ofExperts = /_(?:ch)?exps\.(?:weight|bias|scale)$/u;

/** Whether a tensor holds a part of each expert, of which a token needs few, so that it may lie in slower memory. */
export function isOfExperts({ name }: Pick<ModelTensor, 'name'>): boolean {
  return ofExperts.test(name);
}

/** Bytes of the experts of each layer. */
export function expertBytes(spec: ModelSpec): number[] {
  const bytes = Array.from({ length: spec.layers }, () => 0);
  for (const tensor of spec.tensors) {
    const layer = layerOf(tensor);
    if (layer !== null && layer < spec.layers && isOfExperts(tensor))
      bytes[layer] = (bytes[layer] ?? 0) + tensor.bytes;
  }
  return bytes;
}

/** The share of a tensor that computes a token: of experts those that are chosen. */
export function usedShare({ graph }: Pick<ModelSpec, 'graph'>, { name, shape }: ModelTensor): number {
  const used = graph.kind === 'imported' ? graph.experts?.used : undefined;
  const count = shape[2] ?? 1;
  return used === undefined || !expertName.test(name) ? 1 : Math.min(used, count) / count;
}

function activeElements(spec: ModelSpec, tensor: ModelTensor): number {
  return elements(tensor) * usedShare(spec, tensor);
}

/** Number of weights that compute a token: all but those of experts that are not chosen. */
export function activeParameterCount(spec: ModelSpec): number {
  return spec.tensors.reduce((sum, tensor) => sum + activeElements(spec, tensor), 0);
}

/** Number of weights, a tied embedding counted once. */
export function parameterCount(spec: ModelSpec): number {
  return spec.tensors.reduce((sum, tensor) => sum + elements(tensor), 0);
}

/** How the weights are stored, the type with most bytes first. */
export function quantisation(
  spec: ModelSpec,
): readonly { readonly typeName: string; readonly tensors: number; readonly bytes: number }[] {
  const types = new Map<number, { typeName: string; tensors: number; bytes: number }>();
  for (const { type, typeName, bytes } of spec.tensors) {
    const sum = types.get(type) ?? { typeName: ggmlTypes.get(type)?.name ?? typeName, tensors: 0, bytes: 0 };
    types.set(type, { ...sum, tensors: sum.tensors + 1, bytes: sum.bytes + bytes });
  }
  return [...types.values()].sort((a, b) => b.bytes - a.bytes);
}
