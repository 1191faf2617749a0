import type { FileHandle } from 'node:fs/promises';

/** A file of the cache that is read or written piece by piece. */
export class BlobFile implements AsyncDisposable {
  readonly #onClose: () => void;

  constructor(
    private readonly handle: FileHandle,
    onClose: () => void = () => undefined,
  ) {
    this.#onClose = onClose;
  }

  /** Fills `target` from an offset on; false when the file ends before, or its disk fails. */
  async read(target: Uint8Array, offset: number): Promise<boolean> {
    for (let done = 0; done < target.length;) {
      const got = await this.handle.read(target, done, target.length - done, offset + done).catch(() => null);
      if (!got || got.bytesRead === 0) return false;
      done += got.bytesRead;
    }
    return true;
  }

  /** @throws what the file system throws, such as ENOSPC */
  async write(bytes: Uint8Array, offset: number): Promise<void> {
    for (let done = 0; done < bytes.length;)
      done += (await this.handle.write(bytes, done, bytes.length - done, offset + done)).bytesWritten;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.handle.close();
    this.#onClose();
  }
}
