import { constants, open, type FileHandle } from 'node:fs/promises';

/** What reads past the system's cache must keep to, in the file and in memory. */
export const directBytes = 4096;

/** A file of the cache that is read or written piece by piece. */
export class BlobFile implements AsyncDisposable {
  readonly #onClose: () => void;

  private constructor(
    private readonly handle: FileHandle,
    /** Reads past the system's cache; null where the system has no such thing. */
    private readonly direct: FileHandle | null,
    onClose: () => void,
  ) {
    this.#onClose = onClose;
  }

  /** Opens a file to be read; null when it cannot be. @param onClose called when it is closed */
  static async toRead(path: string, onClose: () => void): Promise<BlobFile | null> {
    const handle = await open(path, 'r').catch(() => null);
    if (!handle) return null;
    const flag = constants.O_DIRECT as number | undefined;
    const direct = flag ? await open(path, constants.O_RDONLY | flag).catch(() => null) : null;
    return new BlobFile(handle, direct, onClose);
  }

  /** Makes a file to be written. @throws what the file system throws */
  static async toWrite(path: string): Promise<BlobFile> {
    return new BlobFile(await open(path, 'wx'), null, () => undefined);
  }

  async size(): Promise<number> {
    return (await this.handle.stat()).size;
  }

  /** Fills `target` from an offset on; false when the file ends before, or its disk fails. */
  read(target: Uint8Array, offset: number): Promise<boolean> {
    return fill(this.handle, target, offset);
  }

  /**
   * The same past the system's cache, into which all would be copied on its way, as far as it can be.
   * @param target begins as far behind a multiple of `directBytes` in memory as `offset` does in the file
   */
  async readDirect(target: Uint8Array, offset: number): Promise<boolean> {
    const start = Math.min(target.length, (directBytes - (offset % directBytes)) % directBytes);
    const end = start + Math.floor((target.length - start) / directBytes) * directBytes;
    const middle = target.subarray(start, end);
    const isRead = this.direct !== null && (await fill(this.direct, middle, offset + start));
    return (
      (isRead || (await this.read(middle, offset + start))) &&
      (await this.read(target.subarray(0, start), offset)) &&
      (await this.read(target.subarray(end), offset + end))
    );
  }

  /** @throws what the file system throws, such as ENOSPC */
  async write(bytes: Uint8Array, offset: number): Promise<void> {
    for (let done = 0; done < bytes.length;)
      done += (await this.handle.write(bytes, done, bytes.length - done, offset + done)).bytesWritten;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      await Promise.all([this.handle.close(), this.direct?.close()]);
    } finally {
      // Else the blob would count as in use for ever.
      this.#onClose();
    }
  }
}

async function fill(handle: FileHandle, target: Uint8Array, offset: number): Promise<boolean> {
  for (let done = 0; done < target.length;) {
    const got = await handle.read(target, done, target.length - done, offset + done).catch(() => null);
    if (!got || got.bytesRead === 0) return false;
    done += got.bytesRead;
  }
  return true;
}
