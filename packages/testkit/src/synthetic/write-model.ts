import { open } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { ensure } from '@butterfly/common';
import { type Quantize, loadQuantizer } from '@butterfly/ggml';
import { alignGguf, encodeGgufHeader } from './gguf-encoder.js';
import type { MetadataEntry, TensorEntry } from './gguf-encoder.js';
import { createRandom } from './random.js';
import { planTensors, plannedBytes, syntheticTypes } from './shape.js';
import type { PlannedTensor, SyntheticModelOptions, SyntheticType } from './shape.js';
import { syntheticTokenizer } from './vocabulary.js';

export interface WrittenModel {
  /** The first is the one to open. */
  readonly paths: readonly string[];
  /** Matrices whose rows are no whole blocks of the wanted type, and the type that they took instead. */
  readonly fallbacks: readonly { readonly name: string; readonly type: SyntheticType }[];
}

/** Weights made at once; bounds the memory whatever the model's size. */
const chunkElements = 1 << 20;

/**
 * Writes a model with random weights, the same bytes for the same options on every machine. When split, the parts
 * are named after `path`: `NAME-00001-of-00003.gguf`.
 * @throws ButterflyError COMPUTE_INVALID for a shape that no model can have
 */
export async function writeSyntheticModel(
  path: string,
  options: SyntheticModelOptions,
  quantize: Quantize = loadQuantizer(),
): Promise<WrittenModel> {
  const tensors = planTensors(options);
  const count = options.split ?? 1;
  ensure(
    Number.isInteger(count) && count > 0 && count <= tensors.length,
    () => `a model cannot be split into ${count} files`,
  );
  const paths = partPaths(path, count);
  for (const [index, partPath] of paths.entries()) {
    const first = Math.floor((index * tensors.length) / count);
    const part = tensors.slice(first, Math.floor(((index + 1) * tensors.length) / count));
    const metadata = {
      ...(index === 0 ? modelMetadata(options) : {}),
      ...(count > 1 ? splitMetadata(index, count, tensors.length) : {}),
    };
    await writePart(partPath, metadata, part, { seed: options.seed, quantize });
  }
  const fallbacks = tensors.filter(({ shape, type }) => shape.length > 1 && type !== options.type);
  return { paths, fallbacks: fallbacks.map(({ name, type }) => ({ name, type })) };
}

/** Where the files of a model go. */
function partPaths(path: string, count: number): string[] {
  if (count === 1) return [path];
  const digits = (value: number): string => String(value).padStart(5, '0');
  const prefix = path.replace(/\.gguf$/u, '');
  return Array.from(
    { length: count },
    (_, index) => `${prefix}-${digits(index + 1)}-of-${digits(count)}.gguf`,
  );
}

function splitMetadata(index: number, count: number, tensors: number): Record<string, MetadataEntry> {
  return {
    'split.no': { type: 'u16', value: index },
    'split.count': { type: 'u16', value: count },
    'split.tensors.count': { type: 'i32', value: tensors },
  };
}

function modelMetadata(options: SyntheticModelOptions): Record<string, MetadataEntry> {
  const own = (key: string): string => `${options.architecture}.${key}`;
  const u32 = (value: number): MetadataEntry => ({ type: 'u32', value });
  const f32 = (value: number): MetadataEntry => ({ type: 'f32', value });
  const text = (value: string): MetadataEntry => ({ type: 'string', value });
  const { ropeScaling } = options;
  return {
    'general.architecture': text(options.architecture),
    'general.name': text(`synthetic ${options.architecture} ${options.type} seed ${options.seed}`),
    'general.file_type': u32(syntheticTypes[options.type].fileType),
    'general.quantization_version': u32(2),
    [own('block_count')]: u32(options.layers),
    [own('context_length')]: u32(options.contextTrained),
    [own('embedding_length')]: u32(options.hidden),
    [own('feed_forward_length')]: u32(options.feedForward),
    [own('attention.head_count')]: u32(options.heads),
    [own('attention.head_count_kv')]: u32(options.kvHeads),
    [own('attention.key_length')]: u32(options.headSize),
    [own('attention.value_length')]: u32(options.headSize),
    [own('attention.layer_norm_rms_epsilon')]: f32(1e-5),
    [own('rope.dimension_count')]: u32(options.headSize),
    [own('rope.freq_base')]: f32(options.ropeBase ?? 10_000),
    ...(ropeScaling && {
      [own('rope.scaling.type')]: text(ropeScaling.type),
      [own('rope.scaling.factor')]: f32(ropeScaling.factor),
      ...(ropeScaling.originalContext !== undefined && {
        [own('rope.scaling.original_context_length')]: u32(ropeScaling.originalContext),
      }),
    }),
    [own('vocab_size')]: u32(options.vocabulary),
    ...syntheticTokenizer(options.architecture === 'llama' ? 'llama' : 'gpt2', options.vocabulary),
    ...(options.chatTemplate !== undefined && { 'tokenizer.chat_template': text(options.chatTemplate) }),
  };
}

interface WeightSource {
  readonly seed: number;
  readonly quantize: Quantize;
}

async function writePart(
  path: string,
  metadata: Readonly<Record<string, MetadataEntry>>,
  tensors: readonly PlannedTensor[],
  source: WeightSource,
): Promise<void> {
  let offset = 0;
  const table = tensors.map((tensor): TensorEntry => {
    const entry = { name: tensor.name, type: syntheticTypes[tensor.type].id, shape: tensor.shape, offset };
    offset = alignGguf(offset + plannedBytes(tensor));
    return entry;
  });
  const file = await open(path, 'w');
  try {
    await file.writeFile(encodeGgufHeader(metadata, table));
    for (const tensor of tensors) await writeTensor(file, tensor, source);
  } finally {
    await file.close();
  }
}

async function writeTensor(file: FileHandle, tensor: PlannedTensor, source: WeightSource): Promise<void> {
  const [columns = 0, rows = 1] = tensor.shape;
  const { id } = syntheticTypes[tensor.type];
  // By name: a tensor has the same weights whatever else the model has and however it is split.
  const random = createRandom(`${source.seed} ${tensor.name}`);
  const rowsAtOnce = Math.max(1, Math.floor(chunkElements / columns));
  for (let row = 0; row < rows; row += rowsAtOnce) {
    const chunkRows = Math.min(rowsAtOnce, rows - row);
    const values = new Float32Array(chunkRows * columns);
    if (tensor.rowKey)
      for (let index = 0; index < chunkRows; index++)
        createRandom(`${source.seed} ${tensor.rowKey(row + index)}`).fillNormal(
          values.subarray(index * columns, (index + 1) * columns),
          tensor.mean,
          tensor.deviation,
        );
    else random.fillNormal(values, tensor.mean, tensor.deviation);
    await file.writeFile(source.quantize(id, values, chunkRows, columns));
  }
  const bytes = plannedBytes(tensor);
  await file.writeFile(new Uint8Array(alignGguf(bytes) - bytes));
}
