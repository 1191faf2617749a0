import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type SyntheticModelOptions, cachedSyntheticModel, tinyModel } from '@butterfly/testkit';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { describeFamilyModel } from './describe.js';
import { openGguf } from '../gguf/gguf-file.js';
import type { GgufFile, GgufTensor } from '../gguf/gguf-file.js';
import type { MetadataValue } from '../gguf/header.js';
import { parseModelSpec, type FamilyGraph } from './spec.js';
import type { ModelSpec } from './spec.js';

const trained = fileURLToPath(new URL('../../../../../shared/models/aidreams-260k.gguf', import.meta.url));

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'butterfly-spec-'));
});
afterAll(() => rm(directory, { recursive: true }));

async function open(changes: Partial<SyntheticModelOptions> = {}): Promise<GgufFile> {
  return openGguf(await cachedSyntheticModel({ ...tinyModel, ...changes }, directory));
}

const described = async (changes: Partial<SyntheticModelOptions> = {}): Promise<ModelSpec> =>
  describeFamilyModel(await open(changes));

/** The tiny model with other metadata; undefined takes a key away. */
async function withMetadata(changes: Readonly<Record<string, MetadataValue | undefined>>): Promise<GgufFile> {
  const gguf = await open();
  const metadata = new Map(gguf.metadata);
  for (const [key, value] of Object.entries(changes))
    if (value === undefined) metadata.delete(key);
    else metadata.set(key, value);
  return { ...gguf, metadata };
}

async function withTensors(
  change: (tensors: readonly GgufTensor[]) => readonly GgufTensor[],
): Promise<GgufFile> {
  const gguf = await open();
  return { ...gguf, tensors: change(gguf.tensors) };
}

describe('describeFamilyModel', () => {
  it('describes the trained model', async () => {
    expect(describeFamilyModel(await openGguf(trained))).toMatchObject({
      name: 'aidreams',
      architecture: 'llama',
      layers: 4,
      hidden: 64,
      vocabulary: 512,
      contextTrained: 128,
      graph: {
        family: 'llama',
        heads: 4,
        kvHeads: 4,
        headSize: 16,
        feedForward: 172,
        rope: {
          dimensions: 16,
          base: 10_000,
          kind: 'norm',
          hasFactors: false,
          scaling: { kind: 'none', frequencyScale: 1 },
        },
      },
      tiedEmbeddings: false,
      tokenizer: { model: 'llama', bos: 1, eos: 2, unknown: 0, addsBos: true, chatTemplate: null },
    });
  });

  it.each<[string, Partial<SyntheticModelOptions>, object]>([
    [
      'llama',
      { tiedEmbeddings: false },
      { tiedEmbeddings: false, graph: { rope: { kind: 'norm', hasFactors: false } } },
    ],
    [
      'llama with all it may have',
      { biases: true, ropeFactors: true },
      { graph: { rope: { hasFactors: true } } },
    ],
    [
      'qwen2',
      { architecture: 'qwen2' },
      { graph: { rope: { kind: 'neox' } }, tokenizer: { model: 'gpt2', pre: 'qwen2', eos: 299 } },
    ],
    [
      'qwen3 with its own head size',
      { architecture: 'qwen3', headSize: 24 },
      { graph: { headSize: 24, rope: { kind: 'neox' } } },
    ],
    ['a blank chat template as none', { chatTemplate: ' \n' }, { tokenizer: { chatTemplate: null } }],
    ['an empty chat template as none', { chatTemplate: '' }, { tokenizer: { chatTemplate: null } }],
    ['a chat template', { chatTemplate: '{{ x }}' }, { tokenizer: { chatTemplate: '{{ x }}' } }],
  ])('describes %s', async (_, changes, expected) => {
    const { headSize, kvHeads, vocabulary, tiedEmbeddings } = { ...tinyModel, ...changes };
    const spec = await described(changes);
    expect(spec).toMatchObject(expected);
    expect(spec).toMatchObject({ graph: { headSize, kvHeads }, vocabulary, tiedEmbeddings });
    for (const layer of spec.attention)
      expect(layer).toMatchObject({ kvHeads, keySize: headSize, valueSize: headSize, window: null });
  });

  it('takes what llama.cpp takes by default', async () => {
    const spec = describeFamilyModel(
      await withMetadata({
        'llama.rope.freq_base': undefined,
        'llama.rope.dimension_count': undefined,
        'llama.attention.key_length': undefined,
        'llama.attention.value_length': undefined,
        'general.name': undefined,
      }),
    );
    expect(spec).toMatchObject({
      name: 'model',
      graph: { headSize: 16, rope: { base: 10_000, dimensions: 16 } },
    });
  });

  it.each(['', ' ', '\n'])('takes a text that is blank (%j) for none', async (blank) => {
    const spec = describeFamilyModel(
      await withMetadata({
        'general.name': blank,
        'tokenizer.chat_template': blank,
        'tokenizer.ggml.pre': blank,
        'llama.rope.scaling.type': blank,
        'llama.rope.scaling.factor': 4,
      }),
    );
    expect(spec).toMatchObject({
      name: 'model',
      tokenizer: { pre: null, chatTemplate: null },
      graph: { rope: { scaling: { kind: 'linear', factor: 4 } } },
    });
    const nameless = await withMetadata({ 'general.architecture': blank });
    expect(() => describeFamilyModel(nameless)).toThrow(/names no architecture/);
  });

  it('takes counts that are written for each layer', async () => {
    const each = (...values: number[]): MetadataValue => ({ kind: 'array', length: values.length, values });
    expect(
      describeFamilyModel(await withMetadata({ 'llama.attention.head_count': each(2, 2, 2) })),
    ).toMatchObject({
      graph: { heads: 2 },
    });
    const uneven = await withMetadata({ 'llama.attention.head_count_kv': each(1, 2, 1) });
    expect(() => describeFamilyModel(uneven)).toThrow(expect.objectContaining({ code: 'MODEL_UNSUPPORTED' }));
  });
});

describe('rope scaling', () => {
  const scaling = async (
    changes: Readonly<Record<string, MetadataValue>>,
  ): Promise<FamilyGraph['rope']['scaling']> => {
    const { graph } = describeFamilyModel(await withMetadata(changes));
    if (graph.kind !== 'family') throw new RangeError('This model is of the llama family.');
    return graph.rope.scaling;
  };

  it('is linear by default once there is a factor, under its old name too', async () => {
    const linear = { kind: 'linear', factor: 4, frequencyScale: 0.25, extFactor: 0, attentionFactor: 1 };
    expect(await scaling({ 'llama.rope.scaling.factor': 4 })).toMatchObject(linear);
    expect(await scaling({ 'llama.rope.scale_linear': 4 })).toMatchObject(linear);
    expect(
      await scaling({ 'llama.rope.scaling.factor': 4, 'llama.rope.scaling.type': 'none' }),
    ).toMatchObject({
      kind: 'none',
      frequencyScale: 1,
    });
  });

  it('with yarn cancels what ggml multiplies by itself', async () => {
    const yarn = await scaling({
      'llama.rope.scaling.type': 'yarn',
      'llama.rope.scaling.factor': 4,
      'llama.rope.scaling.original_context_length': 16,
    });
    expect(yarn).toMatchObject({
      kind: 'yarn',
      originalContext: 16,
      extFactor: 1,
      betaFast: 32,
      betaSlow: 1,
    });
    expect(yarn.attentionFactor).toBeCloseTo(1, 6);
    const scaled = await scaling({
      'llama.rope.scaling.type': 'yarn',
      'llama.rope.scaling.factor': 4,
      'llama.rope.scaling.attn_factor': 0.5,
    });
    expect(scaled.originalContext).toBe(tinyModel.contextTrained);
    expect(scaled.attentionFactor).toBeCloseTo(0.5, 6);
  });
});

describe('models that would run wrongly', () => {
  it.each<[string, Readonly<Record<string, MetadataValue | undefined>>, RegExp]>([
    ['another architecture', { 'general.architecture': 'mamba' }, /"mamba".*llama, qwen2, qwen3/u],
    ['no architecture', { 'general.architecture': undefined }, /names no architecture/u],
    ['experts', { 'llama.expert_count': 8 }, /expert_count/u],
    ['a sliding window', { 'llama.attention.sliding_window': 32 }, /sees 32 tokens/u],
    ['an attention scale', { 'llama.attention.scale': 0.5 }, /scaled by 0.5/u],
    ['a scale of its residuals', { 'llama.residual_scale': 0.2 }, /residual_scale/u],
    ['attention to what follows', { 'llama.attention.causal': false }, /causal/u],
    ['values of another size', { 'llama.attention.value_length': 8 }, /differ in size/u],
    ['partly rotated heads', { 'llama.rope.dimension_count': 8 }, /rotates 8 of the 16/u],
    ['another scaling', { 'llama.rope.scaling.type': 'longrope' }, /"longrope"/u],
  ])('are refused: %s', async (_, changes, message) => {
    const gguf = await withMetadata(changes);
    expect(() => describeFamilyModel(gguf)).toThrow(
      expect.objectContaining({
        code: 'MODEL_UNSUPPORTED',
        message: expect.stringMatching(message) as unknown,
      }),
    );
  });

  it('are not those whose variants change nothing', async () => {
    const neutral = {
      'llama.attention.sliding_window': 64,
      'llama.attention.scale': 0.25,
      'llama.expert_count': 0,
    };
    expect(describeFamilyModel(await withMetadata(neutral)).layers).toBe(3);
  });

  it('are refused for an unknown tensor', async () => {
    const extra = await withTensors(([first, ...rest]) =>
      first ? [first, ...rest, { ...first, name: 'blk.0.attn_gate.weight' }] : [],
    );
    expect(() => describeFamilyModel(extra)).toThrow(/blk\.0\.attn_gate\.weight/u);
  });

  it('are refused for weights in a type for other uses', async () => {
    const typed = await withTensors((tensors) =>
      tensors.map((tensor) => ({ ...tensor, type: 26, typeName: 'I32' })),
    );
    expect(() => describeFamilyModel(typed)).toThrow(expect.objectContaining({ code: 'MODEL_UNSUPPORTED' }));
  });
});

describe('models that contradict themselves', () => {
  it.each<[string, Readonly<Record<string, MetadataValue | undefined>>]>([
    ['layers missing', { 'llama.block_count': undefined }],
    ['absurdly many layers', { 'llama.block_count': 100_000 }],
    ['a count that is no number', { 'llama.embedding_length': 'many' }],
    ['a negative count', { 'llama.embedding_length': -1 }],
    ['heads that do not divide', { 'llama.attention.head_count': 2, 'llama.attention.head_count_kv': 3 }],
    ['another feed-forward', { 'llama.feed_forward_length': 128 }],
    ['another vocabulary', { 'tokenizer.ggml.tokens': { kind: 'array', length: 301, values: null } }],
    ['no norm epsilon', { 'llama.attention.layer_norm_rms_epsilon': undefined }],
    ['a rope base of nothing', { 'llama.rope.freq_base': 0 }],
    ['a scale that is infinite', { 'llama.rope.scaling.factor': Infinity }],
  ])('are refused: %s', async (_, changes) => {
    const gguf = await withMetadata(changes);
    expect(() => describeFamilyModel(gguf)).toThrow(expect.objectContaining({ code: 'MODEL_CORRUPT' }));
  });

  it('are refused for a missing tensor, by its name', async () => {
    const short = await withTensors((tensors) =>
      tensors.filter(({ name }) => name !== 'blk.1.ffn_up.weight'),
    );
    expect(() => describeFamilyModel(short)).toThrow(/lacks the tensor "blk\.1\.ffn_up\.weight"/u);
  });
});

describe('the spec over the wire', () => {
  it('comes out as it went in', async () => {
    const spec = await described({ architecture: 'qwen2', ropeScaling: { type: 'yarn', factor: 3 } });
    expect(parseModelSpec(JSON.parse(JSON.stringify(spec)))).toEqual(spec);
  });

  it('is refused where it is damaged', async () => {
    const spec = await described();
    for (const damaged of [
      { ...spec, layers: 0 },
      { ...spec, files: [] },
      { ...spec, attention: spec.attention.map((layer) => ({ ...layer, kvHeads: 5 })) },
      { ...spec, attention: spec.attention.slice(1) },
      null,
      'spec',
    ])
      expect(() => parseModelSpec(damaged)).toThrow(expect.objectContaining({ code: 'CONFIG_INVALID' }));
    const outside = { ...spec, tensors: spec.tensors.map((tensor) => ({ ...tensor, fileIndex: 7 })) };
    expect(() => parseModelSpec(outside)).toThrow('outside its file');
  });
});
