import { open } from 'node:fs/promises';
import { dirname } from 'node:path';
import { crc32 } from 'node:zlib';
import { type WorkerObserver, makeDirectory } from '@butterfly/common';
import { isMissing } from './blob-store.js';

/** A range of a model file. */
export interface FileRange {
  readonly fileIndex: number;
  /** Byte offset in the file. */
  readonly offset: number;
  readonly bytes: number;
}

const readAtOnceBytes = 1 << 20;

/**
 * Which blob holds which range of one model: a file of lines that are only ever appended, by several processes at once
 * if need be. A line that a crash tore, or that is otherwise damaged, is passed over.
 */
export class CacheIndex {
  readonly #hashes = new Map<string, string>();
  /** Where the first line begins that was not read yet. */
  #readTo = 0;
  #isUnreadable = false;

  constructor(
    private readonly path: string,
    private readonly observe: WorkerObserver,
  ) {}

  /** All that is known of, with the hashes of their content. */
  entries(): (FileRange & { readonly hash: string })[] {
    return [...this.#hashes].map(([key, hash]) => {
      const [fileIndex = 0, offset = 0, bytes = 0] = key.split(' ').map(Number);
      return { fileIndex, offset, bytes, hash };
    });
  }

  get(range: FileRange): string | undefined {
    return this.#hashes.get(keyOf(range));
  }

  /**
   * Takes note of the lines that were added since, by whatever process. Without a file there are none; one that cannot be
   * read counts as having none, gives false, and is warned of once.
   */
  async refresh(): Promise<boolean> {
    try {
      await this.#readOn();
      this.#isUnreadable = false;
      return true;
    } catch (error) {
      if (isMissing(error)) return true;
      if (this.#isUnreadable) return false;
      this.#isUnreadable = true;
      this.observe({ kind: 'cacheIndexNotRead', path: this.path, error: String(error) });
      return false;
    }
  }

  /** @throws what the file system throws */
  async add(range: FileRange, hash: string): Promise<void> {
    const key = keyOf(range);
    if (this.#hashes.get(key) === hash) return;
    const fields = `${key} ${hash}`;
    await makeDirectory(dirname(this.path));
    const handle = await open(this.path, 'a');
    try {
      // The first line break ends the line that a crash may have torn.
      await handle.write(`\n${fields} ${crc32(fields).toString(16)}\n`);
    } finally {
      await handle.close();
    }
    this.#hashes.set(key, hash);
  }

  forget(range: FileRange): void {
    this.#hashes.delete(keyOf(range));
  }

  async #readOn(): Promise<void> {
    const handle = await open(this.path, 'r');
    try {
      for (;;) {
        const window = Buffer.allocUnsafe(readAtOnceBytes);
        const { bytesRead } = await handle.read(window, 0, window.length, this.#readTo);
        const end = window.subarray(0, bytesRead).lastIndexOf('\n') + 1;
        if (end === 0) return;
        for (const line of window.toString('latin1', 0, end).split('\n')) this.#take(line);
        this.#readTo += end;
      }
    } finally {
      await handle.close();
    }
  }

  #take(line: string): void {
    const match = /^(?<fields>(?<key>\d+ \d+ \d+) (?<hash>[0-9a-f]{64})) (?<checksum>[0-9a-f]{1,8})$/u.exec(
      line,
    );
    const { fields, key, hash, checksum } = match?.groups ?? {};
    if (fields === undefined || key === undefined || hash === undefined) return;
    if (crc32(fields).toString(16) === checksum) this.#hashes.set(key, hash);
  }
}

function keyOf({ fileIndex, offset, bytes }: FileRange): string {
  return `${fileIndex} ${offset} ${bytes}`;
}
