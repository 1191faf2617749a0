import { createHash, randomBytes } from 'node:crypto';
import { open, readdir, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Logger, limits, sha256, silentLogger, systemClock } from '@butterfly/common';
import { cachedSyntheticModel, tinyModel } from '@butterfly/testkit';
import { RangeServer, encodeControl, encodeFileChunk, tcpTransport } from '@butterfly/wire';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { PeerWeights } from './peer-weights.js';
import { openShardSource, type ShardSource, type ShardSourceOptions } from './shard-source.js';
import {
  joinServer,
  rangesOf,
  readAll,
  startServer,
  writeWeights,
  type Answer,
  type TestServer,
  type TestWeights,
} from './testing/sources.js';
import { WeightCache } from './weight-cache.js';

let weights: TestWeights;
let orchestrator: TestServer;
let opened: AsyncDisposable[];
beforeEach(async () => {
  opened = [];
  weights = keep(await writeWeights(await cachedSyntheticModel(tinyModel)));
  orchestrator = keep(await startServer(rangesOf(weights.content)));
});
afterEach(async () => {
  for (const one of opened.reverse()) await one[Symbol.asyncDispose]();
});

function keep<T extends AsyncDisposable>(resource: T): T {
  opened.push(resource);
  return resource;
}

const openCache = (name = 'cache', bytesMax = 1e9): Promise<WeightCache> =>
  WeightCache.open({ directory: join(weights.folder, name), bytesMax, log: silentLogger });

/** By default without local files, cache and peers. */
async function openSource(options: Partial<ShardSourceOptions> = {}): Promise<ShardSource> {
  const { remote } = keep(await joinServer(orchestrator));
  return keep(
    await openShardSource({
      spec: weights.spec,
      cache: null,
      sources: [],
      orchestrator: remote,
      peerToken: 'peer',
      transport: tcpTransport,
      clock: systemClock,
      localFiles: false,
      log: silentLogger,
      ...options,
    }),
  );
}

/** Loads everything, and checks it byte by byte. */
async function load(source: ShardSource): Promise<void> {
  const contents = await readAll(weights.spec, (tensor, offset, target) =>
    source.read(tensor, offset, target),
  );
  for (const [i, tensor] of weights.spec.tensors.entries())
    expect(contents[i]?.equals(weights.bytesOf(tensor))).toBe(true);
}

const none = { fileBytes: 0, cacheBytes: 0, peerBytes: 0, orchestratorBytes: 0 };
const from = (server: TestServer): ShardSourceOptions['sources'][number] => ({
  workerId: `worker-${server.port}`,
  host: '127.0.0.1',
  port: server.port,
});

async function startPeer(options: {
  readonly cache?: WeightCache;
  readonly localFiles?: boolean;
}): Promise<TestServer> {
  const peer = new PeerWeights({
    spec: weights.spec,
    cache: options.cache ?? null,
    localFiles: options.localFiles ?? false,
  });
  opened.push({ [Symbol.asyncDispose]: () => peer.close() });
  return keep(await startServer((request, to) => peer.serve(to, request)));
}

function recordingLogger(): { readonly log: Logger; readonly warnings: string[] } {
  const warnings: string[] = [];
  const log: Logger = { ...silentLogger, warn: (_, message) => void warnings.push(message) };
  return { log, warnings };
}

describe('openShardSource', () => {
  it('takes all from the local files where they are the very same', async () => {
    const source = await openSource({ localFiles: true, cache: await openCache() });
    await load(source);
    expect(source.counts).toEqual({ ...none, fileBytes: weights.totalBytes });
    expect(orchestrator.requests).toEqual([]);
  });

  it('takes nothing from a local file with other weights', async () => {
    const [file] = weights.spec.files;
    if (!file) throw new RangeError('a model has a file');
    const content = Buffer.from(weights.content);
    const changed = weights.spec.tensors[3]?.offset ?? 0;
    content.writeUInt8(content.readUInt8(changed) ^ 1, changed);
    await writeFile(file.path, content);
    const source = await openSource({ localFiles: true });
    await load(source);
    expect(source.counts).toEqual({ ...none, orchestratorBytes: weights.totalBytes });
  });

  it('takes all from a local copy that is right, and nothing wrong from one that differs in one byte', async () => {
    const [file] = weights.spec.files;
    const big = weights.spec.tensors[2];
    if (!file || !big) throw new RangeError('a model has a file and tensors');
    const asIfElsewhere = { ...weights.spec, files: [{ ...file, stamp: 'of another machine' }] };
    const right = await openSource({ spec: asIfElsewhere, localFiles: true });
    await load(right);
    expect(right.counts).toEqual({ ...none, fileBytes: weights.totalBytes });
    const content = Buffer.from(weights.content);
    // In its second chunk, and in no sample.
    const changed = big.offset + limits.fileChunkBytesMax + 100_000;
    content.writeUInt8(content.readUInt8(changed) ^ 1, changed);
    await writeFile(file.path, content);
    const { log, warnings } = recordingLogger();
    const wrong = await openSource({ spec: asIfElsewhere, localFiles: true, log });
    await load(wrong);
    expect(wrong.counts.orchestratorBytes).toBeGreaterThanOrEqual(limits.fileChunkBytesMax);
    expect(wrong.counts.fileBytes + wrong.counts.orchestratorBytes).toBe(weights.totalBytes);
    expect(warnings).toHaveLength(1);
  });

  it('takes nothing wrong from a local file that is overwritten while it loads', async () => {
    const [file] = weights.spec.files;
    const source = await openSource({ localFiles: true });
    const last = weights.spec.tensors[3];
    if (!file || !last) throw new RangeError('a model has a file and tensors');
    await using handle = await open(file.path, 'r+');
    await handle.write(Buffer.alloc(1000), 0, 1000, last.offset + 30_000);
    await load(source);
    expect(source.counts.orchestratorBytes).toBeGreaterThanOrEqual(last.bytes);
  });

  it('believes nothing that was filed under this model before', async () => {
    const cache = await openCache();
    const wrong = randomBytes(5000);
    const [small] = weights.spec.tensors;
    if (!small) throw new RangeError('a model has tensors');
    await cache.write(weights.spec, { fileIndex: 0, offset: small.offset }, wrong, await sha256(wrong));
    const source = await openSource({ cache });
    await load(source);
    expect(source.counts).toEqual({ ...none, orchestratorBytes: weights.totalBytes });
    await source[Symbol.asyncDispose]();
    // And what it passes on from now on is right.
    const again = Buffer.alloc(small.bytes);
    const range = { fileIndex: 0, offset: small.offset };
    expect(await (await openCache()).read(weights.spec, range, again)).toBe(true);
    expect(again.equals(weights.bytesOf(small))).toBe(true);
  });

  it('takes what another model left in the cache, where the bytes are the same', async () => {
    const cache = await openCache();
    await load(await openSource({ cache }));
    const [file] = weights.spec.files;
    if (!file) throw new RangeError('a model has a file');
    const downloadedAgain = { ...weights.spec, files: [{ ...file, stamp: 'of another download' }] };
    const source = await openSource({ spec: downloadedAgain, cache });
    await load(source);
    expect(source.counts).toEqual({ ...none, cacheBytes: weights.totalBytes });
    expect(await cache.bytesOf(downloadedAgain)).toBe(weights.totalBytes);
  });

  it('says what the orchestrator says of its file, whatever the cache holds', async () => {
    const cache = await openCache();
    await load(await openSource({ cache }));
    const refuse: Answer = ({ requestId }, to) => {
      const error = { code: 'MODEL_CHANGED', message: 'It was replaced.' };
      to.send(encodeControl({ kind: 'fetchMissing', requestId, error }));
      return Promise.resolve();
    };
    orchestrator = keep(await startServer(refuse));
    const refused = expect.objectContaining({
      code: 'MODEL_CHANGED',
      message: 'It was replaced.',
    }) as unknown;
    await expect(load(await openSource())).rejects.toThrow(refused);
    await expect(load(await openSource({ cache }))).rejects.toThrow(refused);
  });

  it('goes on over the network when the local file breaks off', async () => {
    const { log, warnings } = recordingLogger();
    const source = await openSource({ localFiles: true, log });
    await truncate(weights.spec.files[0]?.path ?? '', weights.spec.tensors[2]?.offset ?? 0);
    await load(source);
    expect(source.counts.fileBytes).toBe(5000 + limits.fileChunkBytesMax);
    expect(source.counts.orchestratorBytes).toBe(weights.totalBytes - source.counts.fileBytes);
    expect(warnings).toHaveLength(1);
  });

  it('moves each byte once: the second load comes from the cache, also after a restart', async () => {
    const first = await openSource({ cache: await openCache() });
    await load(first);
    await first[Symbol.asyncDispose]();
    expect(first.counts).toEqual({ ...none, orchestratorBytes: weights.totalBytes });
    const asked = orchestrator.requests.reduce((sum, { bytes }) => sum + bytes, 0);
    expect(asked).toBe(weights.totalBytes);
    const second = await openSource({ cache: await openCache() });
    await load(second);
    expect(second.counts).toEqual({ ...none, cacheBytes: weights.totalBytes });
  });

  it('fetches only what is corrupt in the cache', async () => {
    const first = await openSource({ cache: await openCache() });
    await load(first);
    await first[Symbol.asyncDispose]();
    const [small] = weights.spec.tensors;
    if (!small) throw new RangeError('a model has tensors');
    const name = createHash('sha256').update(weights.bytesOf(small)).digest('hex');
    await writeFile(join(weights.folder, 'cache', 'blobs', name), Buffer.alloc(small.bytes));
    const second = await openSource({ cache: await openCache() });
    await load(second);
    expect(second.counts.orchestratorBytes).toBe(small.bytes);
    expect(second.counts.cacheBytes).toBe(weights.totalBytes - small.bytes);
  });

  it('resumes after a cut: what had arrived does not travel again', async () => {
    const allowed = 3;
    const whole = rangesOf(weights.content);
    const cut: Answer = async (request, to) => {
      if (orchestrator.requests.length > allowed) orchestrator.cut();
      else await whole.serve(to, request);
    };
    orchestrator = keep(await startServer(cut, whole));
    const first = await openSource({ cache: await openCache() });
    await expect(load(first)).rejects.toThrow(expect.objectContaining({ code: 'CONNECTION_CLOSED' }));
    await first[Symbol.asyncDispose]();
    expect(first.counts.orchestratorBytes).toBeGreaterThan(0);

    orchestrator = keep(await startServer(whole));
    const second = await openSource({ cache: await openCache() });
    await load(second);
    expect(second.counts.cacheBytes).toBe(first.counts.orchestratorBytes);
    expect(second.counts.orchestratorBytes).toBe(weights.totalBytes - first.counts.orchestratorBytes);
  });

  it('loads on without a cache that cannot be written to, and says so once', async () => {
    const { log, warnings } = recordingLogger();
    await writeFile(join(weights.folder, 'file'), 'x');
    const source = await openSource({ cache: await openCache('file'), log });
    await load(source);
    expect(source.counts).toEqual({ ...none, orchestratorBytes: weights.totalBytes });
    expect(warnings).toEqual([expect.stringMatching(/cache cannot be written/)]);
  });

  it('loads on without a cache that cannot be read, and says so once', async () => {
    const { log, warnings } = recordingLogger();
    const cache = await openCache();
    await cache.write(weights.spec, { fileIndex: 0, offset: 0 }, new Uint8Array(10), new Uint8Array(32));
    // No disk here breaks when it is told to.
    const broken = Object.assign(cache, {
      readKnown: () => Promise.reject(new Error('EIO: i/o error, read')),
    });
    const source = await openSource({ cache: broken, log });
    await load(source);
    expect(source.counts).toEqual({ ...none, orchestratorBytes: weights.totalBytes });
    expect(warnings).toEqual([expect.stringMatching(/cache cannot be read/)]);
  });

  it('says which file the orchestrator cannot read any more', async () => {
    orchestrator = keep(await startServer(new RangeServer(() => Promise.resolve(null))));
    const path = weights.spec.files[0]?.path ?? '?';
    await expect(load(await openSource())).rejects.toThrow(
      expect.objectContaining({
        code: 'MODEL_NOT_FOUND',
        message: expect.stringContaining(path) as string,
      }),
    );
  });

  it('loads more than the cache may hold', async () => {
    const cache = await openCache('cache', limits.fileChunkBytesMax + 100_000);
    await load(await openSource({ cache }));
    expect(cache.bytes).toBeLessThanOrEqual(limits.fileChunkBytesMax + 100_000);
    await load(await openSource({ cache }));
  });

  it('ends what is under way when it is disposed', async () => {
    orchestrator = keep(await startServer(() => new Promise(() => undefined)));
    const source = await openSource();
    const [tensor] = weights.spec.tensors;
    if (!tensor) throw new RangeError('a model has tensors');
    const reading = source.read(tensor, 0, new Uint8Array(100));
    const ended = expect(reading).rejects.toThrow(expect.objectContaining({ code: 'CANCELLED' }));
    await source[Symbol.asyncDispose]();
    await ended;
    await expect(source.read(tensor, 0, new Uint8Array(100))).rejects.toThrow(
      expect.objectContaining({ code: 'CANCELLED' }),
    );
  });
});

describe('openShardSource with peers', () => {
  it('asks a peer with the files before the orchestrator, and keeps what it sends', async () => {
    const peer = await startPeer({ localFiles: true });
    const source = await openSource({ sources: [from(peer)], cache: await openCache() });
    await load(source);
    expect(source.counts).toEqual({ ...none, peerBytes: weights.totalBytes });
    expect(orchestrator.requests).toEqual([]);
    await source[Symbol.asyncDispose]();
    expect(await (await openCache()).bytesOf(weights.spec)).toBe(weights.totalBytes);
  });

  it('takes from a peer what its cache has, and the rest from elsewhere, asking it no more than it must', async () => {
    const theirs = await openCache('theirs');
    const [, wanted] = weights.spec.tensors;
    if (!wanted) throw new RangeError('a model has tensors');
    const range = { fileIndex: 0, offset: wanted.offset };
    await theirs.write(weights.spec, range, weights.bytesOf(wanted), await sha256(weights.bytesOf(wanted)));
    const peer = await startPeer({ cache: theirs });
    const source = await openSource({ sources: [from(peer)] });
    await load(source);
    expect(source.counts.peerBytes).toBe(wanted.bytes);
    expect(source.counts.orchestratorBytes).toBe(weights.totalBytes - wanted.bytes);
  });

  it('prefers the peer that it is told of first, as long as that is not busy', async () => {
    const peers = await Promise.all([0, 1, 2].map(() => startPeer({ localFiles: true })));
    const source = await openSource({ sources: peers.map(from) });
    const [tensor] = weights.spec.tensors;
    if (!tensor) throw new RangeError('a model has tensors');
    const read = async (atOnce: number): Promise<number[]> => {
      const before = peers.map(({ requests }) => requests.length);
      const reading = Array.from({ length: atOnce }, () =>
        source.read(tensor, 0, new Uint8Array(tensor.bytes)),
      );
      await Promise.all(reading);
      return peers.map(({ requests }, index) => requests.length - (before[index] ?? 0));
    };
    // Until all three are open.
    while ((await read(6)).some((asked) => asked === 0));
    expect(await read(1)).toEqual([1, 0, 0]);
    expect(await read(2)).toEqual([2, 0, 0]);
    expect(await read(3)).toEqual([2, 1, 0]);
    expect(await read(6)).toEqual([2, 2, 2]);
  });

  it('shares the work among peers', async () => {
    const peers = [await startPeer({ localFiles: true }), await startPeer({ localFiles: true })];
    const source = await openSource({ sources: peers.map(from) });
    await load(source);
    expect(source.counts.peerBytes).toBe(weights.totalBytes);
    for (const { requests } of peers) expect(requests.length).toBeGreaterThan(0);
  });

  const lies: [string, Answer][] = [
    [
      'sends a wrong hash',
      async ({ requestId, bytes }, to) =>
        to.send(
          encodeFileChunk({ requestId, bytes: Buffer.alloc(bytes), sha256: await sha256(Buffer.alloc(1)) }),
        ),
    ],
    [
      'sends too few bytes',
      async ({ requestId, bytes }, to) => {
        const short = Buffer.alloc(bytes - 1);
        to.send(encodeFileChunk({ requestId, bytes: short, sha256: await sha256(short) }));
      },
    ],
    [
      'has another file',
      async ({ requestId, bytes }, to) => {
        const other = randomBytes(bytes);
        to.send(encodeFileChunk({ requestId, bytes: other, sha256: await sha256(other) }));
      },
    ],
    ['closes the connection', (_, to) => to.close('no time')],
    [
      'sends what does not belong',
      (_, to) => {
        to.send(encodeControl({ kind: 'linked', epoch: 1 }));
        return Promise.resolve();
      },
    ],
    ['fails', () => Promise.reject(new RangeError('the test says so'))],
  ];
  it.each(lies)('drops a peer that %s, and asks the next one', async (_, answer) => {
    const liar = keep(await startServer(answer));
    const honest = await startPeer({ localFiles: true });
    const { log, warnings } = recordingLogger();
    const source = await openSource({ sources: [from(liar), from(honest)], log });
    await load(source);
    expect(source.counts.peerBytes + source.counts.orchestratorBytes).toBe(weights.totalBytes);
    expect(source.counts.peerBytes).toBeGreaterThan(0);
    expect(liar.requests.length).toBeLessThanOrEqual(limits.fileFetchesInFlightMax);
    expect(warnings).toHaveLength(1);
  });

  it('goes on with the orchestrator when a peer is cut in the middle', async () => {
    const whole = rangesOf(weights.content);
    const dying: TestServer = keep(
      await startServer(async (request, to) => {
        if (dying.requests.length > 2) dying.cut();
        else await whole.serve(to, request);
      }),
    );
    const source = await openSource({ sources: [from(dying)] });
    await load(source);
    expect(source.counts.peerBytes).toBeGreaterThan(0);
    expect(source.counts.orchestratorBytes).toBe(weights.totalBytes - source.counts.peerBytes);
  });

  it('does without peers that are gone, or do not take its token', async () => {
    const gone = await startServer(() => Promise.resolve());
    const address = from(gone);
    await gone[Symbol.asyncDispose]();
    const stranger = await startPeer({ localFiles: true });
    const source = await openSource({ sources: [address, from(stranger)], peerToken: 'another' });
    await load(source);
    expect(source.counts).toEqual({ ...none, orchestratorBytes: weights.totalBytes });
    expect(stranger.requests).toEqual([]);
  });

  it('drops a peer that is silent', async () => {
    const silent = keep(await startServer(() => new Promise(() => undefined)));
    const timers = new Set<() => void>();
    const clock = {
      nowMs: () => 0,
      after: (_: number, callback: () => void) => {
        timers.add(callback);
        return () => void timers.delete(callback);
      },
    };
    // The orchestrator's connection has the real clock; only what the peer is waited for runs on this one.
    const source = await openSource({ sources: [from(silent)], clock });
    const loading = load(source);
    while (silent.requests.length === 0) await new Promise((resolve) => setImmediate(resolve));
    for (const fire of [...timers]) fire();
    await loading;
    expect(source.counts.orchestratorBytes).toBe(weights.totalBytes);
  });
});

describe('PeerWeights', () => {
  it('refuses ranges outside the model', async () => {
    const peer = await startPeer({ localFiles: true });
    const { remote } = keep(await joinServer(peer));
    const [tensor] = weights.spec.tensors;
    if (!tensor) throw new RangeError('a model has tensors');
    const beyond = remote.fetch({ ...tensor, offset: weights.content.length }, 0, 1);
    await expect(beyond).rejects.toThrow(expect.objectContaining({ code: 'PROTOCOL_INVALID' }));
  });

  it('serves from its cache when its files went bad', async () => {
    const cache = await openCache();
    await load(await openSource({ cache }));
    const peer = await startPeer({ cache, localFiles: true });
    await truncate(weights.spec.files[0]?.path ?? '', 200);
    const source = await openSource({ sources: [from(peer)] });
    await load(source);
    expect(source.counts.peerBytes).toBe(weights.totalBytes);
    expect(await readdir(join(weights.folder, 'cache', 'models'))).toHaveLength(1);
  });
});
