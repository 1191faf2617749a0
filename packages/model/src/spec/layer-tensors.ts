import { ensure } from '@butterfly/common';
import { ggmlTypes } from '../gguf/ggml-types.js';
import type { ModelSpec, ModelTensor } from './spec.js';

const totalBytes = (tensors: readonly ModelTensor[]): number =>
  tensors.reduce((sum, { bytes }) => sum + bytes, 0);
const elements = ({ shape }: ModelTensor): number =>
  shape.reduce((product, dimension) => product * dimension, 1);

/** The layer that a tensor belongs to, or null for those of the whole model. */
function layerOf(tensor: ModelTensor): number | null {
  const layer = /^blk\.(\d+)\./u.exec(tensor.name)?.[1];
  return layer === undefined ? null : Number(layer);
}

/** Bytes of the weights of each layer. */
export function layerBytes(spec: ModelSpec): number[] {
  const bytes = Array.from({ length: spec.layers }, () => 0);
  for (const tensor of spec.tensors) {
    const layer = layerOf(tensor);
    if (layer !== null) bytes[layer] = (bytes[layer] ?? 0) + tensor.bytes;
  }
  return bytes;
}

function inputTensors(spec: ModelSpec): ModelTensor[] {
  return spec.tensors.filter(({ name }) => name === 'token_embd.weight');
}

function outputTensors(spec: ModelSpec): ModelTensor[] {
  const matrix = spec.tiedEmbeddings ? 'token_embd.weight' : 'output.weight';
  return spec.tensors.filter(({ name }) => name === 'output_norm.weight' || name === matrix);
}

/** Bytes of the weights that only the first stage holds. */
export function inputBytes(spec: ModelSpec): number {
  return totalBytes(inputTensors(spec));
}

/** Bytes of the weights that only the last stage holds; a tied embedding counts here as well as in the input. */
export function outputBytes(spec: ModelSpec): number {
  return totalBytes(outputTensors(spec));
}

/**
 * The tensors that a stage of layers `layerStart` to `layerEnd` (exclusive) needs, each once, in file order:
 * its layers, the embedding on the first stage, the head on the last, and the rope factors on all.
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
  const ends = new Set([
    ...(layerStart === 0 ? inputTensors(spec) : []),
    ...(layerEnd === spec.layers ? outputTensors(spec) : []),
  ]);
  return spec.tensors.filter((tensor) => {
    const layer = layerOf(tensor);
    if (layer !== null) return layerStart <= layer && layer < layerEnd;
    return ends.has(tensor) || tensor.name === 'rope_freqs.weight';
  });
}

/** Multiplications and additions with weights for one token: in each layer, and in the output matrix. */
export function operationsPerToken(spec: ModelSpec): { readonly layer: number; readonly output: number } {
  const matrices = spec.tensors.filter((tensor) => layerOf(tensor) === 0 && tensor.shape.length > 1);
  return {
    layer: 2 * matrices.reduce((sum, tensor) => sum + elements(tensor), 0),
    output: 2 * spec.hidden * spec.vocabulary,
  };
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
