import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readGgufFileInfo } from 'node-llama-cpp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openOracle } from '../oracle.js';
import { successorsOf, type SyntheticModelOptions } from './shape.js';
import { writeSyntheticModel } from './write-model.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'butterfly-writer-'));
});
afterAll(() => rm(folder, { recursive: true }));

const base: SyntheticModelOptions = {
  architecture: 'llama',
  layers: 2,
  hidden: 256,
  heads: 4,
  kvHeads: 2,
  headSize: 64,
  feedForward: 512,
  vocabulary: 700,
  tiedEmbeddings: false,
  type: 'Q8_0',
  seed: 7,
  contextTrained: 256,
};

let files = 0;
async function write(changes: Partial<SyntheticModelOptions> = {}) {
  const written = await writeSyntheticModel(join(folder, `model-${++files}.gguf`), { ...base, ...changes });
  return { ...written, path: written.paths[0] ?? '' };
}

/** Logits after a short text, as llama.cpp computes them. */
async function logits(path: string): Promise<Float32Array> {
  await using oracle = await openOracle(path, { threads: 1, contextTokens: 256 });
  const tokens = oracle.tokenize('Hello there, the other 🙂 world', true);
  expect(oracle.detokenize(tokens, false).trim()).toBe('Hello there, the other 🙂 world');
  expect(tokens.length).toBeLessThan(40);
  const [result = new Float32Array(0)] = await oracle.logits(tokens, []);
  return result;
}

describe('a synthetic model runs in llama.cpp with sane activations', () => {
  it.each<[string, Partial<SyntheticModelOptions>]>([
    ['F32', { type: 'F32' }],
    ['F16', { type: 'F16' }],
    ['Q8_0', {}],
    ['Q4_0', { type: 'Q4_0' }],
    ['Q4_K', { type: 'Q4_K' }],
    ['Q6_K', { type: 'Q6_K' }],
    ['qwen2', { architecture: 'qwen2', tiedEmbeddings: true }],
    ['qwen3', { architecture: 'qwen3', headSize: 96 }],
    ['tied embeddings', { tiedEmbeddings: true }],
    ['biases and rope factors', { biases: true, ropeFactors: true }],
    ['linear scaling', { ropeScaling: { type: 'linear', factor: 4 } }],
    ['yarn', { ropeScaling: { type: 'yarn', factor: 4, originalContext: 64 }, ropeBase: 1e6 }],
    ['three files', { split: 3 }],
    ['the smallest vocabulary', { vocabulary: 300 }],
  ])('%s', async (_, changes) => {
    const { path } = await write(changes);
    const values = await logits(path);
    expect(values).toHaveLength(changes.vocabulary ?? base.vocabulary);
    const largest = Math.max(...values);
    expect(largest).toBeGreaterThan(0.5);
    expect(largest).toBeLessThan(20);
  });
});

it('has the metadata and tensors that were asked for', async () => {
  const { path } = await write({ chatTemplate: '{{ messages }}' });
  const info = await readGgufFileInfo(path, { logWarnings: false });
  expect(info.metadata.general.architecture).toBe('llama');
  expect(info.metadata.tokenizer.chat_template).toBe('{{ messages }}');
  expect(info.metadata.tokenizer.ggml.tokens).toHaveLength(700);
  expect(info.tensorInfo?.map(({ name }) => name).slice(0, 2)).toEqual([
    'token_embd.weight',
    'blk.0.attn_norm.weight',
  ]);
});

it('writes the same bytes for the same options, and others for another seed', async () => {
  const [first, second, other] = await Promise.all([write(), write(), write({ seed: 8 })]);
  const bytes = await readFile(first.path);
  expect(bytes.equals(await readFile(second.path))).toBe(true);
  expect(bytes.equals(await readFile(other.path))).toBe(false);
});

it('has the same weights however it is split', async () => {
  const [whole, split] = [await write(), await write({ split: 4 })];
  expect(split.paths.map((path) => path.slice(-20))).toEqual([
    '-00001-of-00004.gguf',
    '-00002-of-00004.gguf',
    '-00003-of-00004.gguf',
    '-00004-of-00004.gguf',
  ]);
  expect(await logits(split.path)).toEqual(await logits(whole.path));
});

it('says which matrices could not take the wanted type', async () => {
  const { fallbacks } = await write({ type: 'Q4_K', layers: 1, feedForward: 320 });
  expect(fallbacks).toEqual([{ name: 'blk.0.ffn_down.weight', type: 'Q8_0' }]);
  const odd = await write({ type: 'Q4_0', layers: 1, feedForward: 172 });
  expect(odd.fallbacks).toEqual([{ name: 'blk.0.ffn_down.weight', type: 'F32' }]);
});

it.each<[string, Partial<SyntheticModelOptions>]>([
  ['heads that the key-value heads do not divide', { kvHeads: 3 }],
  ['heads that are odd', { headSize: 63 }],
  ['a qwen2 whose heads are not its hidden size', { architecture: 'qwen2', headSize: 32 }],
  ['more files than tensors', { split: 1000 }],
  ['a vocabulary that is too small', { vocabulary: 10 }],
  ['options of another architecture', { architecture: 'qwen3', ropeFactors: true }],
])('refuses %s', async (_, changes) => {
  await expect(write(changes)).rejects.toMatchObject({ code: 'COMPUTE_INVALID' });
});

describe('a model of circles', () => {
  it('says the successor of each token, in llama.cpp', async () => {
    const circleTokens = 12;
    const { path } = await write({ type: 'Q4_0', circleTokens });
    await using oracle = await openOracle(path, { threads: 1, contextTokens: 256 });
    const { after, before } = successorsOf(circleTokens, base.vocabulary);
    for (const start of [304, 345, 349, 350, 690]) {
      const said = [after(start)];
      while (said.length < 30) said.push(after(said.at(-1) ?? 0));
      expect(await oracle.greedy([1, start], 30)).toEqual(said);
      expect(before(after(start))).toBe(start);
      expect(said.includes(start)).toBe(start < 350);
    }
  });

  it('needs embeddings that are not tied', async () => {
    await expect(write({ circleTokens: 12, tiedEmbeddings: true })).rejects.toThrow(/tied/);
  });
});
