import { type GgufFile, type ModelSpec, activeParameterCount, parseModelSpec } from '@butterfly/model';
import { describe, expect, it } from 'vitest';
import { describeAny, describeImported, headerOf, servedSpec, surveyRequest } from './describe.js';
import { surveyModel } from './survey-model.js';
import { ggml, openFixture, useFixtures } from './testing/fixtures.js';

useFixtures();
const describeFile = (gguf: GgufFile): Promise<ModelSpec> =>
  describeAny(gguf, (request) => Promise.resolve(surveyModel(ggml, request)));
const described = async (...options: Parameters<typeof openFixture>): Promise<ModelSpec> =>
  describeFile(await openFixture(...options));
const refused = (code: string, words: string): Error =>
  expect.objectContaining({ code, message: expect.stringContaining(words) as unknown }) as Error;

describe('describeAny', () => {
  it('describes what llama.cpp builds, as it travels', async () => {
    const spec = await described('qwen3moe');
    expect(spec).toMatchObject({
      architecture: 'qwen3moe',
      layers: 6,
      hidden: 128,
      vocabulary: 320,
      contextTrained: 2048,
      graph: { kind: 'imported', contextTokens: 2048, experts: { count: 8, used: 3 }, temperature: null },
    });
    expect(spec.attention).toEqual(
      Array.from({ length: 6 }, () => ({
        heads: 4,
        kvHeads: 2,
        keySize: 32,
        valueSize: 32,
        window: null,
      })),
    );
    expect(parseModelSpec(JSON.parse(JSON.stringify(spec)))).toEqual(spec);
  });

  it('refuses few bits where ggml computes with F32 only, by name', async () => {
    const gguf = await openFixture('qwen3moe');
    const survey = surveyModel(ggml, surveyRequest(gguf));
    const withType = (name: string, type: number, typeName: string): GgufFile => ({
      ...gguf,
      tensors: gguf.tensors.map((tensor) => (tensor.name === name ? { ...tensor, type, typeName } : tensor)),
    });
    const norm = 'blk.1.attn_norm.weight';
    expect(survey.plainWeights).toContain(norm);
    expect(() => describeImported(withType(norm, 8, 'Q8_0'), survey)).toThrow(
      refused('MODEL_UNSUPPORTED', `${norm} is of type Q8_0`),
    );
    const router = 'blk.1.ffn_gate_inp.weight';
    expect(() => describeImported(withType(router, 8, 'Q8_0'), survey)).not.toThrow();
  });

  it('builds the header for stages as for the survey', async () => {
    const gguf = await openFixture('gemma3');
    expect(headerOf(await describeFile(gguf))).toEqual(surveyRequest(gguf).header);
  });

  it('needs no survey of a model whose graph is built here', async () => {
    const spec = await describeAny(await openFixture('qwen3'), () => Promise.reject(new Error('asked')));
    expect(spec.graph.kind).toBe('family');
    expect(() => headerOf(spec)).toThrow(refused('COMPUTE_INVALID', 'not llama.cpp'));
  });

  it('surveys a model of these families that has what is not built here', async () => {
    const spec = await described('qwen3', { final_logit_softcapping: { type: 'f32', value: 30 } });
    expect(spec.graph.kind).toBe('imported');
  });

  it('knows windows, and which layers have none', async () => {
    const { attention } = await described('gemma3');
    const windows = attention.map((layer) => layer?.window ?? null);
    expect(windows).toContainEqual({ kind: 'sliding', tokens: 16 });
    expect(windows).toContain(null);
  });

  it('knows that values of latent attention are a part of its keys', async () => {
    const { attention, graph } = await described('deepseek2');
    expect(attention[0]).toMatchObject({ heads: 4, kvHeads: 1, keySize: 96, valueSize: 0 });
    expect(graph).toMatchObject({ experts: { count: 8, used: 3 } });
  });

  it('counts the parameters of the experts that are chosen', async () => {
    const spec = await described('qwen3moe');
    const all = spec.tensors.reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b), 0);
    const ofExperts = 6 * 3 * 8 * 128 * 64;
    expect(all - activeParameterCount(spec)).toBe(ofExperts * (5 / 8));
  });

  it('has no experts in a model without', async () => {
    expect((await described('gemma3')).graph).toMatchObject({ experts: null });
  });

  it('loads no layer that predicts tokens beyond the next', async () => {
    const spec = await described('glm4moe', { nextn_predict_layers: { type: 'u32', value: 1 } });
    expect(spec.layers).toBe(5);
    const unused = Object.entries(spec.sharedTensors).filter(([, layers]) => layers.length === 0);
    expect(unused.map(([name]) => name)).toContain('blk.5.attn_q.weight');
    expect(spec.tensors.map(({ name }) => name)).toContain('blk.5.attn_q.weight');
  });
});

describe('servedSpec', () => {
  const usual = {
    contextTokens: 16_384,
    sequences: 4,
    checkpoints: 4,
    windowCache: 'auto',
    rowsMax: 512,
  } as const;
  const windowsOf = async (
    name: string,
    change: Partial<Parameters<typeof servedSpec>[1]>,
  ): Promise<unknown> => {
    const { graph } = servedSpec(await described(name), { ...usual, ...change });
    return graph.kind === 'imported' ? graph.windows : 'of the family';
  };

  it('gives windows rooms where these take at most half of what whole contexts take', async () => {
    // 16 tokens and 32 beside them, up to 255 before these, and 512 rows; for 16 sequences and 4 checkpoints.
    const rooms = { windowTokens: 16, rooms: 20, roomSlots: 1024 };
    expect(await windowsOf('gemma3', {})).toEqual(rooms);
    expect(await windowsOf('gemma3', { contextTokens: 10_240 })).toEqual(rooms);
    expect(await windowsOf('gemma3', { contextTokens: 9984 })).toBeNull();
    expect(await windowsOf('gemma3', { contextTokens: 9984, windowCache: 'window' })).toEqual(rooms);
    expect(await windowsOf('gemma3', { windowCache: 'full' })).toBeNull();
  });

  it.each([
    ['qwen3moe', 'without windows'],
    ['llama4', 'whose windows are chunks'],
    ['qwen35', 'with states'],
  ])('gives none to %s, a model %s', async (name) => {
    expect(await windowsOf(name, { windowCache: 'window' })).toBeNull();
  });
});

describe('what is not in the graph', () => {
  it('is known of llama4: chunks, and a temperature of queries', async () => {
    const { attention, graph } = await described('llama4');
    expect(attention.flatMap((layer) => layer?.window ?? [])).toContainEqual({
      kind: 'chunked',
      tokens: 8192,
    });
    expect(attention.map((layer) => layer?.window ?? null)).toContain(null);
    expect(graph).toMatchObject({
      temperature: { floorScale: 8192, scale: Math.fround(0.1), offset: 1 },
    });
  });

  it('is read of mistral3', async () => {
    const { graph } = await described('mistral3', {
      'attention.temperature_scale': { type: 'f32', value: 0.1 },
      'rope.scaling.original_context_length': { type: 'u32', value: 512 },
    });
    expect(graph).toMatchObject({ temperature: { floorScale: 512, scale: Math.fround(0.1), offset: 0 } });
  });

  it('is read of deepseek2', async () => {
    const { graph } = await described('deepseek2', {
      'attention.temperature_scale': { type: 'f32', value: 0.25 },
      'attention.temperature_length': { type: 'u32', value: 1024 },
    });
    expect(graph).toMatchObject({ temperature: { floorScale: 1024, scale: 0.25, offset: 0 } });
  });

  it.each(['mistral3', 'deepseek2'])('is nothing where %s has no such keys', async (name) => {
    expect((await described(name)).graph).toMatchObject({ temperature: null });
  });

  it('is refused where nobody knows by what queries are multiplied', async () => {
    const gguf = await openFixture('qwen3moe');
    const survey = surveyModel(ggml, surveyRequest(gguf));
    expect(() => describeImported(gguf, { ...survey, hasTemperature: true })).toThrow(
      refused('MODEL_UNSUPPORTED', 'scaled by their position'),
    );
  });

  it('is refused where tokens see those that come later', async () => {
    const changes = { 'attention.causal': { type: 'bool', value: false } } as const;
    await expect(described('qwen3moe', changes)).rejects.toThrow(
      refused('MODEL_UNSUPPORTED', 'see those that come later'),
    );
  });
});

describe('a tensor of another shape than the metadata want', () => {
  it.each([
    ['smaller', [64, 128]],
    ['larger', [128, 256]],
    ['of more dimensions', [128, 128, 2]],
  ])('is refused by name when it is %s', async (_, shape) => {
    const gguf = await openFixture('qwen3moe');
    const name = 'blk.1.attn_q.weight';
    const bytes = (shape.reduce((product, each) => product * each) / 32) * 34;
    const tensors = gguf.tensors.map((tensor) =>
      tensor.name === name ? { ...tensor, shape, bytes } : tensor,
    );
    await expect(describeFile({ ...gguf, tensors })).rejects.toThrow(refused('MODEL_CORRUPT', name));
  });
});
