import { truncate, writeFile } from 'node:fs/promises';
import {
  type TensorEntry,
  architectureFixtures,
  architectureHeader,
  encodeGgufHeader,
} from '@butterfly/testkit';

const f32 = 0;
const q8 = 8;
/** Bytes of an element in Q8_0, in which 32 share a scale. */
const q8Bytes = 34 / 32;
const alignment = 32;

const layers = 61;
const denseLayers = 3;
const hidden = 7168;
const heads = 128;
const experts = 256;
const expertWidth = 2048;
const denseWidth = 18_432;
const [queryRank, valueRank] = [1536, 512];
/** Of a head: what is rotated, what is not, and values. */
const [rotated, unrotated, values] = [64, 128, 128];

const counts: Readonly<Record<string, number>> = {
  block_count: layers,
  context_length: 163_840,
  embedding_length: hidden,
  feed_forward_length: denseWidth,
  leading_dense_block_count: denseLayers,
  expert_feed_forward_length: expertWidth,
  expert_count: experts,
  expert_used_count: 8,
  expert_group_count: 8,
  expert_group_used_count: 4,
  'attention.head_count': heads,
  'attention.q_lora_rank': queryRank,
  'attention.kv_lora_rank': valueRank,
  'attention.key_length': valueRank + rotated,
  'attention.value_length': valueRank,
  'attention.key_length_mla': rotated + unrotated,
  'attention.value_length_mla': values,
  'rope.dimension_count': rotated,
};

type Shaped = readonly [name: string, ...shape: number[]];

/** Of a layer; the names are llama.cpp's. */
function layerShapes(layer: number): Shaped[] {
  const attention: Shaped[] = [
    ['attn_norm.weight', hidden],
    ['attn_q_a.weight', hidden, queryRank],
    ['attn_q_a_norm.weight', queryRank],
    ['attn_q_b.weight', queryRank, heads * (rotated + unrotated)],
    ['attn_kv_a_mqa.weight', hidden, valueRank + rotated],
    ['attn_kv_a_norm.weight', valueRank],
    ['attn_k_b.weight', unrotated, valueRank, heads],
    ['attn_v_b.weight', valueRank, values, heads],
    ['attn_output.weight', heads * values, hidden],
    ['ffn_norm.weight', hidden],
  ];
  if (layer < denseLayers) return [...attention, ...feedForward('', denseWidth)];
  return [
    ...attention,
    ['ffn_gate_inp.weight', hidden, experts],
    ['exp_probs_b.bias', experts],
    ...feedForward('_exps', expertWidth, experts),
    ...feedForward('_shexp', expertWidth),
  ];
}

function feedForward(suffix: string, width: number, ...count: readonly number[]): Shaped[] {
  return [
    [`ffn_gate${suffix}.weight`, hidden, width, ...count],
    [`ffn_up${suffix}.weight`, hidden, width, ...count],
    [`ffn_down${suffix}.weight`, width, hidden, ...count],
  ];
}

/**
 * Writes a model of the size of DeepSeek-V3 in Q8_0, but for its vocabulary: a header, and behind it a hole of some 700 GB
 * where its weights would be.
 * @returns bytes of the file
 */
export async function writeLargeModel(path: string): Promise<number> {
  const fixture = architectureFixtures().find(({ name }) => name === 'deepseek2');
  if (!fixture) throw new Error('There is no fixture deepseek2.');
  const small = architectureHeader(fixture, 'Q8_0').metadata;
  const own = Object.entries(counts).map(
    ([key, value]) => [`deepseek2.${key}`, { type: 'u32', value }] as const,
  );
  const vocabulary = 320;
  const shapes: Shaped[] = [
    ['token_embd.weight', hidden, vocabulary],
    ['output_norm.weight', hidden],
    ['output.weight', hidden, vocabulary],
    ...Array.from({ length: layers }, (_, layer) =>
      layerShapes(layer).map(([name, ...shape]): Shaped => [`blk.${layer}.${name}`, ...shape]),
    ).flat(),
  ];
  let offset = 0;
  const tensors = shapes.map(([name, ...shape]): TensorEntry => {
    const isPlain = shape.length === 1 || name.includes('ffn_gate_inp');
    const tensor = { name, type: isPlain ? f32 : q8, shape, offset };
    const elements = shape.reduce((product, each) => product * each, 1);
    offset += Math.ceil((elements * (isPlain ? 4 : q8Bytes)) / alignment) * alignment;
    return tensor;
  });
  const header = encodeGgufHeader({ ...small, ...Object.fromEntries(own) }, tensors);
  await writeFile(path, header);
  await truncate(path, header.length + offset);
  return header.length + offset;
}
