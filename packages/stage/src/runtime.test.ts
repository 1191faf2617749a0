import type { ModelSpec } from '@butterfly/model';
import { cachedSyntheticModel } from '@butterfly/testkit';
import type { StepSequence } from '@butterfly/wire';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
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

const small = { ...smallModel, layers: 4, seed: 3 };

interface Model {
  readonly path: () => Promise<string>;
  /**
   * How far the logits of a single row may be from those of the same row among others. ggml multiplies one row by
   * unquantised weights with another kernel than several, which rounds otherwise; with quantised ones nothing differs.
   */
  readonly singleRowBound: number;
}

const models: Readonly<Record<string, Model>> = {
  'the trained model, F32': { path: () => Promise.resolve(trainedModel), singleRowBound: 1e-4 },
  'llama, tied, Q4_0': { path: () => cachedSyntheticModel(small), singleRowBound: 0 },
  'qwen3, untied, Q8_0': {
    path: () =>
      cachedSyntheticModel({ ...small, architecture: 'qwen3', type: 'Q8_0', tiedEmbeddings: false }),
    singleRowBound: 0,
  },
  'qwen2, F16': {
    path: () => cachedSyntheticModel({ ...small, architecture: 'qwen2', type: 'F16' }),
    singleRowBound: 0.02,
  },
};

interface Prompt {
  readonly tokens: readonly number[];
  readonly regionStart: number;
}

describe.each(Object.entries(models))('%s', (_, { path, singleRowBound }) => {
  let spec: ModelSpec;
  let whole: StageRuntime;
  beforeAll(async () => {
    spec = await describeFile(await path());
    whole = await loadStage(spec);
  });
  afterAll(() => whole[Symbol.dispose]());

  const prompt = (length: number, seed: number, regionStart = 0): Prompt => ({
    tokens: someTokens(length, spec.vocabulary, seed),
    regionStart,
  });

  const partOf = ({ tokens, regionStart }: Prompt, change: Partial<StepSequence> = {}): StepSequence =>
    part({ sequenceId: regionStart, regionStart, rows: tokens.length, ...change });

  it('computes sequences together as each alone, byte for byte', async () => {
    const prompts = [prompt(3, 1), prompt(2, 2, 256), prompt(17, 3, 512)];
    const alone: Float32Array[] = [];
    for (const one of prompts)
      alone.push(...(await runThrough([whole], tokenStep([partOf(one, { logitRows: 2 })], one.tokens))));
    const together = await runThrough(
      [whole],
      tokenStep(
        prompts.map((one) => partOf(one, { logitRows: 2 })),
        prompts.flatMap(({ tokens }) => tokens),
      ),
    );
    expect(alone).toHaveLength(6);
    expect(difference(together, alone)).toBe(0);
    // One more token each, in another order.
    const next = prompts.map((one) => partOf(one, { rows: 1, positionStart: one.tokens.length })).reverse();
    const later = await runThrough([whole], tokenStep(next, [5, 6, 7]));
    for (const [i, sequence] of next.entries()) {
      const single = await runThrough([whole], tokenStep([sequence], [5 + i]));
      expect(difference(single, later.slice(i, i + 1))).toBeLessThanOrEqual(singleRowBound);
    }
  });

  it('gives the same logits whether a prompt comes whole, in chunks or with more rows wanted', async () => {
    const { tokens } = prompt(24, 4);
    const all = await runThrough([whole], tokenStep([part({ rows: 24, logitRows: 24 })], tokens));
    expect(all).toHaveLength(24);
    for (const logitRows of [2, 1]) {
      const last = await runThrough([whole], tokenStep([part({ rows: 24, logitRows })], tokens));
      const bound = logitRows === 1 ? singleRowBound : 0;
      expect(difference(last, all.slice(-logitRows))).toBeLessThanOrEqual(bound);
    }
    for (const [start, end] of [
      [0, 10],
      [10, 12],
    ] as const) {
      const step = part({ positionStart: start, rows: end - start, logitRows: 0 });
      expect(await runThrough([whole], tokenStep([step], tokens.slice(start, end)))).toEqual([]);
    }
    const rest = part({ positionStart: 12, rows: 12, logitRows: 12 });
    const chunked = await runThrough([whole], tokenStep([rest], tokens.slice(12)));
    // Attention over many rows may run tiled, whose last bits differ.
    expect(difference(chunked, all.slice(12))).toBeLessThan(0.05);
  });

  it('gives the same logits in a region that moved', async () => {
    const { tokens } = prompt(30, 5);
    const decode = (regionStart: number): StepSequence => part({ regionStart, positionStart: 30 });
    await runThrough([whole], tokenStep([part({ rows: 30 })], tokens));
    const stayed = await runThrough([whole], tokenStep([decode(0)], [9]));
    const copies = [
      { fromSlot: 0, toSlot: 768, slots: 20 },
      { fromSlot: 20, toSlot: 788, slots: 10 },
    ];
    // What lies in the old region no longer counts.
    const other = part({ sequenceId: 2, rows: 30 });
    await runThrough([whole], tokenStep([other], someTokens(30, spec.vocabulary, 6), copies));
    const moved = await runThrough([whole], tokenStep([decode(768)], [9]));
    expect(difference(moved, stayed)).toBe(0);
    const back = await runThrough(
      [whole],
      tokenStep([decode(256)], [9], [{ fromSlot: 768, toSlot: 256, slots: 30 }]),
    );
    expect(difference(back, stayed)).toBe(0);
  });

  it.each([2, 3, 4])('computes the same in %i stages, byte for byte', async (count) => {
    const bound = (i: number): number => Math.round((i * spec.layers) / count);
    const stages: StageRuntime[] = [];
    try {
      for (let i = 0; i < count; i++)
        stages.push(await loadStage(spec, { range: { layerStart: bound(i), layerEnd: bound(i + 1) } }));
      const one = prompt(40, 7);
      const two = prompt(9, 8, 256);
      const steps = [
        // The middle of a prompt, which asks the last stage for nothing.
        tokenStep([partOf(one, { logitRows: 0 })], one.tokens),
        tokenStep([partOf(two, { logitRows: 2 })], two.tokens),
        tokenStep(
          [partOf(two, { positionStart: 9, rows: 1 }), partOf(one, { positionStart: 40, rows: 2 })],
          [3, 4, 5],
        ),
      ];
      for (const step of steps)
        expect(difference(await runThrough(stages, step), await runThrough([whole], step))).toBe(0);
    } finally {
      for (const stage of stages) stage[Symbol.dispose]();
    }
  });

  it('keeps its numbers while graphs come and go', async () => {
    const { tokens } = prompt(20, 9);
    const step = tokenStep([part({ rows: 20 })], tokens);
    const first = await runThrough([whole], step);
    // More shapes than are kept, then again in the same order, so that each has been dropped.
    const sizes = Array.from({ length: 20 }, (_unused, i) => i + 1);
    const runs: Float32Array[][] = [[], []];
    for (const run of runs)
      for (const rows of sizes)
        run.push(
          ...(await runThrough(
            [whole],
            tokenStep([part({ rows, regionStart: 256 })], tokens.slice(0, rows)),
          )),
        );
    expect(difference(runs[1] ?? [], runs[0] ?? [])).toBe(0);
    expect(difference(await runThrough([whole], step), first)).toBe(0);
  });

  it('keeps its numbers when the compute memory grows', async () => {
    using fresh = await loadStage(spec, { rowsMax: 8 });
    const step = tokenStep([part({ rows: 4 })], [1, 2, 3, 4]);
    const first = await runThrough([fresh], step);
    const bytesBefore = fresh.computeBytes;
    const parts = Array.from({ length: 4 }, (_unused, i) =>
      part({ sequenceId: i, regionStart: i * 256, rows: 2, logitRows: 2 }),
    );
    await runThrough([fresh], tokenStep(parts, [1, 2, 3, 4, 5, 6, 7, 8]));
    expect(fresh.computeBytes).toBeGreaterThanOrEqual(bytesBefore);
    expect(difference(await runThrough([fresh], step), first)).toBe(0);
  });
});
