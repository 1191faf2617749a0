import { createHash } from 'node:crypto';
import { open, stat, type FileHandle } from 'node:fs/promises';
import { ButterflyError } from '@butterfly/common';
import { sampleWeights, type ModelFile, type ModelSpec, type ModelTensor } from '@butterfly/model';
import type { TensorSource } from './tensor-source.js';

/** Reads the model's files on this machine. */
export class LocalSource implements TensorSource {
  readonly #handles: readonly FileHandle[];

  private constructor(
    handles: readonly FileHandle[],
    private readonly files: readonly ModelFile[],
  ) {
    this.#handles = handles;
  }

  /** Opens the files when this machine has the very same ones (size, metadata and samples of the weights), else gives null. */
  static async open({ files, tensors }: Pick<ModelSpec, 'files' | 'tensors'>): Promise<LocalSource | null> {
    const handles: FileHandle[] = [];
    try {
      for (const [index, file] of files.entries()) {
        const found = await stat(file.path).catch(() => null);
        if (!found?.isFile() || found.size !== file.bytes) return null;
        const handle = await open(file.path, 'r');
        handles.push(handle);
        if ((await metadataHash(handle, file.metadataBytes)) !== file.metadataSha256) return null;
        const own = tensors.filter(({ fileIndex }) => fileIndex === index);
        if ((await sampleWeights(handle, own)) !== file.weightsSha256) return null;
      }
      return new LocalSource(handles.splice(0), files);
    } catch {
      return null;
    } finally {
      await Promise.all(handles.map((handle) => handle.close()));
    }
  }

  async read(tensor: ModelTensor, offset: number, target: Uint8Array): Promise<void> {
    const at = tensor.offset + offset;
    if (await this.readRange(tensor.fileIndex, at, target)) return;
    const path = this.files[tensor.fileIndex]?.path ?? '?';
    throw new ButterflyError('MODEL_TRUNCATED', `${path} ends within ${tensor.name}; download it again.`);
  }

  /**
   * Fills `target` with the bytes of a file from `offset` on; false when it ends before.
   * @throws ButterflyError MODEL_NOT_FOUND
   */
  async readRange(fileIndex: number, offset: number, target: Uint8Array): Promise<boolean> {
    const handle = this.#handles[fileIndex];
    for (let done = 0; done < target.length;) {
      const got = await handle
        ?.read(target, done, target.length - done, offset + done)
        .catch((cause: unknown) => {
          const path = this.files[fileIndex]?.path ?? '?';
          throw new ButterflyError('MODEL_NOT_FOUND', `${path} cannot be read any more; check its disk.`, {
            cause,
          });
        });
      if (!got || got.bytesRead === 0) return false;
      done += got.bytesRead;
    }
    return true;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#handles.map((handle) => handle.close()));
  }
}

async function metadataHash(handle: FileHandle, bytes: number): Promise<string> {
  const hash = createHash('sha256');
  const window = Buffer.alloc(1 << 20);
  for (let at = 0; at < bytes;) {
    const { bytesRead } = await handle.read(window, 0, Math.min(window.length, bytes - at), at);
    if (bytesRead === 0) break;
    hash.update(window.subarray(0, bytesRead));
    at += bytesRead;
  }
  return hash.digest('hex');
}
