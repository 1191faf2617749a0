import { readFile } from 'node:fs/promises';
import { setImmediate } from 'node:timers/promises';
import { ButterflyError, limits } from '@butterfly/common';
import { CpuBackend, Graph, type Tensor } from '@butterfly/ggml';
import { type ModelSpec, type StageWeights, arrangeWeights } from '@butterfly/model';
import { cachedSyntheticModel, tinyModel } from '@butterfly/testkit';
import type { TensorSource } from '@butterfly/weights';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { familyWeights } from '../stage-builder.js';
import { LoadedWeights } from './stage-weights.js';
import { describeFile, ggml, openSource } from '../testing/stages.js';

const backend = new CpuBackend(ggml, 1);
const reader = new Graph(ggml, 1);
let spec: ModelSpec;
beforeAll(async () => {
  spec = await describeFile(await cachedSyntheticModel(tinyModel));
});
afterAll(() => {
  reader[Symbol.dispose]();
  backend[Symbol.dispose]();
});

async function inFile(name: string): Promise<Buffer> {
  const tensor = spec.tensors.find((candidate) => candidate.name === name);
  if (!tensor) throw new RangeError(`there is no ${name}`);
  return (await readFile(spec.files[tensor.fileIndex]?.path ?? '')).subarray(
    tensor.offset,
    tensor.offset + tensor.bytes,
  );
}

const inMemory = (tensor: Tensor | null | undefined): Buffer =>
  tensor ? Buffer.from(reader.data(tensor)) : Buffer.alloc(0);

/** Says how it is asked, and gives nothing. */
class CountingSource implements TensorSource {
  readonly reads: number[] = [];
  underWay = 0;
  mostUnderWay = 0;

  constructor(private readonly fails: (read: number) => boolean = () => false) {}

  async read(_: unknown, offset: number, target: Uint8Array): Promise<void> {
    const isFailing = this.fails(this.reads.push(offset) - 1);
    this.underWay++;
    this.mostUnderWay = Math.max(this.mostUnderWay, this.underWay);
    await setImmediate();
    this.underWay--;
    if (isFailing) throw new ButterflyError('TIMEOUT', 'The test says so.');
    target.fill(1);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve();
  }
}

/** The model with an embedding of some chunks, of which no more than the description is made. */
function withLargeEmbedding(chunks: number): ModelSpec {
  const rows = Math.floor((limits.fileChunkBytesMax * chunks) / 34) - 1;
  return {
    ...spec,
    vocabulary: rows,
    tensors: spec.tensors.map((tensor) =>
      tensor.name === 'token_embd.weight' ? { ...tensor, shape: [32, rows], bytes: rows * 34 } : tensor,
    ),
  };
}

function load(model: ModelSpec, layerStart: number, layerEnd: number): LoadedWeights {
  return new LoadedWeights(backend, model, familyWeights(model, { layerStart, layerEnd }));
}

/** Its weights by role; of a model of three layers. */
function arranged(shard: LoadedWeights, layerStart: number, layerEnd: number): StageWeights {
  return arrangeWeights({ layerStart, layerEnd, layers: 3, tied: true }, ({ name, use }) =>
    shard.find(name, use),
  );
}

describe('LoadedWeights', () => {
  it('holds what the file holds, byte by byte, of exactly its layers', async () => {
    using shard = load(spec, 0, 2);
    await using source = await openSource(spec);
    const progress: number[] = [];
    await shard.load(source, (bytes) => progress.push(bytes));
    const { embedding, layers, head } = arranged(shard, 0, 2);
    expect(head).toBeNull();
    expect(layers).toHaveLength(2);
    expect(inMemory(embedding).equals(await inFile('token_embd.weight'))).toBe(true);
    for (const [i, layer] of layers.entries()) {
      expect(inMemory(layer.attentionNorm).equals(await inFile(`blk.${i}.attn_norm.weight`))).toBe(true);
      expect(inMemory(layer.feedForwardNorm).equals(await inFile(`blk.${i}.ffn_norm.weight`))).toBe(true);
      expect(layer.queryBias).toBeNull();
    }
    expect(progress.at(-1)).toBe(shard.fileBytes);
  });

  it('reads a tied embedding once where it is looked up and multiplied', () => {
    using whole = load(spec, 0, 3);
    using first = load(spec, 0, 1);
    using middle = load(spec, 1, 2);
    using last = load(spec, 2, 3);
    const embedding = spec.tensors.find(({ name }) => name === 'token_embd.weight')?.bytes ?? 0;
    expect(whole.fileBytes).toBe(first.fileBytes + middle.fileBytes + last.fileBytes - embedding);
    expect(arranged(middle, 1, 2)).toMatchObject({ embedding: null, head: null });
    expect(arranged(first, 0, 1).embedding?.pointer).not.toBe(arranged(whole, 0, 3).head?.output.pointer);
    expect(arranged(last, 2, 3).head?.output.shape).toEqual([32, 300, 1, 1]);
  });

  it('reads large tensors in pieces, a few at once, each once', async () => {
    const large = withLargeEmbedding(9);
    using shard = load(large, 0, 1);
    const source = new CountingSource();
    await shard.load(source, () => undefined);
    const pieces = source.reads.filter((offset) => offset % limits.fileChunkBytesMax === 0 && offset > 0);
    expect(pieces).toEqual(Array.from({ length: 8 }, (_, i) => (i + 1) * limits.fileChunkBytesMax));
    expect(source.mostUnderWay).toBe(limits.fileFetchesInFlightMax);
  });

  it('holds a tied embedding twice, each the same', async () => {
    using shard = load(spec, 0, 3);
    await using source = await openSource(spec);
    await shard.load(source, () => undefined);
    expect(inMemory(arranged(shard, 0, 3).embedding).equals(await inFile('token_embd.weight'))).toBe(true);
    expect(inMemory(arranged(shard, 0, 3).head?.norm).equals(await inFile('output_norm.weight'))).toBe(true);
  });

  it('stops reading when a piece fails, once none is under way', async () => {
    using shard = load(withLargeEmbedding(9), 0, 1);
    const source = new CountingSource((read) => read === 0);
    await expect(shard.load(source, () => undefined)).rejects.toThrow(
      expect.objectContaining({ code: 'TIMEOUT' }),
    );
    expect(source.underWay).toBe(0);
    expect(source.reads.length).toBeLessThanOrEqual(2 * limits.fileFetchesInFlightMax - 1);
  });

  it('stops when whoever hears of the progress says so', async () => {
    using shard = load(withLargeEmbedding(9), 0, 1);
    const source = new CountingSource();
    const loading = shard.load(source, () => {
      throw new ButterflyError('CANCELLED', 'Another plan.');
    });
    await expect(loading).rejects.toThrow(expect.objectContaining({ code: 'CANCELLED' }));
    expect(source.reads.length).toBe(limits.fileFetchesInFlightMax);
  });

  it.each([
    [0, 0],
    [2, 1],
    [0, 4],
    [-1, 2],
  ])('refuses layers %i to %i of 3', (layerStart, layerEnd) => {
    expect(() => load(spec, layerStart, layerEnd)).toThrow(
      expect.objectContaining({ code: 'COMPUTE_INVALID' }),
    );
  });

  it('says which tensor a model lacks', () => {
    const tensors = spec.tensors.filter(({ name }) => name !== 'blk.1.ffn_up.weight');
    using shard = load({ ...spec, tensors }, 0, 2);
    expect(() => arranged(shard, 0, 2)).toThrow(
      expect.objectContaining({
        code: 'MODEL_CORRUPT',
        message: expect.stringMatching(/blk\.1\.ffn_up\.weight/) as string,
      }),
    );
  });
});
