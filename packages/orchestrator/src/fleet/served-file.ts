import type { BigIntStats } from 'node:fs';
import { open, stat, type FileHandle } from 'node:fs/promises';
import { ButterflyError, toButterflyError } from '@butterfly/common';
import { type ModelFile, type ModelTensor, fileStamp, sampleWeights } from '@butterfly/model';

/** An open file, and what it looked like when it was last known to be the model's. */
interface Held {
  readonly handle: FileHandle;
  seen: BigIntStats;
}

/**
 * One file of the model, held open: what is under its path may be replaced or deleted, and the bytes of the model stay.
 * A file that is written to in place is noticed with each read, and nothing of it is given any more.
 */
export class ServedFile {
  #held: Promise<Held> | null = null;
  /** Reads that find the file's attributes changed look at it one after the other. */
  #checking: Promise<void> = Promise.resolve();

  /** @param tensors those of this file, in its order */
  constructor(
    private readonly file: ModelFile,
    private readonly tensors: readonly ModelTensor[],
  ) {}

  /**
   * Opens it, unless it is open. One that could not be opened is tried again the next time.
   * @throws ButterflyError MODEL_NOT_FOUND, or MODEL_CHANGED where another file is under the path by now
   */
  async hold(): Promise<void> {
    await this.#open();
  }

  /** @throws ButterflyError MODEL_NOT_FOUND, MODEL_TRUNCATED, MODEL_CHANGED */
  async read(offset: number, bytes: number): Promise<Uint8Array> {
    const held = await this.#open();
    const chunk = Buffer.allocUnsafe(bytes);
    for (let done = 0; done < bytes;) {
      const { bytesRead } = await held.handle
        .read(chunk, done, bytes - done, offset + done)
        .catch((cause: unknown) => this.#unreadable(cause));
      if (bytesRead === 0)
        throw new ButterflyError(
          'MODEL_TRUNCATED',
          `${this.file.path} became shorter while it was served. Restore it, and start serve again.`,
        );
      done += bytesRead;
    }
    // Afterwards: what was written before it was read shows by now.
    await this.#verify(held);
    return chunk;
  }

  /** What whoever runs the orchestrator should know of this file; null where all is well, or nothing was opened. */
  async look(): Promise<ButterflyError | string | null> {
    const held = await this.#held?.catch(() => null);
    if (!held) return null;
    try {
      await this.#verify(held);
      const { path } = this.file;
      const found = await statOf(path);
      if (!found)
        return `${path} is gone. What was opened is served on to workers that join; to start again, the file is needed.`;
      if (found.ino === held.seen.ino) return null;
      return `${path} is another file now. The one that was opened is served on; start serve again to serve the new one.`;
    } catch (thrown) {
      return toButterflyError(thrown);
    }
  }

  async close(): Promise<void> {
    const held = await this.#held?.catch(() => null);
    this.#held = null;
    await held?.handle.close();
  }

  #open(): Promise<Held> {
    const opening = (this.#held ??= this.#openAnew());
    opening.catch(() => {
      if (this.#held === opening) this.#held = null;
    });
    return opening;
  }

  async #openAnew(): Promise<Held> {
    const handle = await open(this.file.path, 'r').catch((cause: unknown) => this.#unreadable(cause));
    const seen = await handle.stat({ bigint: true });
    if (fileStamp(seen) === this.file.stamp) return { handle, seen };
    await handle.close();
    throw new ButterflyError(
      'MODEL_CHANGED',
      `${this.file.path} is not the file any more that serve was started with. Start serve again with the right file.`,
    );
  }

  async #verify(held: Held): Promise<void> {
    if (fileStamp(await held.handle.stat({ bigint: true })) === fileStamp(held.seen)) return;
    const checking = this.#checking.then(() => this.#reconsider(held));
    this.#checking = checking.catch(() => undefined);
    await checking;
  }

  /** A new name, one name less or other permissions change a file's stamp too, and leave its content alone. */
  async #reconsider(held: Held): Promise<void> {
    const now = await held.handle.stat({ bigint: true });
    if (fileStamp(now) === fileStamp(held.seen)) return;
    const isOnlyNamed =
      now.size === held.seen.size &&
      now.mtimeNs === held.seen.mtimeNs &&
      (isMarkedOtherwise(now, held.seen) || (await statOf(this.file.path))?.ino !== now.ino) &&
      (await sampleWeights(held.handle, this.tensors)) === this.file.weightsSha256;
    if (!isOnlyNamed)
      throw new ButterflyError(
        'MODEL_CHANGED',
        `${this.file.path} was written to while it is served. Restore it, and start serve again; what is loaded goes on.`,
      );
    held.seen = now;
  }

  #unreadable(cause: unknown): never {
    throw new ButterflyError(
      'MODEL_NOT_FOUND',
      `${this.file.path} cannot be read any more. Restore it, and start serve again.`,
      { cause },
    );
  }
}

function isMarkedOtherwise(now: BigIntStats, before: BigIntStats): boolean {
  return (
    now.nlink !== before.nlink || now.mode !== before.mode || now.uid !== before.uid || now.gid !== before.gid
  );
}

async function statOf(path: string): Promise<BigIntStats | null> {
  return stat(path, { bigint: true }).catch(() => null);
}
