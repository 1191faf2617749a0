import { randomBytes } from 'node:crypto';
import { readdir, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { limits, sha256 } from '@butterfly/common';
import { encodeControl, encodeFileChunk } from '@butterfly/wire';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { from, none, recordingObserver, ShardSourceWorld } from './testing/shard-sources.js';
import { joinServer, rangesOf, startServer, type Answer, type TestServer } from './testing/sources.js';

let world: ShardSourceWorld;
beforeEach(async () => {
  world = await ShardSourceWorld.create();
});
afterEach(() => world[Symbol.asyncDispose]());

describe('openShardSource with peers', () => {
  it('asks a peer with the files before the orchestrator, and keeps what it sends', async () => {
    const peer = await world.startPeer({ localFiles: true });
    const source = await world.openSource({ sources: [from(peer)], cache: await world.openCache() });
    await world.load(source);
    expect(source.counts).toEqual({ ...none, peerBytes: world.weights.totalBytes });
    expect(world.orchestrator.requests).toEqual([]);
    await source[Symbol.asyncDispose]();
    expect(await (await world.openCache()).bytesOf(world.weights.spec)).toBe(world.weights.totalBytes);
  });

  it('takes from a peer what its cache has, and the rest from elsewhere, asking it no more than it must', async () => {
    const theirs = await world.openCache('theirs');
    const [, wanted] = world.weights.spec.tensors;
    if (!wanted) throw new RangeError('a model has tensors');
    const range = { fileIndex: 0, offset: wanted.offset };
    await theirs.write(
      world.weights.spec,
      range,
      world.weights.bytesOf(wanted),
      await sha256(world.weights.bytesOf(wanted)),
    );
    const peer = await world.startPeer({ cache: theirs });
    const source = await world.openSource({ sources: [from(peer)] });
    await world.load(source);
    expect(source.counts.peerBytes).toBe(wanted.bytes);
    expect(source.counts.orchestratorBytes).toBe(world.weights.totalBytes - wanted.bytes);
  });

  it('prefers the peer that it is told of first, as long as that is not busy', async () => {
    const peers = await Promise.all([0, 1, 2].map(() => world.startPeer({ localFiles: true })));
    const source = await world.openSource({ sources: peers.map(from) });
    const [tensor] = world.weights.spec.tensors;
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
    const peers = [await world.startPeer({ localFiles: true }), await world.startPeer({ localFiles: true })];
    const source = await world.openSource({ sources: peers.map(from) });
    await world.load(source);
    expect(source.counts.peerBytes).toBe(world.weights.totalBytes);
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
    const liar = world.keep(await startServer(answer));
    const honest = await world.startPeer({ localFiles: true });
    const { observe, kinds } = recordingObserver();
    const source = await world.openSource({ sources: [from(liar), from(honest)], observe });
    await world.load(source);
    expect(source.counts.peerBytes + source.counts.orchestratorBytes).toBe(world.weights.totalBytes);
    expect(source.counts.peerBytes).toBeGreaterThan(0);
    expect(liar.requests.length).toBeLessThanOrEqual(limits.fileFetchesInFlightMax);
    expect(kinds).toEqual(['peerLeft']);
  });

  it('goes on with the orchestrator when a peer is cut in the middle', async () => {
    const whole = rangesOf(world.weights.content);
    const dying: TestServer = world.keep(
      await startServer(async (request, to) => {
        if (dying.requests.length > 2) dying.cut();
        else await whole.serve(to, request);
      }),
    );
    const source = await world.openSource({ sources: [from(dying)] });
    await world.load(source);
    expect(source.counts.peerBytes).toBeGreaterThan(0);
    expect(source.counts.orchestratorBytes).toBe(world.weights.totalBytes - source.counts.peerBytes);
  });

  it('does without peers that are gone, or do not take its token', async () => {
    const gone = await startServer(() => Promise.resolve());
    const address = from(gone);
    await gone[Symbol.asyncDispose]();
    const stranger = await world.startPeer({ localFiles: true });
    const source = await world.openSource({ sources: [address, from(stranger)], peerToken: 'another' });
    await world.load(source);
    expect(source.counts).toEqual({ ...none, orchestratorBytes: world.weights.totalBytes });
    expect(stranger.requests).toEqual([]);
  });

  it('drops a peer that is silent', async () => {
    const silent = world.keep(await startServer(() => new Promise(() => undefined)));
    const timers = new Set<() => void>();
    const clock = {
      nowMs: () => 0,
      after: (_: number, callback: () => void) => {
        timers.add(callback);
        return () => void timers.delete(callback);
      },
    };
    // The orchestrator's connection has the real clock; only what the peer is waited for runs on this one.
    const source = await world.openSource({ sources: [from(silent)], clock });
    const loading = world.load(source);
    while (silent.requests.length === 0) await new Promise((resolve) => setImmediate(resolve));
    for (const fire of [...timers]) fire();
    await loading;
    expect(source.counts.orchestratorBytes).toBe(world.weights.totalBytes);
  });
});

describe('PeerWeights', () => {
  it('refuses ranges outside the model', async () => {
    const peer = await world.startPeer({ localFiles: true });
    const { remote } = world.keep(await joinServer(peer));
    const [tensor] = world.weights.spec.tensors;
    if (!tensor) throw new RangeError('a model has tensors');
    const beyond = remote.fetch({ ...tensor, offset: world.weights.content.length }, 0, 1);
    await expect(beyond).rejects.toThrow(expect.objectContaining({ code: 'PROTOCOL_INVALID' }));
  });

  it('serves from its cache when its files went bad', async () => {
    const cache = await world.openCache();
    await world.load(await world.openSource({ cache }));
    const peer = await world.startPeer({ cache, localFiles: true });
    await truncate(world.weights.spec.files[0]?.path ?? '', 200);
    const source = await world.openSource({ sources: [from(peer)] });
    await world.load(source);
    expect(source.counts.peerBytes).toBe(world.weights.totalBytes);
    expect(await readdir(join(world.weights.folder, 'cache', 'models'))).toHaveLength(1);
  });
});
