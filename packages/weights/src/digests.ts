import { limits } from '@butterfly/common';
import { type ModelTensor, isTensorChunk } from '@butterfly/model';
import type { RemoteSource } from './remote-source.js';

const chunkBytes = limits.fileChunkBytesMax;
const windowBytes = limits.digestsAtOnceMax * chunkBytes;

/** What the bytes of a model are, by their hashes, as its orchestrator says: it is asked for those of many chunks at once. */
export class Digests {
  /** By tensor and window of chunks. */
  readonly #windows = new Map<string, Promise<readonly Uint8Array[]>>();

  constructor(
    private readonly orchestrator: Pick<RemoteSource, 'digests'>,
    private readonly signal: AbortSignal,
  ) {}

  /**
   * The SHA-256 of a part of a tensor, of one chunk at most.
   * @throws ButterflyError as `RemoteSource.digests` does
   */
  async of(tensor: ModelTensor, offset: number, bytes: number): Promise<Uint8Array> {
    const isWhole = isTensorChunk(tensor, { offset, bytes });
    const start = isWhole ? Math.floor(offset / windowBytes) * windowBytes : offset;
    const hashes = await (isWhole
      ? this.#window(tensor, start)
      : this.orchestrator.digests(tensor, offset, bytes, this.signal));
    const hash = hashes[Math.floor((offset - start) / chunkBytes)];
    if (!hash) throw new RangeError(`${tensor.name} has no chunk at ${offset}`);
    return hash;
  }

  #window(tensor: ModelTensor, start: number): Promise<readonly Uint8Array[]> {
    const key = `${tensor.name} ${start}`;
    const known = this.#windows.get(key);
    if (known) return known;
    const bytes = Math.min(windowBytes, tensor.bytes - start);
    const asking = this.orchestrator.digests(tensor, start, bytes, this.signal);
    this.#windows.set(key, asking);
    // What failed may be asked for anew.
    asking.catch(() => this.#windows.delete(key));
    return asking;
  }
}
