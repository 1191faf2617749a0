import { createHash, randomBytes } from 'node:crypto';
import { open, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { limits, sha256 } from '@butterfly/common';
import { RangeServer, encodeControl } from '@butterfly/wire';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { none, recordingObserver, ShardSourceWorld } from './testing/shard-sources.js';
import { rangesOf, startServer, type Answer } from './testing/sources.js';

let world: ShardSourceWorld;
beforeEach(async () => {
  world = await ShardSourceWorld.create();
});
afterEach(() => world[Symbol.asyncDispose]());

describe('openShardSource', () => {
  it('takes all from the local files where they are the very same', async () => {
    const source = await world.openSource({ localFiles: true, cache: await world.openCache() });
    await world.load(source);
    expect(source.counts).toEqual({ ...none, fileBytes: world.weights.totalBytes });
    expect(world.orchestrator.requests).toEqual([]);
  });

  it('takes nothing from a local file with other weights', async () => {
    const [file] = world.weights.spec.files;
    if (!file) throw new RangeError('a model has a file');
    const content = Buffer.from(world.weights.content);
    const changed = world.weights.spec.tensors[3]?.offset ?? 0;
    content.writeUInt8(content.readUInt8(changed) ^ 1, changed);
    await writeFile(file.path, content);
    const source = await world.openSource({ localFiles: true });
    await world.load(source);
    expect(source.counts).toEqual({ ...none, orchestratorBytes: world.weights.totalBytes });
  });

  it('takes all from a local copy that is right, and nothing wrong from one that differs in one byte', async () => {
    const [file] = world.weights.spec.files;
    const big = world.weights.spec.tensors[2];
    if (!file || !big) throw new RangeError('a model has a file and tensors');
    const asIfElsewhere = { ...world.weights.spec, files: [{ ...file, stamp: 'of another machine' }] };
    const right = await world.openSource({ spec: asIfElsewhere, localFiles: true });
    await world.load(right);
    expect(right.counts).toEqual({ ...none, fileBytes: world.weights.totalBytes });
    const content = Buffer.from(world.weights.content);
    // In its second chunk, and in no sample.
    const changed = big.offset + limits.fileChunkBytesMax + 100_000;
    content.writeUInt8(content.readUInt8(changed) ^ 1, changed);
    await writeFile(file.path, content);
    const { observe, kinds } = recordingObserver();
    const wrong = await world.openSource({ spec: asIfElsewhere, localFiles: true, observe });
    await world.load(wrong);
    expect(wrong.counts.orchestratorBytes).toBeGreaterThanOrEqual(limits.fileChunkBytesMax);
    expect(wrong.counts.fileBytes + wrong.counts.orchestratorBytes).toBe(world.weights.totalBytes);
    expect(kinds).toEqual(['localFileLeft']);
  });

  it('takes nothing wrong from a local file that is overwritten while it loads', async () => {
    const [file] = world.weights.spec.files;
    const source = await world.openSource({ localFiles: true });
    const last = world.weights.spec.tensors[3];
    if (!file || !last) throw new RangeError('a model has a file and tensors');
    await using handle = await open(file.path, 'r+');
    await handle.write(Buffer.alloc(1000), 0, 1000, last.offset + 30_000);
    await world.load(source);
    expect(source.counts.orchestratorBytes).toBeGreaterThanOrEqual(last.bytes);
  });

  it('believes nothing that was filed under this model before', async () => {
    const cache = await world.openCache();
    const wrong = randomBytes(5000);
    const [small] = world.weights.spec.tensors;
    if (!small) throw new RangeError('a model has tensors');
    await cache.write(world.weights.spec, { fileIndex: 0, offset: small.offset }, wrong, await sha256(wrong));
    const source = await world.openSource({ cache });
    await world.load(source);
    expect(source.counts).toEqual({ ...none, orchestratorBytes: world.weights.totalBytes });
    await source[Symbol.asyncDispose]();
    // And what it passes on from now on is right.
    const again = Buffer.alloc(small.bytes);
    const range = { fileIndex: 0, offset: small.offset };
    expect(await (await world.openCache()).read(world.weights.spec, range, again)).toBe(true);
    expect(again.equals(world.weights.bytesOf(small))).toBe(true);
  });

  it('takes what another model left in the cache, where the bytes are the same', async () => {
    const cache = await world.openCache();
    await world.load(await world.openSource({ cache }));
    const [file] = world.weights.spec.files;
    if (!file) throw new RangeError('a model has a file');
    const downloadedAgain = { ...world.weights.spec, files: [{ ...file, stamp: 'of another download' }] };
    const source = await world.openSource({ spec: downloadedAgain, cache });
    await world.load(source);
    expect(source.counts).toEqual({ ...none, cacheBytes: world.weights.totalBytes });
    expect(await cache.bytesOf(downloadedAgain)).toBe(world.weights.totalBytes);
  });

  it('says what the orchestrator says of its file, whatever the cache holds', async () => {
    const cache = await world.openCache();
    await world.load(await world.openSource({ cache }));
    const refuse: Answer = ({ requestId }, to) => {
      const error = { code: 'MODEL_CHANGED', message: 'It was replaced.' };
      to.send(encodeControl({ kind: 'fetchMissing', requestId, error }));
      return Promise.resolve();
    };
    world.orchestrator = world.keep(await startServer(refuse));
    const refused = expect.objectContaining({
      code: 'MODEL_CHANGED',
      message: 'It was replaced.',
    }) as unknown;
    await expect(world.load(await world.openSource())).rejects.toThrow(refused);
    await expect(world.load(await world.openSource({ cache }))).rejects.toThrow(refused);
  });

  it('goes on over the network when the local file breaks off', async () => {
    const { observe, kinds } = recordingObserver();
    const source = await world.openSource({ localFiles: true, observe });
    await truncate(world.weights.spec.files[0]?.path ?? '', world.weights.spec.tensors[2]?.offset ?? 0);
    await world.load(source);
    expect(source.counts.fileBytes).toBe(5000 + limits.fileChunkBytesMax);
    expect(source.counts.orchestratorBytes).toBe(world.weights.totalBytes - source.counts.fileBytes);
    expect(kinds).toEqual(['localFileLeft']);
  });

  it('moves each byte once: the second load comes from the cache, also after a restart', async () => {
    const first = await world.openSource({ cache: await world.openCache() });
    await world.load(first);
    await first[Symbol.asyncDispose]();
    expect(first.counts).toEqual({ ...none, orchestratorBytes: world.weights.totalBytes });
    const asked = world.orchestrator.requests.reduce((sum, { bytes }) => sum + bytes, 0);
    expect(asked).toBe(world.weights.totalBytes);
    const second = await world.openSource({ cache: await world.openCache() });
    await world.load(second);
    expect(second.counts).toEqual({ ...none, cacheBytes: world.weights.totalBytes });
  });

  it('fetches only what is corrupt in the cache', async () => {
    const first = await world.openSource({ cache: await world.openCache() });
    await world.load(first);
    await first[Symbol.asyncDispose]();
    const [small] = world.weights.spec.tensors;
    if (!small) throw new RangeError('a model has tensors');
    const name = createHash('sha256').update(world.weights.bytesOf(small)).digest('hex');
    await writeFile(join(world.weights.folder, 'cache', 'blobs', name), Buffer.alloc(small.bytes));
    const second = await world.openSource({ cache: await world.openCache() });
    await world.load(second);
    expect(second.counts.orchestratorBytes).toBe(small.bytes);
    expect(second.counts.cacheBytes).toBe(world.weights.totalBytes - small.bytes);
  });

  it('resumes after a cut: what had arrived does not travel again', async () => {
    const allowed = 3;
    const whole = rangesOf(world.weights.content);
    const cut: Answer = async (request, to) => {
      if (world.orchestrator.requests.length > allowed) world.orchestrator.cut();
      else await whole.serve(to, request);
    };
    world.orchestrator = world.keep(await startServer(cut, whole));
    const first = await world.openSource({ cache: await world.openCache() });
    await expect(world.load(first)).rejects.toThrow(expect.objectContaining({ code: 'CONNECTION_CLOSED' }));
    await first[Symbol.asyncDispose]();
    expect(first.counts.orchestratorBytes).toBeGreaterThan(0);

    world.orchestrator = world.keep(await startServer(whole));
    const second = await world.openSource({ cache: await world.openCache() });
    await world.load(second);
    expect(second.counts.cacheBytes).toBe(first.counts.orchestratorBytes);
    expect(second.counts.orchestratorBytes).toBe(world.weights.totalBytes - first.counts.orchestratorBytes);
  });

  it('loads on without a cache that cannot be written to, and says so once', async () => {
    const { observe, kinds } = recordingObserver();
    await writeFile(join(world.weights.folder, 'file'), 'x');
    const source = await world.openSource({ cache: await world.openCache('file'), observe });
    await world.load(source);
    expect(source.counts).toEqual({ ...none, orchestratorBytes: world.weights.totalBytes });
    expect(kinds).toEqual(['cacheNotWritten']);
  });

  it('loads on without a cache that cannot be read, and says so once', async () => {
    const { observe, kinds } = recordingObserver();
    const cache = await world.openCache();
    await cache.write(
      world.weights.spec,
      { fileIndex: 0, offset: 0 },
      new Uint8Array(10),
      new Uint8Array(32),
    );
    // No disk here breaks when it is told to.
    const broken = Object.assign(cache, {
      readKnown: () => Promise.reject(new Error('EIO: i/o error, read')),
    });
    const source = await world.openSource({ cache: broken, observe });
    await world.load(source);
    expect(source.counts).toEqual({ ...none, orchestratorBytes: world.weights.totalBytes });
    expect(kinds).toEqual(['cacheNotRead']);
  });

  it('says which file the orchestrator cannot read any more', async () => {
    world.orchestrator = world.keep(await startServer(new RangeServer(() => Promise.resolve(null))));
    const path = world.weights.spec.files[0]?.path ?? '?';
    await expect(world.load(await world.openSource())).rejects.toThrow(
      expect.objectContaining({
        code: 'MODEL_NOT_FOUND',
        message: expect.stringContaining(path) as string,
      }),
    );
  });

  it('loads more than the cache may hold', async () => {
    const cache = await world.openCache('cache', limits.fileChunkBytesMax + 100_000);
    await world.load(await world.openSource({ cache }));
    expect(cache.bytes).toBeLessThanOrEqual(limits.fileChunkBytesMax + 100_000);
    await world.load(await world.openSource({ cache }));
  });

  it('ends what is under way when it is disposed', async () => {
    world.orchestrator = world.keep(await startServer(() => new Promise(() => undefined)));
    const source = await world.openSource();
    const [tensor] = world.weights.spec.tensors;
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
