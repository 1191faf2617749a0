import { setTimeout as pause } from 'node:timers/promises';
import { ButterflyError, limits, sha256, type Clock, type Logger } from '@butterfly/common';
import type { ModelSpec, ModelTensor } from '@butterfly/model';
import { chunksOf } from './tensor-source.js';
import type { WeightCache, WeightRange } from './weight-cache.js';

/** A tensor in a layout of some kernels' own, in the memory where they use it. */
export interface ConvertedTensor {
  readonly tensor: ModelTensor;
  /** Names the layout, the same only where the same bytes mean the same. */
  readonly layout: string;
  /** In that layout. */
  readonly bytes: number;
  /** A part of it, to be used at once; null when it is freed. */
  view(offset: number, bytes: number): Uint8Array | null;
}

export interface ConvertedWeightsOptions {
  readonly spec: ModelSpec;
  readonly cache: WeightCache;
  /** What the disk of the cache reads, as measured. */
  readonly diskBytesPerSecond: number;
  /** Ends the reads under way. */
  readonly signal: AbortSignal;
  readonly clock: Clock;
  readonly log: Logger;
  /** Told of bytes that came from the cache. */
  readonly onBytes: (bytes: number) => void;
}

/** A start that would be less than this faster is not worth its place on the disk. */
const savedMsMin = 250;
/** Keeping rests this many times as long as it works, so that serving has the machine. */
const restFactor = 3;

interface Part {
  readonly range: WeightRange;
  /** Of the file. */
  readonly fileBytes: number;
  /** In the tensor as it is converted. */
  readonly offset: number;
  readonly bytes: number;
}

/**
 * Weights in the layouts of this machine's kernels, in its cache: to convert them takes longer than a fast disk does to
 * read them, so the first load of a shard keeps what it converted, and the next ones read it straight into its place.
 */
export class ConvertedWeights {
  readonly #openedMs: number;

  constructor(private readonly options: ConvertedWeightsOptions) {
    this.#openedMs = options.clock.nowMs();
  }

  /**
   * Fills those tensors that the cache has whole, and gives them. Others may have been written to in part.
   * @param onRead told of bytes of the file that need not be read any more
   * @throws ButterflyError CANCELLED
   */
  async load(
    tensors: readonly ConvertedTensor[],
    onRead: (fileBytes: number) => void,
  ): Promise<ReadonlySet<ConvertedTensor>> {
    const loaded = new Set<ConvertedTensor>();
    const parts: (Part & { readonly of: ConvertedTensor })[] = [];
    for (const tensor of tensors) {
      if (!(await this.#isKept(tensor))) continue;
      loaded.add(tensor);
      parts.push(...partsOf(tensor).map((part) => ({ ...part, of: tensor })));
    }
    let next = 0;
    const read = async (): Promise<void> => {
      for (let part = parts[next++]; part; part = parts[next++]) {
        if (!loaded.has(part.of)) continue;
        if (await this.#read(part.of, part)) onRead(part.fileBytes);
        else loaded.delete(part.of);
      }
    };
    const readers = Array.from({ length: limits.fileFetchesInFlightMax }, () =>
      read().finally(() => (next = parts.length)),
    );
    // All of them come to an end before the memory that they write to may go.
    await Promise.allSettled(readers);
    await Promise.all(readers);
    return loaded;
  }

  /**
   * Keeps what was converted, beside whatever else is done, as long as the memory is there; only where the next load
   * would be faster by enough, and where there is room for all of it.
   */
  keep(tensors: readonly ConvertedTensor[]): void {
    const { cache, clock, diskBytesPerSecond } = this.options;
    const bytes = tensors.reduce((sum, tensor) => sum + tensor.bytes, 0);
    const savedMs = clock.nowMs() - this.#openedMs - (bytes * 1000) / diskBytesPerSecond;
    if (savedMs >= savedMsMin && bytes <= cache.bytesMax) cache.aside(() => this.#keepAll(tensors));
  }

  async #keepAll(tensors: readonly ConvertedTensor[]): Promise<void> {
    const { clock, log } = this.options;
    try {
      for (const tensor of tensors)
        for (const part of partsOf(tensor)) {
          const startedMs = clock.nowMs();
          if (!(await this.#keepPart(tensor, part))) return;
          await pause(restFactor * (clock.nowMs() - startedMs));
        }
      log.info({ tensors: tensors.length }, 'The weights are kept as the kernels want them.');
    } catch (error) {
      log.warn(
        { error: String(error) },
        'converted weights are not kept: the cache cannot be written to, check the space and permissions of its disk',
      );
    }
  }

  /** False when the memory is freed. */
  async #keepPart(tensor: ConvertedTensor, { range, offset, bytes }: Part): Promise<boolean> {
    const { spec, cache } = this.options;
    if (await cache.has(spec, range, bytes)) return true;
    const view = tensor.view(offset, bytes);
    if (!view) return false;
    // A copy, because the memory may be freed while it is written.
    const copy = Buffer.from(view);
    await cache.write(spec, range, copy, await sha256(copy));
    return true;
  }

  async #read(tensor: ConvertedTensor, { range, offset, bytes }: Part): Promise<boolean> {
    const { spec, cache, signal, onBytes } = this.options;
    if (signal.aborted) throw new ButterflyError('CANCELLED', 'Loading was given up.');
    const target = tensor.view(offset, bytes);
    if (!target || !(await cache.read(spec, range, target))) return false;
    onBytes(bytes);
    return true;
  }

  async #isKept(tensor: ConvertedTensor): Promise<boolean> {
    const { spec, cache } = this.options;
    for (const { range, bytes } of partsOf(tensor)) if (!(await cache.has(spec, range, bytes))) return false;
    return true;
  }
}

/** As many parts as the tensor has ranges in the file, each known by the range in its place. */
function partsOf({ tensor, layout, bytes }: ConvertedTensor): Part[] {
  const ranges = chunksOf(tensor);
  const boundary = (index: number): number => Math.round((bytes * index) / ranges.length);
  return ranges.map((range, index) => ({
    range: { fileIndex: tensor.fileIndex, offset: tensor.offset + range.offset, layout },
    fileBytes: range.bytes,
    offset: boundary(index),
    bytes: boundary(index + 1) - boundary(index),
  }));
}
