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
} from './testing.js';

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
])('measures the steps of a model in %s, and pads none whose numbers that changed', async (_, path) => {
  const spec = await describeFile(await path());
  const stage = await load(spec, 0, spec.layers);
  const step = tokenStep([part({ rows: 3, logitRows: 3 })], [1, 2, 3]);
  const before = await runThrough([stage], step);
  const { curve } = await stage.measureSteps();
  // All of them, unless the machine is so busy that time runs out.
  const sizes = [1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 24, 32, 48, 64];
  expect(curve.length).toBeGreaterThan(0);
  expect(curve.map(({ rows }) => rows)).toEqual(sizes.slice(0, curve.length));
  for (const { micros } of curve) expect(micros).toBeGreaterThan(0);
  expect(difference(await runThrough([stage], step), before)).toBe(0);
});

it('measures a stage in the middle of a model, within a small arena and few rows', async () => {
  const spec = await describeFile(trainedModel);
  using stage = await loadStage(spec, { range: { layerStart: 1, layerEnd: 2 }, arenaSlots: 256, rowsMax: 5 });
  const { curve } = await stage.measureSteps();
  expect(curve.length).toBeGreaterThan(0);
  expect(curve.map(({ rows }) => rows)).toEqual([1, 2, 3, 4, 5].slice(0, curve.length));
  const cancelled = new Error('enough');
  await expect(
    stage.measureSteps(() => {
      throw cancelled;
    }),
  ).rejects.toThrow(cancelled);
});
