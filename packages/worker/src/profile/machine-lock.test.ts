import { mkdtemp, readdir, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { MachineLock } from './machine-lock.js';

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'butterfly-lock-'));
});
afterEach(() => rm(directory, { recursive: true }));

it('lets one in after the other, and leaves nothing behind', async () => {
  let inside = 0;
  let most = 0;
  await Promise.all(
    Array.from({ length: 4 }, async () => {
      await using lock = await MachineLock.take(join(directory, 'deep'));
      expect(lock).toBeInstanceOf(MachineLock);
      inside += 1;
      most = Math.max(most, inside);
      await new Promise((resolve) => setTimeout(resolve, 20));
      inside -= 1;
    }),
  );
  expect(most).toBe(1);
  expect(await readdir(join(directory, 'deep'))).toEqual([]);
});

it('does not wait for one who died long ago', async () => {
  const path = join(directory, 'measuring.lock');
  await writeFile(path, '');
  const longAgo = new Date(Date.now() - 3_600_000);
  await utimes(path, longAgo, longAgo);
  await using lock = await MachineLock.take(directory);
  expect(lock).toBeInstanceOf(MachineLock);
  expect(await readdir(directory)).toEqual(['measuring.lock']);
});

it('goes without where no file can be made', async () => {
  await writeFile(join(directory, 'file'), '');
  await using lock = await MachineLock.take(join(directory, 'file'));
  expect(lock).toBeInstanceOf(MachineLock);
});
