import { writeFile } from 'node:fs/promises';
import { loadQuantizer } from '@butterfly/ggml';
import { type MetadataEntry, type TensorEntry, encodeGgufHeader } from '@butterfly/testkit';
import type { ModelShape, ParameterPlan } from './shape.js';

/** Number of the ggml type and of `general.file_type` for each precision that a model can be written in. */
export const precisions = {
  F32: { type: 0, fileType: 0 },
  Q8_0: { type: 8, fileType: 7 },
  Q4_0: { type: 2, fileType: 2 },
} as const;
export type Precision = keyof typeof precisions;

const alignment = 32;

/** A weight with its values. */
export interface Weight {
  readonly plan: ParameterPlan;
  readonly values: Float32Array;
}

export interface ModelContent {
  readonly shape: ModelShape;
  readonly tokenizer: Readonly<Record<string, MetadataEntry>>;
  /** None for a file with the tokenizer alone. */
  readonly weights: readonly Weight[];
}

/** Writes a GGUF file. Matrices take the precision, vectors stay F32. */
export async function writeModel(path: string, content: ModelContent, precision: Precision): Promise<void> {
  const quantize = loadQuantizer();
  let offset = 0;
  const tensors = content.weights.map(({ plan, values }) => {
    const { columns, rows, name } = plan;
    const type = rows === null ? precisions.F32.type : precisions[precision].type;
    const data = quantize(type, values, rows ?? 1, columns);
    const entry: TensorEntry = { name, type, shape: rows === null ? [columns] : [columns, rows], offset };
    const padded: Uint8Array = new Uint8Array(Math.ceil(data.length / alignment) * alignment);
    padded.set(data);
    offset += padded.length;
    return { entry, padded };
  });
  const header = encodeGgufHeader(
    modelMetadata(content, precision),
    tensors.map(({ entry }) => entry),
  );
  const parts: Uint8Array[] = [header, ...tensors.map(({ padded }) => padded)];
  await writeFile(path, Buffer.concat(parts));
}

function modelMetadata(
  { shape, tokenizer }: ModelContent,
  precision: Precision,
): Record<string, MetadataEntry> {
  const u32 = (value: number): MetadataEntry => ({ type: 'u32', value });
  const f32 = (value: number): MetadataEntry => ({ type: 'f32', value });
  const text = (value: string): MetadataEntry => ({ type: 'string', value });
  return {
    'general.architecture': text('llama'),
    'general.name': text('Butterfly Stories'),
    'general.license': text('mit'),
    'general.file_type': u32(precisions[precision].fileType),
    'general.quantization_version': u32(2),
    'llama.block_count': u32(shape.layers),
    'llama.context_length': u32(shape.context),
    'llama.embedding_length': u32(shape.hidden),
    'llama.feed_forward_length': u32(shape.feedForward),
    'llama.attention.head_count': u32(shape.heads),
    'llama.attention.head_count_kv': u32(shape.heads),
    'llama.attention.layer_norm_rms_epsilon': f32(shape.normEpsilon),
    'llama.rope.dimension_count': u32(shape.hidden / shape.heads),
    'llama.rope.freq_base': f32(shape.ropeBase),
    'llama.vocab_size': u32(shape.vocabulary),
    ...tokenizer,
  };
}
