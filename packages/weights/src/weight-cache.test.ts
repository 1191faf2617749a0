import { createHash } from 'node:crypto';
import {
  appendFile,
  mkdir,
  readdir,
  readFile,
  rename,
  rm,
  rmdir,
  truncate,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { basename, join } from 'node:path';
import type { ModelSpec } from '@butterfly/model';
import { cachedSyntheticModel, tinyModel } from '@butterfly/testkit';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { recordingObserver } from './testing/shard-sources.js';
import { writeWeights, type TestWeights } from './testing/sources.js';
import { WeightCache } from './weight-cache.js';

let weights: TestWeights;
let directory: string;
beforeEach(async () => {
  weights = await writeWeights(await cachedSyntheticModel(tinyModel));
  directory = join(weights.folder, 'cache');
});
afterEach(() => weights[Symbol.asyncDispose]());

const openCache = (): Promise<WeightCache> =>
  WeightCache.open({ directory, bytesMax: 1e9, observe: () => undefined });
const at = (offset: number): { fileIndex: number; offset: number } => ({ fileIndex: 0, offset });
const part = (offset: number, bytes: number): Buffer => weights.content.subarray(offset, offset + bytes);

function write(cache: WeightCache, offset: number, bytes: number, spec = weights.spec): Promise<void> {
  const content = part(offset, bytes);
  return cache.write(spec, at(offset), content, createHash('sha256').update(content).digest());
}

async function reads(
  cache: WeightCache,
  offset: number,
  bytes: number,
  spec = weights.spec,
): Promise<boolean> {
  const target = Buffer.alloc(bytes);
  const isThere = await cache.read(spec, at(offset), target);
  if (isThere) expect(target.equals(part(offset, bytes))).toBe(true);
  return isThere;
}

async function indexPath(): Promise<string> {
  const models = join(directory, 'models');
  return join(models, (await readdir(models))[0] ?? '');
}

const withFile = (change: object): ModelSpec => ({
  ...weights.spec,
  files: weights.spec.files.map((file) => ({ ...file, ...change })),
});

describe('WeightCache', () => {
  it('gives exactly the ranges that it was given, also after it was opened again', async () => {
    const cache = await openCache();
    expect(await cache.bytesOf(weights.spec)).toBe(0);
    await write(cache, 100, 500);
    await write(cache, 600, 1000);
    for (const one of [cache, await openCache()]) {
      expect(await reads(one, 100, 500)).toBe(true);
      expect(await reads(one, 600, 1000)).toBe(true);
      expect(await reads(one, 100, 1000)).toBe(false);
      expect(await reads(one, 601, 1000)).toBe(false);
      expect(await one.bytesOf(weights.spec)).toBe(1500);
      expect(one.bytes).toBe(1500);
    }
  });

  it('belongs to the weights, wherever the file lies', async () => {
    const cache = await openCache();
    await write(cache, 100, 500);
    expect(await reads(cache, 100, 500, withFile({ path: '/elsewhere.gguf' }))).toBe(true);
    expect(await reads(cache, 100, 500, withFile({ weightsSha256: '1'.repeat(64) }))).toBe(false);
    expect(await reads(cache, 100, 500, withFile({ metadataSha256: '1'.repeat(64) }))).toBe(false);
  });

  it('stores what two models share only once', async () => {
    const cache = await openCache();
    const fineTuned = withFile({ weightsSha256: '1'.repeat(64) });
    await write(cache, 100, 500);
    await write(cache, 100, 500, fineTuned);
    expect(cache.bytes).toBe(500);
    expect(await cache.bytesOf(fineTuned)).toBe(500);
  });

  it('fetches anew what is corrupt on disk', async () => {
    const cache = await openCache();
    await write(cache, 100, 500);
    const blobs = join(directory, 'blobs');
    const [name = ''] = await readdir(blobs);
    await writeFile(join(blobs, name), Buffer.alloc(500));
    expect(await reads(cache, 100, 500)).toBe(false);
    expect(await cache.bytesOf(weights.spec)).toBe(0);
    await write(cache, 100, 500);
    expect(await reads(cache, 100, 500)).toBe(true);
  });

  it('passes over a torn last line, and goes on behind it', async () => {
    const cache = await openCache();
    await write(cache, 100, 500);
    await write(cache, 600, 1000);
    const path = await indexPath();
    await truncate(path, (await readFile(path)).length - 20);
    const again = await openCache();
    expect(await reads(again, 100, 500)).toBe(true);
    expect(await reads(again, 600, 1000)).toBe(false);
    await write(again, 2000, 1000);
    const third = await openCache();
    expect(await reads(third, 100, 500)).toBe(true);
    expect(await reads(third, 2000, 1000)).toBe(true);
  });

  it('believes no line that was changed', async () => {
    const cache = await openCache();
    await write(cache, 100, 500);
    const path = await indexPath();
    const text = await readFile(path, 'utf8');
    await writeFile(path, text.replace('0 100 500', '0 600 500'));
    await appendFile(path, 'no line at all\n');
    const again = await openCache();
    expect(await reads(again, 600, 500)).toBe(false);
    expect(await again.bytesOf(weights.spec)).toBe(0);
  });

  it('shares its directory with another process', async () => {
    const [one, other] = [await openCache(), await openCache()];
    expect(await reads(other, 100, 500)).toBe(false);
    await write(one, 100, 500);
    expect(await reads(other, 100, 500)).toBe(true);
    await Promise.all(
      Array.from({ length: 20 }, (_, i) => write(i % 2 ? one : other, 1000 + (i >> 1) * 300, 300)),
    );
    const third = await openCache();
    for (let i = 0; i < 10; i++) expect(await reads(third, 1000 + i * 300, 300)).toBe(true);
  });

  it('removes the index of a model of which nothing is left, once it is old', async () => {
    const fineTuned = withFile({ weightsSha256: '1'.repeat(64) });
    const cache = await openCache();
    await write(cache, 100, 500);
    await write(cache, 600, 500, fineTuned);
    const models = join(directory, 'models');
    const blob = createHash('sha256').update(part(600, 500)).digest('hex');
    await rm(join(directory, 'blobs', blob));
    await openCache();
    expect(await readdir(models)).toHaveLength(2);
    for (const name of await readdir(models)) await utimes(join(models, name), 1, 1);
    const again = await openCache();
    expect(await readdir(models)).toHaveLength(1);
    expect(await reads(again, 100, 500)).toBe(true);
  });

  describe('with an index that cannot be read', () => {
    const { observe, kinds } = recordingObserver();
    beforeEach(() => void kinds.splice(0));

    /** Puts a directory in its place: it opens as a file does, and then cannot be read. */
    async function breakIndex(): Promise<string> {
      const cache = await openCache();
      await write(cache, 100, 500);
      const path = await indexPath();
      await rename(path, join(weights.folder, 'aside'));
      await mkdir(path);
      return path;
    }

    it('has nothing, says so once, and goes on when it can be read again', async () => {
      const path = await breakIndex();
      const cache = await WeightCache.open({ directory, bytesMax: 1e9, observe });
      for (let i = 0; i < 3; i++) expect(await reads(cache, 100, 500)).toBe(false);
      expect(await cache.bytesOf(weights.spec)).toBe(0);
      await expect(write(cache, 600, 500)).rejects.toThrow(expect.objectContaining({ code: 'EISDIR' }));
      expect(kinds).toEqual(['cacheIndexNotRead']);
      await rmdir(path);
      await rename(join(weights.folder, 'aside'), path);
      expect(await reads(cache, 100, 500)).toBe(true);
      await write(cache, 600, 500);
      expect(await reads(await openCache(), 600, 500)).toBe(true);
    });

    it('leaves it where it is, and removes those that are empty all the same', async () => {
      const path = await breakIndex();
      const models = join(directory, 'models');
      const empty = join(models, 'f'.repeat(64));
      await writeFile(empty, '');
      for (const old of [path, empty]) await utimes(old, 1, 1);
      await WeightCache.open({ directory, bytesMax: 1e9, observe });
      expect(await readdir(models)).toEqual([basename(path)]);
      expect(kinds).toEqual(['cacheIndexNotRead']);
    });
  });

  it('is an empty one where it was deleted under way', async () => {
    const cache = await openCache();
    await write(cache, 100, 500);
    await rm(directory, { recursive: true });
    expect(await reads(cache, 100, 500)).toBe(false);
    await expect(write(cache, 600, 500)).rejects.toThrow(expect.objectContaining({ code: 'ENOENT' }));
  });
});
