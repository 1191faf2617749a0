import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CpuBackend } from '@butterfly/ggml';
import type { ModelSpec } from '@butterfly/model';
import { cachedSyntheticModel } from '@butterfly/testkit';
import { type TensorSource, WeightCache } from '@butterfly/weights';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { StageRuntime } from './runtime.js';
import {
  describeFile,
  difference,
  ggml,
  openSource,
  part,
  runThrough,
  smallModel,
  someTokens,
  tokenStep,
} from './testing/stages.js';

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'butterfly-converted-'));
});
afterAll(() => rm(directory, { recursive: true }));

function hasLayouts(): boolean {
  using backend = new CpuBackend(ggml, 1);
  return backend.preferred.some(({ isPlain }) => !isPlain);
}

const stageOf = (spec: ModelSpec): StageRuntime =>
  new StageRuntime({
    ggml,
    spec,
    range: { layerStart: 0, layerEnd: spec.layers },
    threads: 1,
    arenaSlots: 256,
    cacheType: 'f16',
    rowsMax: 64,
  });

it.runIf(hasLayouts())(
  'a stage computes the same with weights that were kept as its kernels want them',
  async () => {
    const spec = await describeFile(await cachedSyntheticModel(smallModel));
    const step = tokenStep([part({ rows: 20 })], someTokens(20, spec.vocabulary));
    const loads: { fileReads: number; logits: Float32Array[] }[] = [];
    for (let load = 0; load < 2; load++) {
      const cache = await WeightCache.open({ directory, bytesMax: 1e9, observe: () => undefined });
      let fileReads = 0;
      await using files = await openSource(spec);
      const source: TensorSource = {
        read: (...args) => {
          fileReads++;
          return files.read(...args);
        },
        images: {
          load: (memory, onRead) => cache.images.load(memory, onRead),
          // Of a model as small as this nobody would.
          keep: (memory) => cache.images.keep(memory, 1000),
        },
        [Symbol.asyncDispose]: () => Promise.resolve(),
      };
      using stage = stageOf(spec);
      const progress: number[] = [];
      await stage.load(source, (bytes) => progress.push(bytes));
      expect(progress.at(-1)).toBe(stage.fileBytes);
      expect(Math.max(...progress)).toBe(stage.fileBytes);
      loads.push({ fileReads, logits: await runThrough([stage], step) });
      await cache.images.settled();
    }
    const [first, second] = loads;
    if (!first || !second) throw new RangeError('there were two loads');
    // Norms, and the embedding as it is looked up in.
    expect(second.fileReads).toBe(first.fileReads - 7 * spec.layers);
    expect(difference(second.logits, first.logits)).toBe(0);
  },
);

it.runIf(hasLayouts())('a stage that goes while its weights are kept is no trouble of the disk', async () => {
  const spec = await describeFile(await cachedSyntheticModel(smallModel));
  const told: string[] = [];
  const folder = join(directory, 'gone');
  const cache = await WeightCache.open({
    directory: folder,
    bytesMax: 1e9,
    observe: ({ kind }) => told.push(kind),
  });
  await using files = await openSource(spec);
  const stage = stageOf(spec);
  await stage.load({
    read: (...args) => files.read(...args),
    images: {
      load: (memory, onRead) => cache.images.load(memory, onRead),
      keep: (memory) => cache.images.keep(memory, 1000),
    },
    [Symbol.asyncDispose]: () => Promise.resolve(),
  });
  stage[Symbol.dispose]();
  await cache.images.settled();
  expect(told).not.toContain('imageNotKept');
});
