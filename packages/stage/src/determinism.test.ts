import type { ModelSpec } from '@butterfly/model';
import { cachedSyntheticModel, triedOf } from '@butterfly/testkit';
import type { StepSequence } from '@butterfly/wire';
import { beforeAll, describe, expect, it } from 'vitest';
import { SplitModel } from './split-model.js';
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

/** Long enough that ordinary attention splits the cache among threads, and takes many queries tiled. */
const prompt = 530;
const context = 768;
/** Decoded after the prompt. */
const answer = 4;

const models: Readonly<Record<string, () => Promise<string>>> = {
  'the trained model, F32': () => Promise.resolve(trainedModel),
  ...Object.fromEntries(
    (['F32', 'F16', 'BF16', 'Q4_0', 'Q8_0', 'Q4_K', 'Q6_K'] as const).map((type) => [
      type,
      () => cachedSyntheticModel({ ...smallModel, type }),
    ]),
  ),
  'qwen2, untied, Q4_K': () =>
    cachedSyntheticModel({ ...smallModel, type: 'Q4_K', architecture: 'qwen2', tiedEmbeddings: false }),
};

type Options = NonNullable<Parameters<typeof loadStage>[1]>;

/** Gives stages to `work` and disposes them. */
async function withStages<R>(
  spec: ModelSpec,
  count: number,
  options: Options,
  work: (stages: readonly StageRuntime[]) => Promise<R>,
): Promise<R> {
  const stages: StageRuntime[] = [];
  const bound = (i: number): number => Math.round((i * spec.layers) / count);
  try {
    for (let i = 0; i < count; i++) {
      const range = { layerStart: bound(i), layerEnd: bound(i + 1) };
      const sizes = { arenaSlots: 3 * context, rowsMax: 1024, isDeterministic: true };
      stages.push(await loadStage(spec, { ...sizes, range, ...options }));
    }
    return await work(stages);
  } finally {
    for (const stage of stages) stage[Symbol.dispose]();
  }
}

describe.each(triedOf(Object.entries(models), 3))('deterministic mode, %s', (_, path) => {
  let spec: ModelSpec;
  let tokens: readonly number[];
  let expected: readonly Float32Array[];

  const own = (positionStart: number, rows: number, change: Partial<StepSequence> = {}): StepSequence =>
    part({ regionSlots: context, positionStart, rows, ...change });

  /** Logits after the prompt and after each token of the answer, with the prompt in chunks of these sizes. */
  async function logits(stages: readonly StageRuntime[], chunks: readonly number[]): Promise<Float32Array[]> {
    const found: Float32Array[] = [];
    let position = 0;
    for (const rows of [...chunks, ...Array<number>(answer).fill(1)]) {
      const logitRows = position + rows >= prompt ? 1 : 0;
      const step = tokenStep([own(position, rows, { logitRows })], tokens.slice(position, position + rows));
      found.push(...(await runThrough(stages, step)));
      position += rows;
    }
    return found;
  }

  beforeAll(async () => {
    spec = await describeFile(await path());
    tokens = someTokens(prompt + answer, spec.vocabulary);
    expected = await withStages(spec, 1, {}, (stages) => logits(stages, [prompt]));
    expect(expected).toHaveLength(answer + 1);
  });

  it.each([
    [1, 2],
    [2, 1],
    [3, 1],
    [3, 2],
  ])('gives the same bytes in %i stages on threads %i', async (count, threads) => {
    const found = await withStages(spec, count, { threads }, (stages) => logits(stages, [prompt]));
    expect(difference(found, expected)).toBe(0);
  });

  it.each([
    [[1, 2, 3, 5, 7, 512]],
    [[512, 18]],
    [[8, 521, 1]],
    [[...Array<number>(24).fill(1), prompt - 24]],
  ])('gives the same bytes for a prompt in other chunks', async (chunks) => {
    const found = await withStages(spec, 2, { threads: 2 }, (stages) => logits(stages, chunks));
    expect(difference(found, expected)).toBe(0);
  });

  it('gives the same bytes among other sequences, with guesses, and with more logits', async () => {
    const found = await withStages(spec, 1, { threads: 2 }, async (stages) => {
      const other = (index: number, positionStart: number, rows: number): StepSequence =>
        own(positionStart, rows, { sequenceId: 1 + index, regionStart: index * context });
      const rowsOf = async (
        sequences: readonly StepSequence[],
        all: readonly number[],
        from: number,
        count: number,
      ) => (await runThrough(stages, tokenStep(sequences, all))).slice(from, from + count);
      const others = (seed: number, count: number): number[] => someTokens(count, spec.vocabulary, seed);
      const first = await rowsOf(
        [other(1, 0, 3), own(0, prompt, { logitRows: 3 }), other(2, 0, 100)],
        [...others(2, 3), ...tokens.slice(0, prompt), ...others(3, 100)],
        3,
        1,
      );
      // A token and two guesses of the next ones, beside others that decode.
      const draftTokens = Int32Array.from(tokens.slice(prompt + 1, prompt + 3));
      const guessed = await rowsOf(
        [other(2, 100, 1), own(prompt, 3, { logitRows: 3, draftTokens }), other(1, 3, 1)],
        [...others(4, 1), ...tokens.slice(prompt, prompt + 3), ...others(5, 1)],
        1,
        3,
      );
      const last = await rowsOf(
        [own(prompt + 3, 1), other(1, 4, 2)],
        [...tokens.slice(prompt + 3), ...others(6, 2)],
        0,
        1,
      );
      return [...first, ...guessed, ...last];
    });
    expect(difference(found, expected)).toBe(0);
  });

  it('says so when it warms up', async () => {
    const profile = { layerCurve: [{ rows: 1, micros: 5 }], outputCurve: [{ rows: 1, micros: 7 }] };
    const warm = await withStages(spec, 2, {}, (stages) =>
      Promise.all(stages.map((stage) => stage.warmUp(profile))),
    );
    expect(warm.map(({ isBatchInvariant }) => isBatchInvariant)).toEqual([true, true]);
    expect(warm[1]?.curve).toEqual([
      { rows: 1, micros: (spec.layers - Math.round(spec.layers / 2)) * 5 + 7 },
    ]);
  });

  it('chooses the same tokens however the model is split', async () => {
    const texts: number[][] = [];
    for (const [stages, threads] of [
      [1, 1],
      [2, 2],
      [3, 1],
    ] as const) {
      const options = { stages, threads, contextTokens: context, isDeterministic: true };
      using model = await SplitModel.load(await path(), options);
      texts.push(await model.greedy(tokens.slice(0, 20), 12));
    }
    expect(texts[0]).toHaveLength(12);
    expect(texts[1]).toEqual(texts[0]);
    expect(texts[2]).toEqual(texts[0]);
  });
});
