import { ButterflyError } from '@butterfly/common';
import { type ModelSpec, tensorChunks } from '@butterfly/model';
import type { AskedRange, RangeDigests } from '@butterfly/wire';

/**
 * The hashes of the chunks of a model, as far as they have been read: each is computed once, and what is read later has
 * to be the same.
 */
export class KnownDigests implements RangeDigests {
  /** Those of the model's tensors, which alone are kept: others would have no bound. */
  readonly #chunks: ReadonlySet<string>;
  readonly #hashes = new Map<string, Uint8Array>();

  constructor(private readonly spec: Pick<ModelSpec, 'files' | 'tensors'>) {
    this.#chunks = new Set(
      spec.tensors.flatMap(({ fileIndex, offset, bytes }) =>
        tensorChunks({ bytes }).map((chunk) =>
          keyOf({ fileIndex, offset: offset + chunk.offset, bytes: chunk.bytes }),
        ),
      ),
    );
  }

  known(range: AskedRange): Uint8Array | undefined {
    return this.#hashes.get(keyOf(range));
  }

  /** @throws ButterflyError MODEL_CHANGED where it is not the known one */
  found(range: AskedRange, hash: Uint8Array): void {
    const key = keyOf(range);
    const known = this.#hashes.get(key);
    if (known && !Buffer.from(known).equals(hash))
      throw new ButterflyError(
        'MODEL_CHANGED',
        `${this.spec.files[range.fileIndex]?.path ?? '?'} has other bytes than before. Check its disk, restore the file, and start serve again.`,
      );
    if (!known && this.#chunks.has(key)) this.#hashes.set(key, hash);
  }
}

function keyOf({ fileIndex, offset, bytes }: AskedRange): string {
  return `${fileIndex} ${offset} ${bytes}`;
}
