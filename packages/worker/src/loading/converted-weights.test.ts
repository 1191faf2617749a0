import { randomFillSync } from 'node:crypto';
import { readdir, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { silentLogger, systemClock, type Clock } from '@butterfly/common';
import { cachedSyntheticModel, tinyModel } from '@butterfly/testkit';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ConvertedWeights, type ConvertedTensor } from './converted-weights.js';
import { writeWeights, type TestWeights } from './testing.js';
import { WeightCache } from './weight-cache.js';

let weights: TestWeights;
let cache: WeightCache;
let nowMs: number;
const clock: Clock = { nowMs: () => nowMs, after: (...args) => systemClock.after(...args) };
beforeEach(async () => {
  nowMs = 0;
  weights = await writeWeights(await cachedSyntheticModel(tinyModel));
  cache = await openCache();
});
afterEach(() => weights[Symbol.asyncDispose]());

const openCache = (bytesMax = 1e9): Promise<WeightCache> =>
  WeightCache.open({ directory: join(weights.folder, 'cache'), bytesMax, log: silentLogger });

interface Opened {
  readonly converted: ConvertedWeights;
  /** Bytes of each read. */
  readonly reads: number[];
  readonly abort: AbortController;
}

function open(diskBytesPerSecond = 1e12): Opened {
  const reads: number[] = [];
  const abort = new AbortController();
  const { signal } = abort;
  const onBytes = (bytes: number): void => void reads.push(bytes);
  const { spec } = weights;
  const options = { spec, cache, diskBytesPerSecond, signal, clock, log: silentLogger, onBytes };
  return { converted: new ConvertedWeights(options), reads, abort };
}

interface InMemory extends ConvertedTensor {
  readonly content: Buffer;
  free(): void;
}

/** All tensors of the model, each a twentieth larger than in the file; random where they were converted. */
function inMemory(isConverted: boolean, layout = 'of a test'): InMemory[] {
  return weights.spec.tensors.map((tensor) => {
    const content = Buffer.alloc(Math.round(tensor.bytes * 1.05));
    if (isConverted) randomFillSync(content);
    let isFree = false;
    return {
      tensor,
      layout,
      content,
      bytes: content.length,
      view: (offset, bytes) => (isFree ? null : content.subarray(offset, offset + bytes)),
      free: () => void (isFree = true),
    };
  });
}

/** Keeps them as a load would that took a second. */
async function keep(tensors: readonly ConvertedTensor[], diskBytesPerSecond?: number): Promise<void> {
  const { converted } = open(diskBytesPerSecond);
  nowMs += 1000;
  converted.keep(tensors);
  await cache.settled();
}

async function load(
  tensors: readonly ConvertedTensor[],
): Promise<{ loaded: ReadonlySet<ConvertedTensor>; fileBytes: number; reads: number[] }> {
  const { converted, reads } = open();
  let fileBytes = 0;
  const loaded = await converted.load(tensors, (bytes) => (fileBytes += bytes));
  return { loaded, fileBytes, reads };
}

describe('converted weights', () => {
  it('are there at the next load, in their place, also of another process', async () => {
    const before = inMemory(true);
    await keep(before);
    cache = await openCache();
    const after = inMemory(false);
    const { loaded, fileBytes, reads } = await load(after);
    expect(loaded.size).toBe(after.length);
    expect(fileBytes).toBe(weights.totalBytes);
    expect(reads.reduce((sum, bytes) => sum + bytes, 0)).toBe(cache.bytes);
    for (const [index, { content }] of after.entries())
      expect(content.equals(before[index]?.content ?? Buffer.alloc(0))).toBe(true);
  });

  it('are of their layout alone, and are not taken for those of the file', async () => {
    await keep(inMemory(true));
    expect((await load(inMemory(false, 'another'))).loaded.size).toBe(0);
    expect(await cache.bytesOf(weights.spec)).toBe(0);
  });

  it('are not loaded where a part is missing or damaged', async () => {
    await keep(inMemory(true));
    const blobs = join(weights.folder, 'cache', 'blobs');
    const [name = ''] = await readdir(blobs);
    await truncate(join(blobs, name), 10);
    const tensors = inMemory(false);
    expect((await load(tensors)).loaded.size).toBe(tensors.length - 1);
    // From then on it is known to be missing.
    expect((await load(tensors)).loaded.size).toBe(tensors.length - 1);
  });

  it.each([
    ['the disk is no faster than converting', 1e7, 1e9],
    ['there is no room for all of them', 1e12, 1e6],
  ])('are not kept where %s', async (_, diskBytesPerSecond, bytesMax) => {
    cache = await openCache(bytesMax);
    await keep(inMemory(true), diskBytesPerSecond);
    expect(cache.bytes).toBe(0);
  });

  it('are kept only as long as their memory is there', async () => {
    const tensors = inMemory(true);
    const { converted } = open();
    nowMs += 1000;
    converted.keep(tensors);
    for (const tensor of tensors.slice(1)) tensor.free();
    await cache.settled();
    expect(cache.bytes).toBe(tensors[0]?.bytes);
    expect([...(await load(inMemory(false))).loaded].map(({ tensor }) => tensor.name)).toEqual(['t0']);
  });

  it('are read no further when loading is given up, or when who hears of the progress says so', async () => {
    await keep(inMemory(true));
    const { converted, abort } = open();
    abort.abort();
    await expect(converted.load(inMemory(false), () => undefined)).rejects.toThrow(
      expect.objectContaining({ code: 'CANCELLED' }),
    );
    const { converted: again, reads } = open();
    await expect(
      again.load(inMemory(false), () => {
        throw new Error('enough');
      }),
    ).rejects.toThrow('enough');
    expect(reads.length).toBeLessThan(weights.spec.tensors.length + 1);
  });
});
