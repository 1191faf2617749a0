import { setMaxListeners } from 'node:events';
import { ButterflyError, type Clock, type WorkerObserver, limits, toButterflyError } from '@butterfly/common';
import { type ModelSpec, type ModelTensor, isTensorChunk } from '@butterfly/model';
import type { FileChunk, Transport } from '@butterfly/wire';
import { Digests } from './digests.js';
import { LocalSource } from './local-source.js';
import { PeerSource, type PeerAddress } from './peer-source.js';
import type { RemoteSource } from './remote-source.js';
import type { ImageSource, TensorSource } from './tensor-source.js';
import type { WeightCache } from './weight-cache.js';

/** Ranges that keep the way to a peer full: one that comes while the next one is read there. */
const askedAtOnce = 2;

/** Bytes by where they came from. */
export interface LoadedBytes {
  readonly fileBytes: number;
  readonly cacheBytes: number;
  readonly peerBytes: number;
  readonly orchestratorBytes: number;
}

/** Gives the weights of a shard from wherever they are nearest, and says where that was. */
export interface ShardSource extends TensorSource {
  readonly counts: LoadedBytes;
}

export interface ShardSourceOptions {
  readonly spec: ModelSpec;
  /** Null for a worker that keeps nothing on disk. */
  readonly cache: WeightCache | null;
  /** Workers that may have some of the weights, the nearest first. */
  readonly sources: readonly PeerAddress[];
  readonly orchestrator: RemoteSource;
  readonly peerToken: string;
  /** Of the model, on connections between workers. */
  readonly channel: number;
  readonly transport: Pick<Transport, 'dial'>;
  readonly clock: Clock;
  /** Whether to use the model's files on this machine, if they are the very same. */
  readonly localFiles: boolean;
  readonly observe: WorkerObserver;
}

/**
 * Opens the way to the weights of a model: each range comes from the model's files on this machine, else from the
 * cache, else from a peer, else from the orchestrator, and what came over the network goes into the cache. Wherever it
 * comes from, it is what the orchestrator has, or it is not taken. Disposing it ends the reads under way with CANCELLED
 * and waits until the cache has what arrived.
 */
export async function openShardSource(options: ShardSourceOptions): Promise<ShardSource> {
  const ended = new AbortController();
  const digests = new Digests(options.orchestrator, ended.signal);
  const local = options.localFiles ? await LocalSource.open(options.spec, digests) : null;
  return new NearestSource(options, { ended, digests, local });
}

interface SourceParts {
  /** Ends whatever is under way. */
  readonly ended: AbortController;
  readonly digests: Digests;
  readonly local: LocalSource | null;
}

class NearestSource implements ShardSource {
  readonly images: ImageSource | undefined;
  readonly #counts = { fileBytes: 0, cacheBytes: 0, peerBytes: 0, orchestratorBytes: 0 };
  readonly #peers: readonly PeerSource[];
  readonly #reads = new Set<Promise<void>>();
  /** What is being written to the cache. */
  readonly #writes = new Set<Promise<void>>();
  #cacheGives = true;
  #cacheTakes = true;
  #usesFiles: boolean;

  constructor(
    private readonly options: ShardSourceOptions,
    private readonly parts: SourceParts,
  ) {
    this.#usesFiles = parts.local !== null;
    const { signal } = parts.ended;
    setMaxListeners(0, signal);
    this.#peers = options.sources.map((address) => new PeerSource(address, { ...options, signal }));
    if (options.cache) this.images = this.#imagesOf(options.cache);
  }

  get counts(): LoadedBytes {
    return this.#counts;
  }

  async read(tensor: ModelTensor, offset: number, target: Uint8Array): Promise<void> {
    const reading: Promise<void> = this.#read(tensor, offset, target).finally(() =>
      this.#reads.delete(reading),
    );
    this.#reads.add(reading);
    await reading;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.parts.ended.abort();
    await Promise.allSettled(this.#reads);
    await Promise.all([...this.#writes, ...this.#peers.map((peer) => peer.close())]);
    await this.parts.local?.[Symbol.asyncDispose]();
  }

  async #read(tensor: ModelTensor, offset: number, target: Uint8Array): Promise<void> {
    if (this.parts.ended.signal.aborted) throw new ButterflyError('CANCELLED', 'Loading was given up.');
    const bytes = target.length;
    if (await this.#readFile(tensor, offset, target)) {
      this.#counts.fileBytes += bytes;
      return;
    }
    // Where nobody else may have it, what comes is the orchestrator's own, with its hash.
    const hash = this.#mayBeNearer(tensor) ? await this.parts.digests.of(tensor, offset, bytes) : null;
    if (hash && (await this.#readCache(tensor, offset, target, hash))) {
      this.#counts.cacheBytes += bytes;
      return;
    }
    let chunk = hash && (await this.#fetchFromPeers(tensor, offset, bytes, hash));
    if (chunk) this.#counts.peerBytes += bytes;
    else {
      chunk = await this.#fetchFromOrchestrator(tensor, offset, bytes);
      this.#counts.orchestratorBytes += bytes;
    }
    target.set(chunk.bytes);
    await this.#keep(tensor, offset, chunk);
  }

  /** Whether the cache or a peer is worth asking. */
  #mayBeNearer(tensor: ModelTensor): boolean {
    const { cache } = this.options;
    const hasCache = cache !== null && cache.bytes > 0 && this.#cacheGives;
    return hasCache || this.#peers.some((peer) => peer.mayHave(tensor));
  }

  #imagesOf({ images }: WeightCache): ImageSource {
    return {
      load: (memory, onRead) =>
        images.load(
          memory,
          (bytes) => {
            this.#counts.cacheBytes += bytes;
            onRead(bytes);
          },
          this.parts.ended.signal,
        ),
      keep: (memory, savedMs) => images.keep(memory, savedMs),
    };
  }

  async #readFile(tensor: ModelTensor, offset: number, target: Uint8Array): Promise<boolean> {
    const { local } = this.parts;
    if (!local || !this.#usesFiles) return false;
    try {
      await local.read(tensor, offset, target);
      return true;
    } catch (error) {
      this.#leaveFiles(error);
      return false;
    }
  }

  /** Told once, although several reads may find out. */
  #leaveFiles(error: unknown): void {
    if (!this.#usesFiles) return;
    this.#usesFiles = false;
    const { code, message } = toButterflyError(error);
    this.options.observe({ kind: 'localFileLeft', code, error: message });
  }

  async #readCache(
    tensor: ModelTensor,
    offset: number,
    target: Uint8Array,
    hash: Uint8Array,
  ): Promise<boolean> {
    const { cache, spec } = this.options;
    if (!cache || !this.#cacheGives || !isTensorChunk(tensor, { offset, bytes: target.length })) return false;
    const range = { fileIndex: tensor.fileIndex, offset: tensor.offset + offset };
    try {
      return await cache.readKnown(spec, range, target, hash);
    } catch (error) {
      this.#stopReading(error);
      return false;
    }
  }

  /** Told once, although several reads may find out. */
  #stopReading(error: unknown): void {
    if (!this.#cacheGives) return;
    this.#cacheGives = false;
    this.options.observe({ kind: 'cacheNotRead', error: String(error) });
  }

  /** Asks one peer after the other, as `nextPeer` chooses; null when none has it. */
  async #fetchFromPeers(
    tensor: ModelTensor,
    offset: number,
    bytes: number,
    hash: Uint8Array,
  ): Promise<FileChunk | null> {
    const asked = new Set<PeerSource>();
    while (!this.parts.ended.signal.aborted) {
      const peers = this.#peers.filter((peer) => peer.mayHave(tensor) && !asked.has(peer));
      if (peers.length === 0) return null;
      const peer = nextPeer(peers.filter(({ isOpen }) => isOpen));
      if (!peer) {
        // All at once, because those behind a firewall keep us waiting.
        await Promise.race(peers.map((candidate) => candidate.opened()));
        continue;
      }
      asked.add(peer);
      const chunk = await peer.fetch(tensor, offset, bytes, hash);
      if (chunk) return chunk;
    }
    return null;
  }

  async #fetchFromOrchestrator(tensor: ModelTensor, offset: number, bytes: number): Promise<FileChunk> {
    const chunk = await this.options.orchestrator.fetch(tensor, offset, bytes, this.parts.ended.signal);
    if (chunk) return chunk;
    const { path = '?' } = this.options.spec.files[tensor.fileIndex] ?? {};
    throw new ButterflyError(
      'MODEL_NOT_FOUND',
      `The orchestrator cannot read its file ${path} any more, which has ${tensor.name}; restore it there.`,
    );
  }

  /** Writes to the cache while the next ranges come; waits only when the disk is slower than the network. */
  async #keep(tensor: ModelTensor, offset: number, chunk: FileChunk): Promise<void> {
    const { cache, spec } = this.options;
    if (!cache || !this.#cacheTakes || !isTensorChunk(tensor, { offset, bytes: chunk.bytes.length })) return;
    const range = { fileIndex: tensor.fileIndex, offset: tensor.offset + offset };
    const writing: Promise<void> = cache
      .write(spec, range, chunk.bytes, chunk.sha256)
      .catch((error: unknown) => this.#stopWriting(toButterflyError(error)))
      .finally(() => this.#writes.delete(writing));
    this.#writes.add(writing);
    if (this.#writes.size >= limits.fileFetchesInFlightMax) await Promise.race(this.#writes);
  }

  #stopWriting(error: ButterflyError): void {
    if (!this.#cacheTakes) return;
    this.#cacheTakes = false;
    this.options.observe({ kind: 'cacheNotWritten', error: error.message });
  }
}

/** The first that is not busy, as they come in the order of their nearness; where all are, the least busy one. */
function nextPeer(peers: readonly PeerSource[]): PeerSource | undefined {
  return peers.find(({ asked }) => asked < askedAtOnce) ?? [...peers].sort((a, b) => a.asked - b.asked)[0];
}
