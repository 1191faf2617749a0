import { randomFillSync } from 'node:crypto';
import { copyFile, mkdtemp, open, readdir, rm, truncate } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { limits } from '@butterfly/common';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { BlobStore } from './blob-store.js';
import type { WeightMemory } from './tensor-source.js';
import { WeightImages } from './weight-images.js';

/** Two blocks and a bit. */
const bytes = 2 * limits.fileChunkBytesMax + 1000;

let directory: string;
let blobs: BlobStore;
let images: WeightImages;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'butterfly-images-'));
  await openStore();
});
afterEach(() => rm(directory, { recursive: true }));

async function openStore(bytesMax = 1e9): Promise<void> {
  blobs = await BlobStore.open({ directory, bytesMax, observe: () => undefined });
  images = new WeightImages(blobs, () => undefined);
}

interface TestMemory extends WeightMemory {
  readonly content: Buffer;
  isFree: boolean;
}

function memory(meaning = 'of a test', address = 64n): TestMemory {
  const content = Buffer.alloc(bytes);
  return {
    meaning,
    address,
    bytes,
    content,
    isFree: false,
    view(offset, length) {
      return this.isFree ? null : content.subarray(offset, offset + length);
    },
  };
}

/** Memory that was converted in at some cost, and whose image is kept. */
async function kept(savedMs = 1000): Promise<TestMemory> {
  const converted = memory();
  randomFillSync(converted.content);
  images.keep(converted, savedMs);
  await images.settled();
  return converted;
}

const load = (into: WeightMemory): Promise<boolean> => images.load(into, () => undefined);
const onlyBlob = async (): Promise<string> =>
  join(directory, 'blobs', (await readdir(join(directory, 'blobs')))[0] ?? '');

describe('images of weights', () => {
  it('fill the memory of the next load, also in another process', async () => {
    const { content } = await kept();
    await openStore();
    const next = memory();
    const read: number[] = [];
    expect(await images.load(next, (count) => read.push(count))).toBe(true);
    expect(next.content.equals(content)).toBe(true);
    expect(read.reduce((sum, count) => sum + count, 0)).toBe(bytes);
  });

  it('fill memory that lies otherwise within its page too', async () => {
    const { content } = await kept();
    const next = memory('of a test', 4096n);
    expect(await load(next)).toBe(true);
    expect(next.content.equals(content)).toBe(true);
  });

  it('are of what they mean alone', async () => {
    await kept();
    expect(await load(memory('of another build'))).toBe(false);
    expect(await load(memory())).toBe(true);
  });

  it('are of no use under the name of another', async () => {
    await kept();
    const first = await onlyBlob();
    const other = memory('of other weights');
    randomFillSync(other.content);
    images.keep(other, 1000);
    await images.settled();
    const [second = ''] = (await readdir(join(directory, 'blobs'))).filter(
      (name) => name !== basename(first),
    );
    await copyFile(first, join(directory, 'blobs', second));
    expect(await load(memory('of other weights'))).toBe(false);
    expect(await load(memory())).toBe(true);
  });

  it.each([
    ['a bit that turned', (path: string) => turnBit(path, limits.fileChunkBytesMax + 5)],
    ['a bit that turned in its check', (path: string) => turnBit(path, 2)],
    ['an end that is missing', (path: string) => truncate(path, bytes)],
  ])('are removed for %s', async (_, damage) => {
    await kept();
    await damage(await onlyBlob());
    expect(await load(memory())).toBe(false);
    expect(await readdir(join(directory, 'blobs'))).toEqual([]);
    expect(blobs.bytes).toBe(0);
  });

  it('are not kept where loading hardly waited for the conversion, nor where there is no room', async () => {
    await kept(99);
    expect(blobs.bytes).toBe(0);
    await openStore(bytes);
    await kept();
    expect(blobs.bytes).toBe(0);
    expect(await readdir(join(directory, 'parts'))).toEqual([]);
  });

  it('are kept as long as their memory is there, or not at all', async () => {
    const converted = memory();
    images.keep(converted, 1000);
    converted.isFree = true;
    await images.settled();
    expect(blobs.bytes).toBe(0);
    expect(await readdir(join(directory, 'parts'))).toEqual([]);
  });

  it('are read no further when loading is given up, or when who hears of the progress says so', async () => {
    await kept();
    await expect(images.load(memory(), () => undefined, AbortSignal.abort())).rejects.toThrow(
      expect.objectContaining({ code: 'CANCELLED' }),
    );
    const enough = (): never => {
      throw new Error('enough');
    };
    await expect(images.load(memory(), enough)).rejects.toThrow('enough');
    // Neither is a damage.
    expect(await load(memory())).toBe(true);
  });
});

async function turnBit(path: string, offset: number): Promise<void> {
  await using file = await open(path, 'r+');
  const byte = Buffer.alloc(1);
  await file.read(byte, 0, 1, offset);
  byte.writeUInt8(byte.readUInt8() ^ 4);
  await file.write(byte, 0, 1, offset);
}
