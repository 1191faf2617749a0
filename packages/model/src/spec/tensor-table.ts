import { ButterflyError } from '@butterfly/common';
import { ggmlTypes, isWeightType } from '../gguf/ggml-types.js';
import type { GgufTensor } from '../gguf/gguf-file.js';
import type { FamilyArchitecture, FamilyGraph, ModelShape } from './spec.js';

interface Expectation {
  readonly shape: readonly number[];
  readonly required: boolean;
}

/** Which optional tensors the builder of an architecture knows, as llama.cpp does. */
const variants: Readonly<
  Record<
    FamilyArchitecture,
    { attentionOutputBias: boolean; feedForwardBias: boolean; headNorms: boolean; ropeFactors: boolean }
  >
> = {
  llama: { attentionOutputBias: true, feedForwardBias: true, headNorms: false, ropeFactors: true },
  qwen2: { attentionOutputBias: false, feedForwardBias: false, headNorms: false, ropeFactors: false },
  qwen3: { attentionOutputBias: false, feedForwardBias: false, headNorms: true, ropeFactors: false },
};

/**
 * Checks that a model has every tensor its architecture needs, in the expected shape, and no other.
 * @throws ButterflyError MODEL_CORRUPT (missing or misshapen), MODEL_UNSUPPORTED (unknown tensor or unusable type)
 */
export function checkTensors(
  model: ModelShape,
  graph: FamilyGraph,
  tensors: readonly GgufTensor[],
  path: string,
): void {
  const expected = expectedTensors(model, graph);
  const found = new Set<string>();
  for (const tensor of tensors) {
    const expectation = expected.get(tensor.name);
    if (expectation === undefined)
      throw new ButterflyError(
        'MODEL_UNSUPPORTED',
        `${path} has the tensor "${tensor.name}", which a plain ${model.architecture} model lacks: it is a variant that Butterfly would run wrongly. Use another model.`,
      );
    checkShape(tensor, expectation.shape, path);
    checkType(tensor, path);
    found.add(tensor.name);
  }
  for (const [name, { required }] of expected)
    if (required && !found.has(name))
      throw new ButterflyError(
        'MODEL_CORRUPT',
        `${path} lacks the tensor "${name}". Download or convert the model again, with all of its parts.`,
      );
}

function expectedTensors(model: ModelShape, graph: FamilyGraph): Map<string, Expectation> {
  const { hidden, vocabulary, layers } = model;
  const { rope, family } = graph;
  const expected = new Map<string, Expectation>();
  expected.set('token_embd.weight', { shape: [hidden, vocabulary], required: true });
  expected.set('output_norm.weight', { shape: [hidden], required: true });
  expected.set('output.weight', { shape: [hidden, vocabulary], required: false });
  if (variants[family].ropeFactors)
    expected.set('rope_freqs.weight', { shape: [rope.dimensions / 2], required: false });
  for (let layer = 0; layer < layers; layer++)
    for (const [name, shape, required] of layerTensors(hidden, graph))
      expected.set(`blk.${layer}.${name}`, { shape, required });
  return expected;
}

function layerTensors(
  hidden: number,
  { family, heads, kvHeads, headSize, feedForward }: FamilyGraph,
): (readonly [name: string, shape: readonly number[], required: boolean])[] {
  const variant = variants[family];
  const query = heads * headSize;
  const keyValue = kvHeads * headSize;
  return [
    ['attn_norm.weight', [hidden], true],
    ['attn_q.weight', [hidden, query], true],
    ['attn_k.weight', [hidden, keyValue], true],
    ['attn_v.weight', [hidden, keyValue], true],
    ['attn_output.weight', [query, hidden], true],
    ['ffn_norm.weight', [hidden], true],
    ['ffn_gate.weight', [hidden, feedForward], true],
    ['ffn_up.weight', [hidden, feedForward], true],
    ['ffn_down.weight', [feedForward, hidden], true],
    ['attn_q.bias', [query], false],
    ['attn_k.bias', [keyValue], false],
    ['attn_v.bias', [keyValue], false],
    ...(variant.attentionOutputBias ? ([['attn_output.bias', [hidden], false]] as const) : []),
    ...(variant.feedForwardBias
      ? ([
          ['ffn_gate.bias', [feedForward], false],
          ['ffn_up.bias', [feedForward], false],
          ['ffn_down.bias', [hidden], false],
        ] as const)
      : []),
    ...(variant.headNorms
      ? ([
          ['attn_q_norm.weight', [headSize], true],
          ['attn_k_norm.weight', [headSize], true],
        ] as const)
      : []),
  ];
}

function checkShape(tensor: GgufTensor, expected: readonly number[], path: string): void {
  const dimensions = Math.max(tensor.shape.length, expected.length);
  for (let index = 0; index < dimensions; index++)
    if ((tensor.shape[index] ?? 1) !== (expected[index] ?? 1))
      throw new ButterflyError(
        'MODEL_CORRUPT',
        `${path}: tensor "${tensor.name}" has the shape ${tensor.shape.join(' x ')}, and the metadata implies ${expected.join(' x ')}. Convert the model again.`,
      );
}

/** Norms, biases and rope factors enter element-wise operations, which take F32; all else is multiplied by. */
function checkType(tensor: GgufTensor, path: string): void {
  const type = ggmlTypes.get(tensor.type);
  const isMatrix = tensor.name === 'token_embd.weight' || (tensor.shape[1] ?? 1) > 1;
  const usable = isMatrix ? type !== undefined && isWeightType(type) : type?.name === 'F32';
  if (usable) return;
  throw new ButterflyError(
    'MODEL_UNSUPPORTED',
    `${path}: tensor "${tensor.name}" is stored as ${tensor.typeName}, which cannot be computed with. Quantise the model again.`,
  );
}
