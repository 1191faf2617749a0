import { createHash } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import { crc32 } from 'node:zlib';
import { ButterflyError, type WorkerObserver, limits } from '@butterfly/common';
import { directBytes, type BlobFile } from './blob-file.js';
import type { BlobStore } from './blob-store.js';
import type { ImageSource, WeightMemory } from './tensor-source.js';

/** Bytes of the check of each block; all of them come first, because a disk is fastest in order. */
const checkBytes = 4;
/** How far behind the beginning of a page large memory begins: behind what the allocator keeps of it, on a cache line. */
const usualInPage = 64;
/** A next start that would be less than this faster is not worth its place on the disk. */
const savedMsMin = 100;
/** Keeping rests this many times as long as it works, so that serving has the machine. */
const restFactor = 3;

interface Block {
  readonly offset: number;
  readonly bytes: number;
  /** Where it is in the file. */
  readonly fileOffset: number;
}

/**
 * Images of memory that weights were converted in, in the cache of this machine: to convert weights takes longer than a
 * fast disk does to read them, so the first load of a shard keeps what it converted, and the next one reads it straight
 * into its place. One file each, which is read in order. Its checks are for damage of the disk, as
 * the model's own file on this machine has none at all.
 */
export class WeightImages implements ImageSource {
  /** What is done beside loading and serving. */
  #aside: Promise<void> = Promise.resolve();

  constructor(
    private readonly blobs: BlobStore,
    private readonly observe: WorkerObserver,
  ) {}

  /**
   * Fills the memory from its image. False when there is none, or a damaged one, which is removed; the memory may then
   * have been written to.
   * @param onRead told of bytes as they come; may throw to end it
   * @throws ButterflyError CANCELLED
   */
  async load(memory: WeightMemory, onRead: (bytes: number) => void, signal?: AbortSignal): Promise<boolean> {
    const name = nameOf(memory);
    await using image = await this.blobs.open(name, fileBytes(memory));
    if (!image) return false;
    const blocks = blocksOf(memory);
    const isUsual = memory.address % BigInt(directBytes) === BigInt(usualInPage);
    const checks = new DataView(new ArrayBuffer(blocks.length * checkBytes));
    let isSound = await image.read(new Uint8Array(checks.buffer), 0);
    let next = 0;
    const read = async (): Promise<void> => {
      for (let index = next++; isSound && index < blocks.length; index = next++) {
        if (signal?.aborted) throw new ButterflyError('CANCELLED', 'Loading was given up.');
        const { offset, bytes, fileOffset } = blocks[index] ?? { offset: 0, bytes: 0, fileOffset: 0 };
        const target = memory.view(offset, bytes);
        const isRead =
          target !== null &&
          (await (isUsual ? image.readDirect(target, fileOffset) : image.read(target, fileOffset)));
        if (isRead && checkOf(name, index, target) === checks.getUint32(index * checkBytes, true))
          onRead(bytes);
        else isSound = false;
      }
    };
    const readers = Array.from({ length: limits.fileFetchesInFlightMax }, () =>
      read().finally(() => (next = blocks.length)),
    );
    // All of them come to an end before the memory that they write to may go.
    await Promise.allSettled(readers);
    await Promise.all(readers);
    if (isSound) return true;
    this.observe({ kind: 'cachedImageRemoved', name });
    await this.blobs.remove(name);
    return false;
  }

  /**
   * Keeps the image of memory, beside whatever else is done and as long as the memory is there; only where the next start
   * will be faster by enough, and there is room for it.
   * @param savedMs how long loading waited for the conversion
   */
  keep(memory: WeightMemory, savedMs: number): void {
    if (savedMs < savedMsMin) return;
    this.#aside = this.#aside.then(() => this.#keep(memory));
  }

  /** Resolves when nothing is being kept any more. */
  async settled(): Promise<void> {
    await this.#aside;
  }

  async #keep(memory: WeightMemory): Promise<void> {
    const name = nameOf(memory);
    if (this.blobs.has(name)) return;
    try {
      const isKept = await this.blobs.fill(name, fileBytes(memory), (file) => writeImage(memory, name, file));
      if (isKept) this.observe({ kind: 'imageKept', bytes: memory.bytes });
    } catch (error) {
      this.observe({ kind: 'imageNotKept', error: String(error) });
    }
  }
}

/** False when the memory is freed meanwhile. */
async function writeImage(memory: WeightMemory, name: string, file: BlobFile): Promise<boolean> {
  for (const [index, { offset, bytes, fileOffset }] of blocksOf(memory).entries()) {
    const startedMs = performance.now();
    const view = memory.view(offset, bytes);
    if (!view) return false;
    // A copy, because the memory may be freed while it is written.
    const copy = Buffer.from(view);
    const check = new DataView(new ArrayBuffer(checkBytes));
    check.setUint32(0, checkOf(name, index, copy), true);
    await file.write(copy, fileOffset);
    await file.write(new Uint8Array(check.buffer), index * checkBytes);
    await pause(restFactor * (performance.now() - startedMs));
  }
  return true;
}

/** Begins with the image's name and the block's place, so that a block of another image or place is found as a damaged one is. */
function checkOf(name: string, index: number, block: Uint8Array): number {
  return crc32(block, crc32(`${name} ${index}`));
}

/** All but the first begin at a page of the file and, where it lies as usual, of memory, as direct reads ask for. */
function blocksOf({ bytes }: WeightMemory): Block[] {
  const size = limits.fileChunkBytesMax;
  const count = Math.ceil((usualInPage + bytes) / size);
  const dataOffset = Math.ceil((count * checkBytes) / directBytes) * directBytes;
  return Array.from({ length: count }, (_, index) => {
    const offset = Math.max(0, index * size - usualInPage);
    const end = Math.min(bytes, (index + 1) * size - usualInPage);
    return { offset, bytes: end - offset, fileOffset: dataOffset + usualInPage + offset };
  });
}

function fileBytes(memory: WeightMemory): number {
  const last = blocksOf(memory).at(-1);
  return last ? last.fileOffset + last.bytes : 0;
}

/** A name as blobs have, which is no hash of what is in it. */
function nameOf({ meaning, bytes }: WeightMemory): string {
  return createHash('sha256').update(`image of ${bytes} bytes: ${meaning}`).digest('hex');
}
