import { createHash } from 'node:crypto';
import { readdir, stat, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import type { WorkerObserver } from '@butterfly/common';
import { type ModelSpec, modelFingerprint } from '@butterfly/model';
import { BlobStore, type BlobStoreOptions } from './blob-store.js';
import { CacheIndex, type FileRange } from './cache-index.js';
import { WeightImages } from './weight-images.js';

/** A day: long after whoever wrote to an index last has loaded what it wanted. */
const keptEmptyMs = 24 * 3_600_000;

/**
 * Weights on this machine's disk, by content: ranges of model files in blobs named by their hash, and for each model an
 * index of which range is which blob. Bounded in bytes; several processes may share the directory.
 */
export class WeightCache {
  readonly #indexes = new Map<string, Promise<CacheIndex>>();
  readonly #keys = new WeakMap<ModelSpec, string>();

  /** Images of weights as kernels want them. */
  readonly images: WeightImages;

  private constructor(
    private readonly directory: string,
    private readonly blobs: BlobStore,
    private readonly observe: WorkerObserver,
  ) {
    this.images = new WeightImages(blobs, observe);
  }

  /** Opens the cache in a directory, which is made when missing. Never fails: one that cannot be used is an empty one. */
  static async open(options: BlobStoreOptions): Promise<WeightCache> {
    const cache = new WeightCache(options.directory, await BlobStore.open(options), options.observe);
    // An index that cannot be read or removed does no harm.
    await cache.#removeEmptyIndexes().catch(() => undefined);
    return cache;
  }

  /** Bytes of all models and images, which never exceed the bound. */
  get bytes(): number {
    return this.blobs.bytes;
  }

  /** Bytes of this model that are in the cache. */
  async bytesOf(spec: ModelSpec): Promise<number> {
    const index = await this.#indexOf(spec);
    await index.refresh();
    return index
      .entries()
      .filter(({ hash }) => this.blobs.has(hash))
      .reduce((sum, { bytes }) => sum + bytes, 0);
  }

  /**
   * Fills `target` with a range of a model file whose hash is known, by whatever name it was filed, and files it under
   * this model; false when the cache does not have it, or had it corrupted, in which case `target` may have been
   * written to.
   * @param hash SHA-256 of the range, as the orchestrator has it
   */
  async readKnown(
    spec: ModelSpec,
    range: Omit<FileRange, 'bytes'>,
    target: Uint8Array,
    hash: Uint8Array,
  ): Promise<boolean> {
    const hex = Buffer.from(hash).toString('hex');
    if (!(await this.blobs.read(hex, target))) return false;
    const index = await this.#indexOf(spec);
    // It only serves to pass the range on, and a cache that cannot be written to still gives what it has.
    await index.add({ ...range, bytes: target.length }, hex).catch(() => undefined);
    return true;
  }

  /**
   * Fills `target` with what a range of a model file was filed as, for others who check it; false when the cache does not
   * have exactly that range, or had it corrupted, in which case `target` may have been written to.
   */
  async read(spec: ModelSpec, range: Omit<FileRange, 'bytes'>, target: Uint8Array): Promise<boolean> {
    const index = await this.#indexOf(spec);
    const wanted = { ...range, bytes: target.length };
    if (index.get(wanted) === undefined) await index.refresh();
    const hash = index.get(wanted);
    if (hash === undefined) return false;
    if (await this.blobs.read(hash, target)) return true;
    index.forget(wanted);
    return false;
  }

  /**
   * Keeps a range of a model file.
   * @param hash SHA-256 of the bytes, which must be right
   * @throws what the file system throws, such as ENOSPC, EACCES or EROFS
   */
  async write(
    spec: ModelSpec,
    range: Omit<FileRange, 'bytes'>,
    bytes: Uint8Array,
    hash: Uint8Array,
  ): Promise<void> {
    const hex = Buffer.from(hash).toString('hex');
    const index = await this.#indexOf(spec);
    await this.blobs.write(hex, bytes);
    if (this.blobs.has(hex)) await index.add({ ...range, bytes: bytes.length }, hex);
  }

  /** Removes the indexes of models of which nothing is left, but for those that another process may be writing to. */
  async #removeEmptyIndexes(): Promise<void> {
    const directory = join(this.directory, 'models');
    for (const name of await readdir(directory)) {
      const path = join(directory, name);
      if (Date.now() - (await stat(path)).mtimeMs < keptEmptyMs) continue;
      const index = new CacheIndex(path, this.observe);
      // What cannot be read today may be full of entries tomorrow.
      if (!(await index.refresh())) continue;
      if (!index.entries().some(({ hash }) => this.blobs.has(hash))) await unlink(path);
    }
  }

  #indexOf(spec: ModelSpec): Promise<CacheIndex> {
    const key = this.#keys.get(spec) ?? modelKey(spec);
    this.#keys.set(spec, key);
    const known = this.#indexes.get(key);
    if (known) return known;
    const index = new CacheIndex(join(this.directory, 'models', key), this.observe);
    const opening = index.refresh().then(() => index);
    this.#indexes.set(key, opening);
    return opening;
  }
}

/** The same for the same files, wherever they lie. */
function modelKey(spec: ModelSpec): string {
  const hash = createHash('sha256');
  for (const file of modelFingerprint(spec)) hash.update(`${file.join(' ')}\n`);
  return hash.digest('hex');
}
