import type { StepTime } from '@butterfly/common';
import type { ModelSpec } from '@butterfly/model';
import { cachedSyntheticModel } from '@butterfly/testkit';
import { afterEach, describe, expect, it } from 'vitest';
import type { StageRuntime } from './runtime.js';
import {
  describeFile,
  difference,
  loadStage,
  part,
  runThrough,
  smallModel,
  someTokens,
  tokenStep,
  trainedModel,
} from './testing/stages.js';

const models: Readonly<Record<string, () => Promise<string>>> = {
  F32: () => Promise.resolve(trainedModel),
  F16: () => cachedSyntheticModel({ ...smallModel, type: 'F16', architecture: 'qwen2' }),
  Q4_0: () => cachedSyntheticModel(smallModel),
  Q8_0: () => cachedSyntheticModel({ ...smallModel, type: 'Q8_0', architecture: 'qwen3' }),
  Q6_K: () => cachedSyntheticModel({ ...smallModel, type: 'Q6_K' }),
};

/** By this, seven more rows are always faster. */
const falling: readonly StepTime[] = [
  { rows: 1, micros: 100 },
  { rows: 80, micros: 1 },
];

const stages: StageRuntime[] = [];
afterEach(() => {
  for (const stage of stages.splice(0)) stage[Symbol.dispose]();
});

async function load(spec: ModelSpec, layerStart: number, layerEnd: number): Promise<StageRuntime> {
  const stage = await loadStage(spec, { range: { layerStart, layerEnd } });
  stages.push(stage);
  return stage;
}

describe.each(Object.entries(models))('%s', (_, path) => {
  it.each([1, 2])('computes the same with padded steps in %i stages, byte for byte', async (count) => {
    const spec = await describeFile(await path());
    const pipeline: StageRuntime[] = [];
    const bound = (i: number): number => Math.round((i * spec.layers) / count);
    for (let i = 0; i < count; i++) pipeline.push(await load(spec, bound(i), bound(i + 1)));
    const region = (i: number) => ({ sequenceId: i, regionStart: i * 256 });
    const steps = [
      tokenStep([part({ rows: 13, logitRows: 0 })], someTokens(13, spec.vocabulary, 1)),
      tokenStep([part({ ...region(1), rows: 3, logitRows: 2 })], [1, 2, 3]),
      // The slots behind the ends of sequences are in use.
      tokenStep([part({ positionStart: 13 }), part({ ...region(1), positionStart: 3 })], [4, 5]),
      tokenStep([part({ positionStart: 6, rows: 7, logitRows: 3 })], someTokens(7, spec.vocabulary, 2)),
      tokenStep(
        [0, 1, 2].map((i) => part({ ...region(i), positionStart: [13, 4, 0][i] ?? 0 })),
        [6, 7, 8],
      ),
      tokenStep([part({ ...region(2), positionStart: 1 })], [9]),
    ];
    const run = async (): Promise<Float32Array[]> => {
      const logits: Float32Array[] = [];
      for (const step of steps) logits.push(...(await runThrough(pipeline, step)));
      return logits;
    };
    const plain = await run();
    expect(plain).toHaveLength(2 + 2 + 3 + 3 + 1);
    for (const stage of pipeline) stage.padSteps(falling);
    expect(difference(await run(), plain)).toBe(0);
  });
});

it.each<[string, () => Promise<string>]>([
  ['F32', () => Promise.resolve(trainedModel)],
  ['Q4_0', () => cachedSyntheticModel(smallModel)],
  // Kernels of K-quants may round rows otherwise in groups than alone.
  ['Q4_K', () => cachedSyntheticModel({ ...smallModel, type: 'Q4_K' })],
])('warms up a model in %s, and pads no steps whose numbers that changed', async (_, path) => {
  const spec = await describeFile(await path());
  const stage = await load(spec, 0, spec.layers);
  // Parts of prompts are filled to whole groups where they change numbers (decision 0027), but not what is decoded.
  const decoded = [0, 1, 2].map((i) => part({ sequenceId: i, regionStart: i * 256 }));
  const step = tokenStep(decoded, [1, 2, 3]);
  const before = await runThrough([stage], step);
  let steps = 0;
  const { curve } = await stage.warmUp({ layerCurve: falling, outputCurve: falling }, () => steps++);
  expect(steps).toBeLessThanOrEqual(3);
  // A stage has no steps of more than 64 rows here.
  expect(curve.map(({ rows }) => rows)).toEqual([1, 64]);
  expect(curve[0]?.micros).toBe(100 * (spec.layers + 1));
  expect(difference(await runThrough([stage], step), before)).toBe(0);
});

it('warms up a stage in the middle of a model, within a small arena and few rows', async () => {
  const spec = await describeFile(trainedModel);
  using stage = await loadStage(spec, { range: { layerStart: 1, layerEnd: 3 }, arenaSlots: 256, rowsMax: 5 });
  const profile = {
    layerCurve: [1, 2, 3, 4, 5, 6].map((rows) => ({ rows, micros: rows === 4 ? 15 : rows * 10 })),
    outputCurve: [{ rows: 1, micros: 1000 }],
  };
  const { curve, isBatchInvariant } = await stage.warmUp(profile);
  expect(curve.map(({ rows }) => rows)).toEqual([1, 2, 3, 4, 5]);
  // Two layers without output; two rows and three are padded to four. One row of F32 has a kernel of its own.
  expect(curve.map(({ micros }) => micros)).toEqual([20, 30, 30, 30, 100]);
  expect(isBatchInvariant).toBe(false);
  const cancelled = new Error('enough');
  await expect(
    stage.warmUp(profile, () => {
      throw cancelled;
    }),
  ).rejects.toThrow(cancelled);
});
