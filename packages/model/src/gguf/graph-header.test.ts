import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { HeaderModel, dtype, loadGgml } from '@butterfly/ggml';
import { silentLogger } from '@butterfly/common';
import { architectureFixtures, writeArchitectureModel } from '@butterfly/testkit';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type GgufFile, openGguf } from './gguf-file.js';
import { architectureEntries, graphHeader } from './graph-header.js';
import { parseGgufHeader } from './header.js';

const architecture = 'qwen3moe';
const vocabulary = 320;
let folder: string;
let gguf: GgufFile;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'butterfly-header-'));
  const [fixture] = architectureFixtures().filter(({ name }) => name === architecture);
  if (!fixture) throw new RangeError('there is no such fixture');
  await writeArchitectureModel(join(folder, 'model.gguf'), fixture, 'Q8_0');
  gguf = await openGguf(join(folder, 'model.gguf'));
});
afterAll(() => rm(folder, { recursive: true }));

function headerOf(tensors: GgufFile['tensors'] = gguf.tensors): Buffer {
  const { metadata, keys } = architectureEntries(gguf.entries, architecture);
  return graphHeader({ architecture, vocabulary, metadata, metadataKeys: keys, tensors });
}

describe('architectureEntries', () => {
  const entries = (...keys: string[]) => new Map(keys.map((key) => [key, Buffer.from(`${key};`)]));
  const kept = (keys: readonly string[]) => {
    const { metadata, keys: count } = architectureEntries(entries(...keys), 'qwen3');
    return [metadata.toString(), count];
  };

  it('keeps the keys of the architecture, and no other one that begins like it', () => {
    expect(
      kept(['general.name', 'qwen3.block_count', 'qwen3moe.block_count', 'tokenizer.ggml.tokens']),
    ).toEqual(['qwen3.block_count;', 1]);
  });

  it('keeps what llama.cpp reads under no architecture', () => {
    expect(kept(['xielu.eps', 'qwen3.x', 'tokenizer.ggml.token_type_count'])).toEqual([
      'xielu.eps;qwen3.x;tokenizer.ggml.token_type_count;',
      3,
    ]);
  });

  it('leaves the size of the vocabulary to whoever knows it', () => {
    expect(kept(['qwen3.vocab_size'])).toEqual(['', 0]);
  });
});

describe('graphHeader', () => {
  it('is read back with the keys and tensors of the file, and no vocabulary', () => {
    const header = headerOf();
    const dataBytes = gguf.tensors.reduce((sum, { bytes }) => sum + Math.ceil(bytes / 32) * 32, 0);
    const parsed = parseGgufHeader(header, header.length + dataBytes, 'header');
    if (typeof parsed === 'number') throw new RangeError('the header is longer than itself');
    const { metadata, tensors } = parsed;
    const own = [...gguf.metadata].filter(([key]) => key.startsWith(`${architecture}.`));
    expect(own.length).toBeGreaterThan(10);
    for (const [key, value] of own) expect(metadata.get(key)).toEqual(value);
    expect(metadata.get(`${architecture}.vocab_size`)).toBe(vocabulary);
    expect(metadata.get('tokenizer.ggml.model')).toBe('none');
    expect(metadata.has('tokenizer.ggml.tokens')).toBe(false);
    expect(tensors.map(({ name, shape, type }) => ({ name, shape, type }))).toEqual(
      gguf.tensors.map(({ name, shape, type }) => ({ name, shape, type })),
    );
  });

  it('is what llama.cpp builds a graph from', () => {
    using model = new HeaderModel(loadGgml({ log: silentLogger }), {
      header: headerOf(),
      contextTokens: 512,
      rowsMax: 4,
      cacheType: dtype.F16,
    });
    expect(model.layers).toBe(gguf.metadata.get(`${architecture}.block_count`));
    const nodes = model.graph(4, 1).nodes();
    expect(nodes.filter(({ op }) => op === 'FLASH_ATTN_EXT')).toHaveLength(model.layers);
    expect(nodes.at(-1)?.shape).toEqual([vocabulary, 1, 1, 1]);
  });

  it('lacks a tensor that the file lacks, which llama.cpp names', () => {
    const header = headerOf(gguf.tensors.filter(({ name }) => name !== 'output_norm.weight'));
    const open = (): HeaderModel =>
      new HeaderModel(loadGgml({ log: silentLogger }), {
        header,
        contextTokens: 512,
        rowsMax: 4,
        cacheType: dtype.F16,
      });
    expect(open).toThrow(
      expect.objectContaining({
        code: 'MODEL_UNSUPPORTED',
        message: expect.stringContaining('output_norm.weight') as unknown,
      }),
    );
  });
});
