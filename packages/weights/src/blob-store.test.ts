import { createHash } from 'node:crypto';
import { readdirSync, statSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rm, unlink, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { BlobStore } from './blob-store.js';

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'butterfly-blobs-'));
});
afterEach(() => rm(directory, { recursive: true }));

const openStore = (bytesMax = 1000): Promise<BlobStore> =>
  BlobStore.open({ directory, bytesMax, observe: () => undefined });
const contentOf = (seed: number, bytes = 100): Buffer => Buffer.alloc(bytes, `content ${seed}, `);
const hashOf = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
const pathOf = (bytes: Uint8Array): string => join(directory, 'blobs', hashOf(bytes));
const write = (store: BlobStore, bytes: Uint8Array): Promise<void> => store.write(hashOf(bytes), bytes);

async function reads(store: BlobStore, bytes: Uint8Array): Promise<boolean> {
  const target = new Uint8Array(bytes.length);
  const isThere = await store.read(hashOf(bytes), target);
  if (isThere) expect(Buffer.compare(target, bytes)).toBe(0);
  return isThere;
}

/** Of one moment: between two awaited calls, a file could go and another one come, and both be counted. */
function bytesOnDisk(): number {
  const paths = ['blobs', 'parts'].flatMap((part) =>
    readdirSync(join(directory, part)).map((name) => join(directory, part, name)),
  );
  return paths.reduce((sum, path) => sum + (statSync(path, { throwIfNoEntry: false })?.size ?? 0), 0);
}

describe('BlobStore', () => {
  it('gives back what it was given, also after it was opened again', async () => {
    const store = await openStore();
    expect(await reads(store, contentOf(1))).toBe(false);
    await write(store, contentOf(1));
    expect(await reads(store, contentOf(1))).toBe(true);
    const again = await openStore();
    expect(again.bytes).toBe(100);
    expect(await reads(again, contentOf(1))).toBe(true);
  });

  it.each<[string, (bytes: Buffer) => Buffer]>([
    ['with a flipped bit', (bytes) => Buffer.from(bytes.map((byte, i) => (i === 50 ? byte ^ 1 : byte)))],
    ['too short', (bytes) => bytes.subarray(1)],
    ['too long', (bytes) => Buffer.concat([bytes, bytes])],
    ['empty', () => Buffer.alloc(0)],
  ])('removes a blob that is %s, and takes it anew', async (_, change) => {
    const store = await openStore();
    await write(store, contentOf(1));
    await writeFile(pathOf(contentOf(1)), change(contentOf(1)));
    expect(await reads(store, contentOf(1))).toBe(false);
    expect(await readdir(join(directory, 'blobs'))).toEqual([]);
    expect(store.bytes).toBe(0);
    await write(store, contentOf(1));
    expect(await reads(store, contentOf(1))).toBe(true);
  });

  it('removes what was not used for the longest time, over restarts too', async () => {
    const store = await openStore(300);
    for (const seed of [1, 2, 3]) await write(store, contentOf(seed));
    await reads(store, contentOf(1));
    await write(store, contentOf(4));
    expect(await reads(store, contentOf(2))).toBe(false);
    // Now 3 is older than 4, which is older than 1.
    await reads(store, contentOf(4));
    await reads(store, contentOf(1));
    const again = await openStore(300);
    await write(again, contentOf(5));
    const left = [3, 4, 1, 5].map(async (seed) => reads(again, contentOf(seed)));
    expect(await Promise.all(left)).toEqual([false, true, true, true]);
  });

  it('shrinks to a smaller bound when it is opened with one', async () => {
    const store = await openStore(300);
    for (const seed of [1, 2, 3]) await write(store, contentOf(seed));
    const smaller = await openStore(250);
    expect(smaller.bytes).toBe(200);
    expect(bytesOnDisk()).toBe(200);
  });

  it('keeps what is being read, even when there is no room then', async () => {
    const store = await openStore(100);
    await write(store, contentOf(1));
    const reading = reads(store, contentOf(1));
    await write(store, contentOf(2));
    expect(await reading).toBe(true);
    expect(await reads(store, contentOf(1))).toBe(true);
    expect(store.has(hashOf(contentOf(2)))).toBe(false);
    await write(store, contentOf(2));
    expect(await reads(store, contentOf(2))).toBe(true);
  });

  it('never takes more than its bound, whatever is written and read at once', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 1500 }),
        fc.array(
          fc.array(
            fc.record({ seed: fc.nat(9), bytes: fc.integer({ min: 1, max: 400 }), isRead: fc.boolean() }),
            {
              minLength: 1,
              maxLength: 5,
            },
          ),
          { maxLength: 12 },
        ),
        async (bytesMax, rounds) => {
          await rm(directory, { recursive: true });
          const store = await openStore(bytesMax);
          for (const round of rounds) {
            const work = round.map(async ({ seed, bytes, isRead }) => {
              await (isRead ? reads(store, contentOf(seed, bytes)) : write(store, contentOf(seed, bytes)));
              expect(bytesOnDisk()).toBeLessThanOrEqual(bytesMax);
            });
            await Promise.all(work);
            expect(store.bytes).toBe(bytesOnDisk());
          }
        },
      ),
      { numRuns: 60 },
    );
  });

  it('shares its directory: what one writes, the other reads, and counts', async () => {
    const [one, other] = [await openStore(2000), await openStore(2000)];
    for (let seed = 0; seed < 10; seed++) await write(one, contentOf(seed));
    expect(await reads(other, contentOf(3))).toBe(true);
    for (let seed = 10; seed < 40; seed++) await write(other, contentOf(seed));
    expect(bytesOnDisk()).toBeLessThanOrEqual(2000);
    // What the other one removed is a miss, and no error.
    const found = await Promise.all(Array.from({ length: 10 }, (_, seed) => reads(one, contentOf(seed))));
    expect(found).toContain(false);
    await write(one, contentOf(0));
    expect(await reads(one, contentOf(0))).toBe(true);
  });

  it('clears away what a process that died left half written, and nothing younger', async () => {
    await openStore();
    const parts = join(directory, 'parts');
    await writeFile(join(parts, 'old'), 'x');
    await utimes(join(parts, 'old'), 1, 1);
    await writeFile(join(parts, 'young'), 'x');
    await openStore();
    expect(await readdir(parts)).toEqual(['young']);
  });

  it('is empty and refuses writes where there is no directory to be made', async () => {
    const file = join(directory, 'file');
    await writeFile(file, 'x');
    const store = await BlobStore.open({ directory: file, bytesMax: 1000, observe: () => undefined });
    expect(await reads(store, contentOf(1))).toBe(false);
    await expect(write(store, contentOf(1))).rejects.toThrow(expect.objectContaining({ code: 'ENOTDIR' }));
    expect(store.bytes).toBe(0);
    expect(await readFile(file, 'utf8')).toBe('x');
  });

  it('leaves nothing behind of a write that failed, and its room free', async () => {
    const store = await openStore(100);
    await rm(join(directory, 'blobs'), { recursive: true });
    await expect(write(store, contentOf(1))).rejects.toThrow(expect.objectContaining({ code: 'ENOENT' }));
    expect(await readdir(join(directory, 'parts'))).toEqual([]);
    const again = await openStore(100);
    await write(again, contentOf(2));
    await unlink(pathOf(contentOf(2)));
    expect(await reads(again, contentOf(2))).toBe(false);
    await write(again, contentOf(3));
    expect(await reads(again, contentOf(3))).toBe(true);
  });
});
