import { randomUUID } from 'node:crypto';
import { open, readdir, rename, stat, unlink, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type WorkerObserver, makeDirectory, sha256 } from '@butterfly/common';
import { BlobFile } from './blob-file.js';
import { BlobLedger } from './blob-ledger.js';

export interface BlobStoreOptions {
  readonly directory: string;
  /** What all blobs together may take. */
  readonly bytesMax: number;
  /** Whether it only gives what is there, as on a disk that takes no more; default false. */
  readonly isReadOnly?: boolean;
  readonly observe: WorkerObserver;
}

/** After so many writes it looks again what other processes did: what the bound may be exceeded by for each of them. */
const writesBetweenLooks = 16;
/** A part that was not finished by then belongs to a process that died. */
const abandonedAfterMs = 60_000;

/**
 * Files named by the SHA-256 of their content, or of what they mean, in a directory that several processes may share.
 * When they take more than the bound, the least recently used go; the time of use is the file's time of modification.
 */
export class BlobStore {
  readonly #ledger = new BlobLedger();
  readonly #blobs: string;
  readonly #parts: string;
  /** Bytes that are being written. */
  #reserved = 0;
  #writes = 0;

  private constructor(private readonly options: BlobStoreOptions) {
    this.#blobs = join(options.directory, 'blobs');
    this.#parts = join(options.directory, 'parts');
  }

  /** Looks what is there. A directory that cannot be read is an empty one, whose writes fail. */
  static async open(options: BlobStoreOptions): Promise<BlobStore> {
    const store = new BlobStore(options);
    if (options.isReadOnly) {
      await store.#look().catch(() => undefined);
      return store;
    }
    try {
      await makeDirectory(store.#blobs);
      await makeDirectory(store.#parts);
      await store.#removeAbandoned();
    } catch (error) {
      const { directory, observe } = options;
      observe({ kind: 'cacheNotPrepared', directory, error: String(error) });
    }
    await store.#look().catch(() => undefined);
    // The bound may be a smaller one than the last time.
    await store.#reserve(0).catch(() => undefined);
    return store;
  }

  /** Bytes of all blobs. */
  get bytes(): number {
    return this.#ledger.bytes;
  }

  has(hash: string): boolean {
    return this.#ledger.bytesOf(hash) !== undefined;
  }

  /** Fills `target` with a blob; false when it is not there, or not what its name says, in which case it is removed. */
  async read(hash: string, target: Uint8Array): Promise<boolean> {
    this.#ledger.hold(hash);
    try {
      const isRead = await this.#readFile(hash, target);
      if (isRead && Buffer.from(await sha256(target)).toString('hex') === hash) {
        await this.#use(hash, target.length);
        return true;
      }
      if (isRead !== null) {
        this.options.observe({ kind: 'cachedRangeRemoved', hash });
        await unlink(this.#path(hash)).catch(() => undefined);
      }
      this.#ledger.remove(hash);
      return false;
    } finally {
      this.#ledger.release(hash);
    }
  }

  /**
   * Opens a blob of so many bytes, to be read in pieces and checked by whoever does; it stays until it is closed. Null
   * when there is none, or one of another size, which is removed.
   */
  async open(hash: string, bytes: number): Promise<BlobFile | null> {
    this.#ledger.hold(hash);
    const release = (): void => this.#ledger.release(hash);
    const file = await BlobFile.toRead(this.#path(hash), release);
    if (!file) release();
    else if ((await file.size()) === bytes) {
      await this.#use(hash, bytes);
      return file;
    } else {
      await file[Symbol.asyncDispose]();
      await this.remove(hash);
    }
    return null;
  }

  async remove(hash: string): Promise<void> {
    await unlink(this.#path(hash)).catch(() => undefined);
    this.#ledger.remove(hash);
  }

  /**
   * Stores a blob that is written piece by piece; false when there is no room for it, or writing was given up.
   * @param write gives false to give up
   * @throws what the file system throws, such as ENOSPC, EACCES or EROFS; nothing of it then stays behind
   */
  async fill(hash: string, bytes: number, write: (file: BlobFile) => Promise<boolean>): Promise<boolean> {
    if (this.options.isReadOnly) return false;
    await this.#look();
    if (!(await this.#reserve(bytes))) return false;
    const part = join(this.#parts, randomUUID());
    let isWhole = false;
    try {
      {
        await using file = await BlobFile.toWrite(part);
        isWhole = await write(file);
      }
      if (!isWhole) return false;
      await rename(part, this.#path(hash));
      this.#ledger.use(hash, bytes);
      return true;
    } catch (error) {
      isWhole = false;
      throw error;
    } finally {
      if (!isWhole) await unlink(part).catch(() => undefined);
      this.#reserved -= bytes;
    }
  }

  /**
   * Stores bytes under their hash, unless there is no room because all else is being read.
   * @throws what the file system throws, such as ENOSPC, EACCES or EROFS; nothing of it then stays behind
   */
  async write(hash: string, bytes: Uint8Array): Promise<void> {
    const known = this.#ledger.bytesOf(hash);
    if (known === bytes.length) {
      this.#ledger.use(hash, known);
      return;
    }
    if (this.options.isReadOnly) return;
    if (++this.#writes % writesBetweenLooks === 0) await this.#look();
    if (!(await this.#reserve(bytes.length))) return;
    const part = join(this.#parts, randomUUID());
    try {
      await writeFile(part, bytes);
      await rename(part, this.#path(hash));
      this.#ledger.use(hash, bytes.length);
    } catch (error) {
      await unlink(part).catch(() => undefined);
      throw error;
    } finally {
      this.#reserved -= bytes.length;
    }
  }

  async #use(hash: string, bytes: number): Promise<void> {
    this.#ledger.use(hash, bytes);
    const nowSeconds = (performance.timeOrigin + performance.now()) / 1000;
    // In a directory that cannot be written to, the order of use does not matter.
    await utimes(this.#path(hash), nowSeconds, nowSeconds).catch(() => undefined);
  }

  #path(hash: string): string {
    return join(this.#blobs, hash);
  }

  /** True when `target` holds the whole blob, false when the blob has another length or cannot be read, null when there is none. */
  async #readFile(hash: string, target: Uint8Array): Promise<boolean | null> {
    const handle = await open(this.#path(hash), 'r').catch(() => null);
    if (!handle) return null;
    try {
      if ((await handle.stat()).size !== target.length) return false;
      for (let done = 0; done < target.length;) {
        const { bytesRead } = await handle.read(target, done, target.length - done, done);
        if (bytesRead === 0) return false;
        done += bytesRead;
      }
      return true;
    } catch {
      return false;
    } finally {
      await handle.close();
    }
  }

  /** Removes blobs until there is room for so many bytes, and claims it; false when that cannot be. */
  async #reserve(bytes: number): Promise<boolean> {
    while (this.#ledger.bytes + this.#reserved + bytes > this.options.bytesMax) {
      const oldest = this.#ledger.oldest();
      if (oldest === null) return false;
      this.#ledger.hold(oldest);
      try {
        await unlink(this.#path(oldest)).catch((error: unknown) => {
          if (!isMissing(error)) throw error;
        });
        this.#ledger.remove(oldest);
      } finally {
        this.#ledger.release(oldest);
      }
    }
    // Here, and not after the caller's wait, in which another write could claim the same room.
    this.#reserved += bytes;
    return true;
  }

  /** Takes note of what other processes wrote, used and removed. */
  async #look(): Promise<void> {
    const names = (await readdir(this.#blobs)).filter((name) => /^[0-9a-f]{64}$/u.test(name));
    const present = new Set(names);
    for (const hash of [...this.#ledger.hashes]) if (!present.has(hash)) this.#ledger.remove(hash);
    const found: { readonly hash: string; readonly bytes: number; readonly usedAtMs: number }[] = [];
    for (const hash of names) {
      if (this.has(hash)) continue;
      const status = await stat(this.#path(hash)).catch(() => null);
      if (status) found.push({ hash, bytes: status.size, usedAtMs: status.mtimeMs });
    }
    found.sort((a, b) => a.usedAtMs - b.usedAtMs);
    for (const { hash, bytes } of found) if (!this.has(hash)) this.#ledger.use(hash, bytes);
  }

  async #removeAbandoned(): Promise<void> {
    for (const name of await readdir(this.#parts)) {
      const path = join(this.#parts, name);
      const status = await stat(path).catch(() => null);
      if (status && Date.now() - status.mtimeMs > abandonedAfterMs) await unlink(path).catch(() => undefined);
    }
  }
}

/** Whether a file system threw this because there is no such file. */
export function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}
