import { mkdtemp, readdir, readlink, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ggml } from '@butterfly/stage/testing';
import {
  assumedDiskBytesPerSecond,
  findModelFile,
  measureDisk,
  removeAbandonedScratch,
} from './measured-disk.js';

let directory = '';
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'butterfly-disk-'));
});
afterAll(() => rm(directory, { recursive: true }));

const describeFile = (path: string, bytes: number) => ({
  path,
  bytes,
  metadataBytes: 0,
  metadataSha256: '0'.repeat(64),
  weightsSha256: '0'.repeat(64),
  stamp: 'none',
});

describe('measureDisk', () => {
  it.each([1, 5000, 9 * 2 ** 20])('reads a file of %i bytes', async (bytes) => {
    const path = join(directory, `file-${bytes}`);
    await writeFile(path, Buffer.alloc(bytes, 7));
    const speed = await measureDisk(ggml, describeFile(path, bytes), null);
    expect(speed).toBeGreaterThan(0);
    expect(speed).toBeLessThan(1e12);
    expect(speed).not.toBe(assumedDiskBytesPerSecond);
  });

  it('measures the disk of a directory, and leaves nothing behind', async () => {
    const before = await readdir(directory);
    expect(await measureDisk(ggml, null, directory)).toBeGreaterThan(0);
    expect(await readdir(directory)).toEqual(before);
  });

  it.skipIf(process.platform !== 'linux')('leaves nothing behind when it is killed either', async () => {
    const links = '/proc/self/fd';
    let isUnlinked = false;
    const done = new AbortController();
    const measuring = measureDisk(ggml, null, directory).finally(() => done.abort());
    while (!done.signal.aborted && !isUnlinked) {
      for (const name of await readdir(links)) {
        const target = await readlink(join(links, name)).catch(() => '');
        isUnlinked ||= /disk-speed-.*\(deleted\)$/u.test(target);
      }
    }
    // Where the disk cannot be measured at all, there is no file to see.
    const isAssumed = (await measuring) === assumedDiskBytesPerSecond;
    expect(isUnlinked || isAssumed).toBe(true);
  });

  it('removes what processes left behind that died, and nothing else', async () => {
    const scratch = await mkdtemp(join(directory, 'scratch-'));
    const old = `disk-speed-${'0'.repeat(16)}.tmp`;
    const fresh = `disk-speed-${'1'.repeat(16)}.tmp`;
    for (const name of [old, fresh, 'profile-of-mine.json']) await writeFile(join(scratch, name), 'x');
    for (const name of [old, 'profile-of-mine.json']) await utimes(join(scratch, name), 1, 1);
    await removeAbandonedScratch(scratch);
    expect((await readdir(scratch)).sort()).toEqual([fresh, 'profile-of-mine.json']);
    await expect(removeAbandonedScratch(join(scratch, 'nowhere'))).resolves.toBeUndefined();
  });

  it('assumes a speed where nothing can be read', async () => {
    expect(await measureDisk(ggml, null, null)).toBe(assumedDiskBytesPerSecond);
    const file = join(directory, 'a-file');
    await writeFile(file, '');
    expect(await measureDisk(ggml, null, join(file, 'within'))).toBe(assumedDiskBytesPerSecond);
    const lost = describeFile(join(directory, 'lost'), 10);
    expect(await measureDisk(ggml, lost, directory)).toBe(assumedDiskBytesPerSecond);
  });
});

describe('findModelFile', () => {
  it('takes the largest file that is here in the size that it should have', async () => {
    const [small, large, other] = ['small', 'large', 'other'].map((name) => join(directory, name));
    for (const [path, bytes] of [
      [small, 10],
      [large, 20],
      [other, 30],
    ] as const)
      await writeFile(path ?? '', Buffer.alloc(bytes));
    const files = [
      describeFile(small ?? '', 10),
      describeFile(large ?? '', 20),
      describeFile(other ?? '', 31),
    ];
    expect((await findModelFile(files))?.path).toBe(large);
    expect(
      await findModelFile([describeFile(join(directory, 'none'), 1), describeFile(directory, 1)]),
    ).toBeNull();
  });
});
