import { ButterflyError } from '@butterfly/common';
import type { ModelSpec } from '@butterfly/model';
import { type AskedRange, type Outlet, type ControlMessageOf, RangeServer } from '@butterfly/wire';
import { LocalSource } from './local-source.js';
import type { WeightCache } from './weight-cache.js';

type Fetch = ControlMessageOf<'fetch'>;

export interface PeerWeightsOptions {
  readonly spec: ModelSpec;
  readonly cache: WeightCache | null;
  /** Whether to serve the model's files on this machine, if they are the very same. */
  readonly localFiles: boolean;
}

/**
 * Serves weights to other workers, from the model's files where this machine has them, else from its cache. Whoever asks
 * compares what comes with what the orchestrator has.
 */
export class PeerWeights {
  readonly #ranges = new RangeServer((request) => this.#read(request));
  /** Opened when first asked for. */
  #local: Promise<LocalSource | null> | null = null;

  constructor(private readonly options: PeerWeightsOptions) {}

  /**
   * Answers one request, with `fetchMissing` where this worker does not have the range.
   * @throws ButterflyError PROTOCOL_INVALID for a range outside the model or too many at once, CONNECTION_CLOSED
   */
  serve(outlet: Outlet, request: Fetch): Promise<void> {
    return this.#ranges.serve(outlet, request);
  }

  async close(): Promise<void> {
    const local = await this.#local;
    this.#local = Promise.resolve(null);
    await local?.[Symbol.asyncDispose]();
  }

  async #read({ fileIndex, offset, bytes }: AskedRange): Promise<Uint8Array | null> {
    const { spec, cache, localFiles } = this.options;
    if (offset + bytes > (spec.files[fileIndex]?.bytes ?? 0))
      throw new ButterflyError(
        'PROTOCOL_INVALID',
        `A worker asked for bytes ${offset}+${bytes} of file ${fileIndex}, which do not exist.`,
      );
    const target = Buffer.allocUnsafe(bytes);
    if (localFiles) {
      const local = await (this.#local ??= LocalSource.open(spec));
      // A file that became unreadable is none; the cache or another machine may have the range.
      if (await local?.readRange(fileIndex, offset, target).catch(() => false)) return target;
    }
    return (await cache?.read(spec, { fileIndex, offset }, target)) ? target : null;
  }
}
