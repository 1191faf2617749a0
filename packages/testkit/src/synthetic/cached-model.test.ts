import { mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { cachedSyntheticModel } from './cached-model.js';
import type { SyntheticModelOptions } from './shape.js';
import { tinyModel } from './tiny-model.js';

const options = tinyModel;

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'butterfly-cache-'));
});
afterEach(() => rm(directory, { recursive: true }));

it('writes a model once, whoever asks and in which order the options are given', async () => {
  const path = await cachedSyntheticModel(options, directory);
  const { mtimeMs } = await stat(path);
  const reversed = Object.fromEntries(Object.entries(options).reverse()) as unknown as SyntheticModelOptions;
  expect(await cachedSyntheticModel(reversed, directory)).toBe(path);
  expect((await stat(path)).mtimeMs).toBe(mtimeMs);
  expect(await cachedSyntheticModel({ ...options, seed: 2 }, directory)).not.toBe(path);
});

it('leaves one copy and nothing else when asked several times at once', async () => {
  const paths = await Promise.all(Array.from({ length: 4 }, () => cachedSyntheticModel(options, directory)));
  expect(new Set(paths).size).toBe(1);
  expect(await readdir(directory)).toHaveLength(1);
});

it('gives the first part of a split model', async () => {
  expect(await cachedSyntheticModel({ ...options, split: 2 }, directory)).toMatch(
    /model-00001-of-00002\.gguf$/u,
  );
});

it('leaves nothing behind when a model cannot be written', async () => {
  await expect(cachedSyntheticModel({ ...options, vocabulary: 1 }, directory)).rejects.toThrow('too small');
  expect(await readdir(directory)).toEqual([]);
});
