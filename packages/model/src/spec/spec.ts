import { limits, parseConfig } from '@butterfly/common';
import { z } from 'zod';

export const architectures = ['llama', 'qwen2', 'qwen3'] as const;
export type Architecture = (typeof architectures)[number];

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

const shapeSchema = z.object({
  architecture: z.enum(architectures),
  layers: count.max(layersMax),
  hidden: count,
  heads: count,
  /** Divides `heads`. */
  kvHeads: count,
  headSize: count,
  feedForward: count,
  /** Number of tokens. */
  vocabulary: count,
  /** Tokens of the context in training. */
  contextTrained: count,
  normEpsilon: z.number().positive(),
  rope: ropeSchema,
  /** Whether the token embedding is also the output matrix. */
  tiedEmbeddings: z.boolean(),
});

/** Everything that a planner, a loader and a graph builder need to know of a model. Travels as JSON. */
export const modelSpecSchema = shapeSchema
  .extend({
    name: z.string(),
    tokenizer: tokenizerSchema,
    files: z.array(fileSchema).min(1).max(limits.modelFilesMax),
    tensors: z.array(tensorSchema).min(1).max(limits.ggufTensorsMax),
  })
  .refine((spec) => spec.heads % spec.kvHeads === 0, 'heads is no multiple of kvHeads')
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
export type RopeSpec = ModelSpec['rope'];
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
