import { limits, parseConfig } from '@butterfly/common';
import { poolings, roomBlockSlots } from '@butterfly/wire';
import { z } from 'zod';

/** Architectures whose graphs are built here; those of all others are llama.cpp's. */
export const familyArchitectures = ['llama', 'qwen2', 'qwen3'] as const;
export type FamilyArchitecture = (typeof familyArchitectures)[number];

/** LLAMA_MAX_LAYERS of llama.cpp. */
export const layersMax = 512;

const count = z
  .int()
  .min(1)
  .max(2 ** 31 - 1);
const bytes = z.int().min(0);
const token = z.int().min(0).nullable();

const ropeSchema = z.object({
  /** Elements of a head that are rotated; always the whole head. */
  dimensions: count,
  base: z.number().positive(),
  /** How pairs are formed: neighbours, or halves of the head. */
  kind: z.enum(['norm', 'neox']),
  /** What ggml_rope_ext takes, computed in F32 as llama.cpp does. */
  scaling: z.object({
    kind: z.enum(['none', 'linear', 'yarn']),
    /** How many times longer the context became; 1 without scaling. */
    factor: z.number().positive(),
    frequencyScale: z.number().positive(),
    originalContext: count,
    extFactor: z.number().min(0),
    attentionFactor: z.number().positive(),
    betaFast: z.number(),
    betaSlow: z.number(),
  }),
  /** Whether `rope_freqs.weight` divides the frequencies. */
  hasFactors: z.boolean(),
});

const tokenizerSchema = z.object({
  /** As in `tokenizer.ggml.model`, such as `llama` or `gpt2`; null for a model without one. */
  model: z.string().nullable(),
  /** How text is split before merging, as in `tokenizer.ggml.pre`. */
  pre: z.string().nullable(),
  bos: token,
  eos: token,
  eot: token,
  unknown: token,
  padding: token,
  addsBos: z.boolean().nullable(),
  addsEos: z.boolean().nullable(),
  /** Jinja source. */
  chatTemplate: z.string().nullable(),
  /** What a reranker reads, with `{query}` and `{document}` in it. */
  rerankTemplate: z.string().nullable(),
});

const hash = z.string().regex(/^[0-9a-f]{64}$/u);

const fileSchema = z.object({
  path: z.string(),
  bytes,
  metadataBytes: bytes,
  metadataSha256: hash,
  /** Over samples of its tensors; see `sampleWeights`. */
  weightsSha256: hash,
  /** Of the file of the orchestrator; see `fileStamp`. */
  stamp: z.string().min(1).max(256),
});

const tensorSchema = z.object({
  name: z.string(),
  type: z.int().min(0),
  typeName: z.string(),
  shape: z.array(count).min(1).max(4),
  fileIndex: z.int().min(0),
  offset: bytes,
  bytes: z.int().min(1),
});

/** What a layer keeps of each token: keys and values of its attention. */
const attentionSchema = z
  .object({
    heads: count,
    /** Divides `heads`. */
    kvHeads: count,
    /** Elements of a head of queries and keys. */
    keySize: count,
    /** Elements of a head of values; 0 where they are a part of the keys (multi-head latent attention). */
    valueSize: z
      .int()
      .min(0)
      .max(2 ** 31 - 1),
    /** How far it sees: to the beginning, so many tokens back, or to the beginning of its chunk of so many. */
    window: z
      .discriminatedUnion('kind', [
        z.object({ kind: z.literal('sliding'), tokens: count }),
        /** Half of so many tokens to each side. */
        z.object({ kind: z.literal('symmetric'), tokens: count }),
        z.object({ kind: z.literal('chunked'), tokens: count }),
      ])
      .nullable(),
  })
  .refine(({ heads, kvHeads }) => heads % kvHeads === 0, 'heads is no multiple of kvHeads');

/** What a model makes of a text as a whole. */
const embeddingSchema = z.object({
  /** As its file says; null where it says nothing of use. */
  pooling: z.enum(poolings).nullable(),
  /** Numbers of an embedding. */
  width: count,
  /** Of a model with a head that scores texts: what of the rows that head takes, and how many scores it gives; else null. */
  ranks: z.object({ takes: z.enum(['mean', 'first', 'last']), scores: count }).nullable(),
});

/** A model whose graph is built here (see `LlamaFamilyBuilder`). */
const familySchema = z.object({
  kind: z.literal('family'),
  family: z.enum(familyArchitectures),
  heads: count,
  /** Divides `heads`. */
  kvHeads: count,
  headSize: count,
  feedForward: count,
  normEpsilon: z.number().positive(),
  rope: ropeSchema,
});

/** What a layer keeps of a sequence: F32 [width]. */
const stateSchema = z.object({
  /** As llama.cpp calls it, without the number of the layer. */
  name: z.string().min(1).max(63),
  width: count,
});

/** A model whose graph llama.cpp builds from its metadata. */
const importedSchema = z.object({
  kind: z.literal('imported'),
  /** The keys of its architecture with their types and values as in the file (GGUF), in Base64. */
  metadata: z.base64().max(2 ** 20),
  metadataKeys: z.int().min(1).max(4096),
  /** Of a sequence; some models compute otherwise where it is longer than their original one. */
  contextTokens: count,
  /** What each layer keeps of a sequence beside keys and values, however long it is. */
  states: z.array(z.array(stateSchema).max(8)).max(layersMax),
  /** Slots of states that each stage has; 0 for a model without. See `SequenceState`. */
  stateSlots: z
    .int()
    .min(0)
    .max(2 ** 16),
  /**
   * Where layers with a sliding window keep what it needs, if not the whole context as other layers; null where they keep
   * all. See `SequenceWindow`.
   */
  windows: z
    .object({
      windowTokens: count,
      rooms: count.max(2 ** 12),
      roomSlots: count.multipleOf(roomBlockSlots),
    })
    .nullable(),
  /** Experts of each layer that has such, and how many of them compute a token; null without. */
  experts: z.object({ count, used: count }).nullable(),
  /**
   * What queries are multiplied by that stand far behind (llama.cpp's `inp_attn_scale`):
   * log(floor((position + offset) / floorScale) + 1) * scale + 1.
   */
  temperature: z
    .object({ floorScale: z.number().positive(), scale: z.number(), offset: z.number() })
    .nullable(),
  /**
   * The layer behind the last that predicts the token after the next one (NextN, MTP), and whether it guesses. Null without one
   * that can.
   */
  head: z
    .object({
      attention: attentionSchema,
      /** All that it uses. */
      tensors: z.array(z.string()).max(64),
      isOn: z.boolean(),
    })
    .nullable(),
});

const shapeSchema = z.object({
  /** As in `general.architecture`. */
  architecture: z.string().min(1).max(64),
  layers: count.max(layersMax),
  /** Numbers of the embedding of a token. */
  hidden: count,
  /**
   * Of each cut between two layers, F32 numbers of each row that cross it; null where layers cannot be parted, as those
   * that read what an earlier one cached.
   */
  crossings: z.array(count.nullable()).max(layersMax - 1),
  /** Layers behind the first that read token ids too, ascending. */
  tokenLayers: z
    .array(
      z
        .int()
        .min(1)
        .max(layersMax - 1),
    )
    .max(layersMax - 1),
  /** Number of tokens. */
  vocabulary: count,
  /**
   * Whether tokens see those that come later: nothing is cached, a text goes through in one step, and what comes out is an
   * embedding and no token.
   */
  isEncoder: z.boolean(),
  /** Null for a model of which no embedding can be had. */
  embedding: embeddingSchema.nullable(),
  /** Tokens of the context in training. */
  contextTrained: count,
  /** What each layer caches; null for one that attends to nothing, or to what an earlier one caches. */
  attention: z.array(attentionSchema.nullable()).min(1).max(layersMax),
  /**
   * Which layers use a tensor that belongs to none, such as the embedding, or that none uses; without an entry, one that
   * belongs to no layer serves all.
   */
  sharedTensors: z.record(z.string(), z.array(z.int().min(0)).max(layersMax)),
  /** Whether the token embedding is also the output matrix. */
  tiedEmbeddings: z.boolean(),
  graph: z.discriminatedUnion('kind', [familySchema, importedSchema]),
});

/** Everything that a planner, a loader and a graph builder need to know of a model. Travels as JSON. */
export const modelSpecSchema = shapeSchema
  .extend({
    name: z.string(),
    tokenizer: tokenizerSchema,
    files: z.array(fileSchema).min(1).max(limits.modelFilesMax),
    tensors: z.array(tensorSchema).min(1).max(limits.ggufTensorsMax),
  })
  .refine((spec) => spec.attention.length === spec.layers, 'the attention of some layers is not told')
  .refine((spec) => spec.crossings.length === spec.layers - 1, 'what crosses some cuts is not told')
  .refine(
    (spec) =>
      spec.tensors.every(
        ({ fileIndex, offset, bytes: size }) => offset + size <= (spec.files[fileIndex]?.bytes ?? 0),
      ),
    'a tensor lies outside its file',
  );

/** The arithmetic of a model without its name, files and tensors. */
export type ModelShape = Readonly<z.output<typeof shapeSchema>>;
export type ModelSpec = Readonly<z.output<typeof modelSpecSchema>>;
export type FamilyGraph = Extract<ModelSpec['graph'], { kind: 'family' }>;
export type ImportedGraphSpec = Extract<ModelSpec['graph'], { kind: 'imported' }>;
export type LayerAttention = NonNullable<ModelSpec['attention'][number]>;
export type HeadSpec = NonNullable<ImportedGraphSpec['head']>;
export type WindowsOfModel = NonNullable<ImportedGraphSpec['windows']>;
export type EmbeddingSpec = NonNullable<ModelSpec['embedding']>;
export type LayerState = ImportedGraphSpec['states'][number][number];
export type RopeSpec = FamilyGraph['rope'];
export type TokenizerSpec = ModelSpec['tokenizer'];
export type ModelFile = ModelSpec['files'][number];
export type ModelTensor = ModelSpec['tensors'][number];

/**
 * What tells a model's weights from all others, wherever its files lie: of each file its size, the hashes of its metadata
 * and of samples of its weights, and the stamp that it has where it is served from. The stamp is what samples are not: it
 * changes with every byte. Made of plain values, to be hashed or put into JSON.
 */
export function modelFingerprint({
  files,
}: Pick<ModelSpec, 'files'>): (readonly [
  bytes: number,
  metadataSha256: string,
  weightsSha256: string,
  stamp: string,
])[] {
  return files.map(({ bytes: size, metadataSha256, weightsSha256, stamp }) => [
    size,
    metadataSha256,
    weightsSha256,
    stamp,
  ]);
}

/**
 * Validates a spec that came over the wire.
 * @throws ButterflyError CONFIG_INVALID
 */
export function parseModelSpec(value: unknown): ModelSpec {
  return parseConfig(modelSpecSchema, value, 'model spec');
}
