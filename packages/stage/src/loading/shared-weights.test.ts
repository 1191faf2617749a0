import { ButterflyError } from '@butterfly/common';
import { nativeObjects } from '@butterfly/ggml';
import type { ModelSpec } from '@butterfly/model';
import { cachedSyntheticModel } from '@butterfly/testkit';
import type { TensorSource } from '@butterfly/weights';
import { beforeAll, describe, expect, it } from 'vitest';
import { StageRuntime } from '../runtime.js';
import {
  describeFile,
  difference,
  ggml,
  loadStage,
  openSource,
  part,
  runThrough,
  smallModel,
  someTokens,
  tokenStep,
} from '../testing/stages.js';
import { SharedWeights } from './shared-weights.js';

let spec: ModelSpec;
let alone: Float32Array[];
beforeAll(async () => {
  spec = await describeFile(await cachedSyntheticModel(smallModel));
  using stage = await loadStage(spec);
  alone = await answer(stage);
});

const answer = (stage: StageRuntime): Promise<Float32Array[]> =>
  runThrough([stage], tokenStep([part({ rows: 20 })], someTokens(20, spec.vocabulary)));

const unloaded = (shared: SharedWeights): StageRuntime =>
  new StageRuntime({
    ...{ ggml, spec, shared, threads: 1, arenaSlots: 256, cacheType: 'f16', rowsMax: 64 },
    range: { layerStart: 0, layerEnd: spec.layers },
  });

/** Counts the bytes that are read of files, and ends where so many are. */
async function counting(bytesMax = Infinity): Promise<TensorSource & { bytes: number }> {
  const files = await openSource(spec);
  const source = {
    bytes: 0,
    read: async (...[tensor, offset, target]: Parameters<TensorSource['read']>) => {
      if (source.bytes + target.length > bytesMax) throw new ButterflyError('TIMEOUT', 'The test says so.');
      source.bytes += target.length;
      await files.read(tensor, offset, target);
    },
    [Symbol.asyncDispose]: () => files[Symbol.asyncDispose](),
  };
  return source;
}

describe('weights that stages of one process have in common', () => {
  it('are loaded once, whatever the sizes of the caches are', async () => {
    const shared = new SharedWeights();
    using first = await loadStage(spec, { shared });
    const { bytes } = shared;
    expect([first.sharedBytes, bytes]).toEqual([0, first.shardBytes]);
    using second = unloaded(shared);
    await using source = await counting();
    const progress: number[] = [];
    await second.load(source, (loaded) => progress.push(loaded));
    expect([second.sharedBytes, source.bytes, shared.bytes]).toEqual([second.shardBytes, 0, bytes]);
    expect(progress.at(-1)).toBe(second.fileBytes);
    expect(difference(await answer(first), alone)).toBe(0);
    expect(difference(await answer(second), alone)).toBe(0);
  });

  it('stay for the other when one leaves, and are freed with the last', async () => {
    const shared = new SharedWeights();
    const before = nativeObjects();
    const first = await loadStage(spec, { shared });
    const { bytes } = shared;
    const second = await loadStage(spec, { shared });
    first[Symbol.dispose]();
    expect(shared.bytes).toBe(bytes);
    expect(difference(await answer(second), alone)).toBe(0);
    second[Symbol.dispose]();
    second[Symbol.dispose]();
    expect(shared.bytes).toBe(0);
    expect(nativeObjects()).toEqual(before);
  });

  it('are those of the same layers alone', async () => {
    const shared = new SharedWeights();
    const front = await loadStage(spec, { shared, range: { layerStart: 0, layerEnd: 2 } });
    using back = await loadStage(spec, { shared, range: { layerStart: 1, layerEnd: 3 } });
    expect(back.sharedBytes).toBeGreaterThan(0);
    expect(back.sharedBytes).toBeLessThan(back.shardBytes);
    expect(shared.bytes).toBe(front.shardBytes + back.shardBytes - back.sharedBytes);
    front[Symbol.dispose]();
    expect(shared.bytes).toBe(back.shardBytes);
  });

  it('are not shared with another file', async () => {
    const other = await describeFile(await cachedSyntheticModel({ ...smallModel, seed: 7 }));
    const shared = new SharedWeights();
    using _first = await loadStage(spec, { shared });
    using second = await loadStage(other, { shared });
    expect(second.sharedBytes).toBe(0);
  });

  it('are given to nobody when a load fails halfway, which leaves nothing behind', async () => {
    const shared = new SharedWeights();
    const before = nativeObjects();
    const failing = unloaded(shared);
    await using source = await counting(failing.fileBytes / 2);
    await expect(failing.load(source)).rejects.toMatchObject({ code: 'TIMEOUT' });
    const next = await loadStage(spec, { shared });
    expect(next.sharedBytes).toBe(0);
    failing[Symbol.dispose]();
    expect(difference(await answer(next), alone)).toBe(0);
    next[Symbol.dispose]();
    expect([shared.bytes, nativeObjects()]).toEqual([0, before]);
  });

  it('belong to each where two load at once, until each leaves', async () => {
    const shared = new SharedWeights();
    const before = nativeObjects();
    const [first, second] = await Promise.all([loadStage(spec, { shared }), loadStage(spec, { shared })]);
    expect(second.sharedBytes).toBe(0);
    first[Symbol.dispose]();
    expect(difference(await answer(second), alone)).toBe(0);
    second[Symbol.dispose]();
    expect([shared.bytes, nativeObjects()]).toEqual([0, before]);
  });

  it('leave as much behind after many loads as after one', async () => {
    const shared = new SharedWeights();
    using kept = await loadStage(spec, { shared });
    const before = nativeObjects();
    for (let round = 0; round < 100; round += 1) (await loadStage(spec, { shared }))[Symbol.dispose]();
    expect([shared.bytes, nativeObjects()]).toEqual([kept.shardBytes, before]);
    expect(difference(await answer(kept), alone)).toBe(0);
  });
});
