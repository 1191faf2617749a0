import { join } from 'node:path';
import { type WorkerEvent, type WorkerObserver, systemClock } from '@butterfly/common';
import { cachedSyntheticModel, tinyModel } from '@butterfly/testkit';
import { tcpTransport } from '@butterfly/wire';
import { expect } from 'vitest';
import { PeerWeights } from '../peer-weights.js';
import { openShardSource, type ShardSource, type ShardSourceOptions } from '../shard-source.js';
import { WeightCache } from '../weight-cache.js';
import {
  joinServer,
  rangesOf,
  readAll,
  startServer,
  writeWeights,
  type TestServer,
  type TestWeights,
} from './sources.js';

/** What a source has read when it has read nothing. */
export const none = { fileBytes: 0, cacheBytes: 0, peerBytes: 0, orchestratorBytes: 0 };

/** A server as a worker that has weights. */
export const from = (server: TestServer): ShardSourceOptions['sources'][number] => ({
  workerId: `worker-${server.port}`,
  host: '127.0.0.1',
  port: server.port,
});

/** Remembers what kinds of events it was told. */
export function recordingObserver(): {
  readonly observe: WorkerObserver;
  readonly kinds: WorkerEvent['kind'][];
} {
  const kinds: WorkerEvent['kind'][] = [];
  return { observe: ({ kind }) => void kinds.push(kind), kinds };
}

/** A model, an orchestrator that serves it, and all that tests open of them. */
export class ShardSourceWorld implements AsyncDisposable {
  readonly #opened: AsyncDisposable[];

  private constructor(
    readonly weights: TestWeights,
    /** Where sources that are opened from now on fetch what is nowhere nearer. */
    public orchestrator: TestServer,
  ) {
    this.#opened = [weights, orchestrator];
  }

  static async create(): Promise<ShardSourceWorld> {
    const weights = await writeWeights(await cachedSyntheticModel(tinyModel));
    return new ShardSourceWorld(weights, await startServer(rangesOf(weights.content)));
  }

  /** Disposes the resource at the end. */
  keep<T extends AsyncDisposable>(resource: T): T {
    this.#opened.push(resource);
    return resource;
  }

  openCache(name = 'cache', bytesMax = 1e9): Promise<WeightCache> {
    return WeightCache.open({
      directory: join(this.weights.folder, name),
      bytesMax,
      observe: () => undefined,
    });
  }

  /** By default without local files, cache and peers. */
  async openSource(options: Partial<ShardSourceOptions> = {}): Promise<ShardSource> {
    const { remote } = this.keep(await joinServer(this.orchestrator));
    return this.keep(
      await openShardSource({
        spec: this.weights.spec,
        cache: null,
        sources: [],
        orchestrator: remote,
        peerToken: 'peer',
        channel: 1,
        transport: tcpTransport,
        clock: systemClock,
        localFiles: false,
        observe: () => undefined,
        ...options,
      }),
    );
  }

  /** Loads everything, and checks it byte by byte. */
  async load(source: ShardSource): Promise<void> {
    const { weights } = this;
    const contents = await readAll(weights.spec, (tensor, offset, target) =>
      source.read(tensor, offset, target),
    );
    for (const [i, tensor] of weights.spec.tensors.entries())
      expect(contents[i]?.equals(weights.bytesOf(tensor))).toBe(true);
  }

  async startPeer(options: {
    readonly cache?: WeightCache;
    readonly localFiles?: boolean;
  }): Promise<TestServer> {
    const peer = new PeerWeights({
      spec: this.weights.spec,
      cache: options.cache ?? null,
      localFiles: options.localFiles ?? false,
    });
    this.#opened.push({ [Symbol.asyncDispose]: () => peer.close() });
    return this.keep(await startServer((request, to) => peer.serve(to, request)));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const one of this.#opened.reverse()) await one[Symbol.asyncDispose]();
  }
}
