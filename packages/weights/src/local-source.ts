import { createHash } from 'node:crypto';
import { open, stat, type FileHandle } from 'node:fs/promises';
import { ButterflyError, sha256 } from '@butterfly/common';
import { type ModelFile, type ModelSpec, type ModelTensor, sampleWeights, stampOf } from '@butterfly/model';
import type { Digests } from './digests.js';
import type { TensorSource } from './tensor-source.js';

/**
 * Reads the model's files on this machine. What comes from the very file that the orchestrator serves, unchanged, is
 * known to be right; what comes from a copy is compared, chunk by chunk, with what the orchestrator has.
 */
export class LocalSource implements TensorSource {
  readonly #handles: readonly FileHandle[];

  private constructor(
    handles: readonly FileHandle[],
    private readonly files: readonly ModelFile[],
    private readonly digests: Pick<Digests, 'of'> | null,
  ) {
    this.#handles = handles;
  }

  /**
   * Opens the files when this machine has them, or what looks like copies (size, metadata and samples of the weights),
   * else gives null.
   * @param digests what copies are compared with; without it only the very files are read
   */
  static async open(
    { files, tensors }: Pick<ModelSpec, 'files' | 'tensors'>,
    digests: Pick<Digests, 'of'> | null = null,
  ): Promise<LocalSource | null> {
    const handles: FileHandle[] = [];
    try {
      for (const [index, file] of files.entries()) {
        const found = await stat(file.path).catch(() => null);
        if (!found?.isFile() || found.size !== file.bytes) return null;
        const handle = await open(file.path, 'r');
        handles.push(handle);
        if ((await stampOf(handle)) === file.stamp) continue;
        if ((await metadataHash(handle, file.metadataBytes)) !== file.metadataSha256) return null;
        const own = tensors.filter(({ fileIndex }) => fileIndex === index);
        if ((await sampleWeights(handle, own)) !== file.weightsSha256) return null;
      }
      return new LocalSource(handles.splice(0), files, digests);
    } catch {
      return null;
    } finally {
      await Promise.all(handles.map((handle) => handle.close()));
    }
  }

  /** @throws ButterflyError MODEL_CHANGED for bytes that are not, or cannot be shown to be, the model's; and as `TensorSource` does */
  async read(tensor: ModelTensor, offset: number, target: Uint8Array): Promise<void> {
    const { fileIndex } = tensor;
    const path = this.files[fileIndex]?.path ?? '?';
    if (!(await this.readRange(fileIndex, tensor.offset + offset, target)))
      throw new ButterflyError('MODEL_TRUNCATED', `${path} ends within ${tensor.name}; download it again.`);
    // Afterwards: what was written before it was read shows by now.
    if (await this.#isVeryFile(fileIndex)) return;
    const hash = await this.digests?.of(tensor, offset, target.length);
    if (hash && Buffer.from(hash).equals(await sha256(target))) return;
    throw new ButterflyError(
      'MODEL_CHANGED',
      `${path} has other bytes of ${tensor.name} than the file that the orchestrator serves; replace it with a copy of that.`,
    );
  }

  /**
   * Fills `target` with the bytes of a file from `offset` on, whatever they are; false when it ends before.
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

  async #isVeryFile(fileIndex: number): Promise<boolean> {
    const handle = this.#handles[fileIndex];
    return handle !== undefined && (await stampOf(handle)) === this.files[fileIndex]?.stamp;
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
