import { basename } from 'node:path';
import { ButterflyError } from '@butterfly/common';
import type { Pooling } from '@butterfly/wire';
import type { GgufFile } from '../gguf/gguf-file.js';
import type { Metadata } from '../gguf/header.js';
import { MetadataReader } from '../gguf/metadata-reader.js';
import { readRope } from './rope.js';
import { familyArchitectures, layersMax, modelSpecSchema } from './spec.js';
import type { FamilyArchitecture, FamilyGraph, ModelShape, ModelSpec, TokenizerSpec } from './spec.js';
import { checkTensors } from './tensor-table.js';

/** Keys that change the arithmetic of a layer in ways no builder knows, unless they have this neutral value. */
const neutralValues: Readonly<Record<string, number | boolean>> = {
  expert_count: 0,
  expert_used_count: 0,
  nextn_predict_layers: 0,
  'attention.causal': true,
  'attention.max_alibi_bias': 0,
  'attention.clamp_kqv': 0,
  'attention.shared_kv_layers': 0,
  attn_logit_softcapping: 0,
  final_logit_softcapping: 0,
  logit_scale: 1,
  residual_scale: 1,
  embedding_scale: 1,
};

/**
 * Describes a model as llama.cpp would read it, and refuses what would run wrongly.
 * @throws ButterflyError MODEL_UNSUPPORTED, MODEL_CORRUPT
 */
export function describeFamilyModel(gguf: GgufFile): ModelSpec {
  const path = gguf.files[0]?.path ?? '';
  const architecture = readFamily(gguf.metadata, path);
  const { shape, graph } = readShape(
    gguf,
    architecture,
    new MetadataReader(gguf.metadata, architecture, path),
  );
  checkTensors(shape, graph, gguf.tensors, path);
  return specOf(gguf, shape);
}

/**
 * The spec of a model of this shape.
 * @throws ButterflyError MODEL_CORRUPT
 */
export function specOf(gguf: GgufFile, shape: ModelShape): ModelSpec {
  const path = gguf.files[0]?.path ?? '';
  const described = modelSpecSchema.safeParse({
    ...shape,
    name: textOf(gguf.metadata, 'general.name') ?? basename(path, '.gguf'),
    tokenizer: readTokenizer(gguf.metadata),
    files: gguf.files,
    tensors: gguf.tensors,
  });
  if (described.success) return described.data;
  const issue = described.error.issues[0];
  throw new ButterflyError(
    'MODEL_CORRUPT',
    `${path}: ${issue?.path.join('.') ?? ''} ${issue?.message ?? 'is invalid'}. Download or convert the model again.`,
  );
}

/** A text of the metadata; one that is blank is none, as writers leave it that have nothing to say. */
function textOf(metadata: Metadata, key: string): string | null {
  const value = metadata.get(key);
  return typeof value === 'string' && value.trim() !== '' ? value : null;
}

/**
 * The architecture that a file names.
 * @throws ButterflyError MODEL_UNSUPPORTED when there is none
 */
export function readArchitecture({ metadata, files }: GgufFile): string {
  const written = textOf(metadata, 'general.architecture');
  if (written !== null) return written;
  throw new ButterflyError(
    'MODEL_UNSUPPORTED',
    `${files[0]?.path ?? ''} names no architecture. Convert the model again.`,
  );
}

function readFamily(metadata: Metadata, path: string): FamilyArchitecture {
  const written = textOf(metadata, 'general.architecture');
  const known = familyArchitectures.find((architecture) => architecture === written);
  if (known !== undefined) return known;
  const found = written === null ? 'names no architecture' : `has the architecture "${written}"`;
  throw new ButterflyError(
    'MODEL_UNSUPPORTED',
    `${path} ${found}. Use a model of one of these: ${familyArchitectures.join(', ')}.`,
  );
}

function readShape(
  gguf: GgufFile,
  architecture: FamilyArchitecture,
  reader: MetadataReader,
): { readonly shape: ModelShape; readonly graph: FamilyGraph } {
  const layers = reader.requiredCount('block_count');
  if (layers > layersMax)
    throw reader.corrupt('block_count', `is ${layers}, and at most ${layersMax} make sense`);
  const hidden = reader.requiredCount('embedding_length');
  const heads = perLayer(reader, 'attention.head_count', layers);
  const kvHeads = reader.countOfAllLayers('attention.head_count_kv', layers) ?? heads;
  if (heads % kvHeads !== 0)
    throw reader.corrupt('attention.head_count_kv', `(${kvHeads}) does not divide ${heads} heads`);
  const headSize = readHeadSize(reader, { architecture, hidden, heads });
  const contextTrained = reader.requiredCount('context_length');
  refuseVariants(reader, { headSize, contextTrained });
  const normEpsilon = reader.number('attention.layer_norm_rms_epsilon');
  if (normEpsilon === undefined || normEpsilon <= 0)
    throw reader.corrupt('attention.layer_norm_rms_epsilon', 'is missing or not positive');
  const has = (name: string): boolean => gguf.tensors.some((tensor) => tensor.name === name);
  const graph: FamilyGraph = {
    kind: 'family',
    family: architecture,
    heads,
    kvHeads,
    headSize,
    feedForward: perLayer(reader, 'feed_forward_length', layers),
    normEpsilon,
    rope: readRope(reader, { architecture, headSize, contextTrained, hasFactors: has('rope_freqs.weight') }),
  };
  const tiedEmbeddings = !has('output.weight');
  const last = layers - 1;
  const attention = { heads, kvHeads, keySize: headSize, valueSize: headSize, window: null };
  const shape: ModelShape = {
    architecture,
    layers,
    hidden,
    crossings: Array.from({ length: layers - 1 }, () => hidden),
    tokenLayers: [],
    vocabulary: readVocabulary(gguf, reader),
    isEncoder: false,
    embedding: { pooling: readPooling(reader), width: hidden, ranks: null },
    contextTrained,
    attention: Array.from({ length: layers }, () => attention),
    sharedTensors: {
      'token_embd.weight': tiedEmbeddings ? [0, last] : [0],
      'output_norm.weight': [last],
      'output.weight': [last],
    },
    tiedEmbeddings,
    graph,
  };
  return { shape, graph };
}

function perLayer(reader: MetadataReader, key: string, layers: number): number {
  const value = reader.countOfAllLayers(key, layers);
  if (value === undefined) throw reader.corrupt(key, 'is missing');
  return value;
}

function readHeadSize(
  reader: MetadataReader,
  model: { readonly architecture: FamilyArchitecture; readonly hidden: number; readonly heads: number },
): number {
  const usual = Math.floor(model.hidden / model.heads);
  const keySize = reader.count('attention.key_length') ?? usual;
  const valueSize = reader.count('attention.value_length') ?? usual;
  if (keySize === 0)
    throw reader.corrupt('attention.head_count', `(${model.heads}) exceeds the embedding length`);
  if (keySize !== valueSize)
    throw reader.unsupported(`its keys (${keySize}) and values (${valueSize}) differ in size`);
  // llama.cpp reads qwen2 so.
  if (model.architecture === 'qwen2' && keySize * model.heads !== model.hidden)
    throw reader.unsupported(
      `its ${model.heads} heads of ${keySize} do not make up the embedding length ${model.hidden}`,
    );
  return keySize;
}

/** The number of tokens, as the tokenizer counts them, else the metadata, else the embedding. */
export function readVocabulary(gguf: GgufFile, reader: MetadataReader): number {
  const tokens = gguf.metadata.get('tokenizer.ggml.tokens');
  if (typeof tokens === 'object' && tokens.length > 0) return tokens.length;
  const embedding = gguf.tensors.find(({ name }) => name === 'token_embd.weight');
  return reader.count('vocab_size') ?? embedding?.shape[1] ?? 1;
}

/** `enum llama_pooling_type` by its values, as files have it. */
const poolingsOfFiles: readonly (Pooling | null)[] = [null, 'mean', 'cls', 'last', 'rank'];

/** How a file says that its embeddings are pooled; null where it does not, or not at all. */
export function readPooling(reader: MetadataReader): Pooling | null {
  return poolingsOfFiles[reader.number('pooling_type') ?? 0] ?? null;
}

function refuseVariants(
  reader: MetadataReader,
  model: { readonly headSize: number; readonly contextTrained: number },
): void {
  for (const [key, neutral] of Object.entries(neutralValues)) {
    const value = reader.own(key);
    if (value !== undefined && value !== neutral) throw reader.unsupported(`its ${key} is not ${neutral}`);
  }
  // Its head is in llama.cpp's graph.
  if (readPooling(reader) === 'rank') throw reader.unsupported('it scores texts');
  const window = reader.number('attention.sliding_window') ?? 0;
  // A window as long as the context hides nothing.
  if (window > 0 && window < model.contextTrained)
    throw reader.unsupported(`its attention sees ${window} tokens only`);
  const scale = reader.number('attention.scale') ?? 0;
  if (scale !== 0 && Math.fround(scale) !== Math.fround(1 / Math.fround(Math.sqrt(model.headSize))))
    throw reader.unsupported(`its attention is scaled by ${scale}`);
}

function readTokenizer(metadata: Metadata): TokenizerSpec {
  const text = (key: string): string | null => textOf(metadata, key);
  const token = (key: string): number | null => {
    const value = metadata.get(`tokenizer.ggml.${key}_token_id`);
    return typeof value === 'number' && Number.isInteger(value) && value >= 0 ? value : null;
  };
  const flag = (key: string): boolean | null => {
    const value = metadata.get(`tokenizer.ggml.${key}`);
    return typeof value === 'boolean' ? value : null;
  };
  const template = (name: string): string | null => {
    const source = text(`tokenizer.chat_template${name}`);
    return source?.trim() ? source : null;
  };
  return {
    model: text('tokenizer.ggml.model'),
    pre: text('tokenizer.ggml.pre'),
    bos: token('bos'),
    eos: token('eos'),
    eot: token('eot'),
    unknown: token('unknown'),
    padding: token('padding'),
    addsBos: flag('add_bos_token'),
    addsEos: flag('add_eos_token'),
    // A blank template says nothing, and would drop whole conversations.
    chatTemplate: template(''),
    rerankTemplate: template('.rerank'),
  };
}
