import { type ModelSpec, cacheBlockSlots } from '@butterfly/model';
import { cachedSyntheticModel } from '@butterfly/testkit';
import type { CacheType, StepSequence } from '@butterfly/wire';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
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
} from './testing/stages.js';

/** Long enough that ggml splits the cache of a single query among threads. */
const promptMax = 560;
const context = 3 * cacheBlockSlots;
/** Decoded after the prompt. */
const answer = 2;
const profile = { layerCurve: [{ rows: 1, micros: 5 }], outputCurve: [{ rows: 1, micros: 7 }] };

interface Case {
  readonly model: Parameters<typeof cachedSyntheticModel>[0];
  readonly cacheType: CacheType;
  /** Whether its kernels give a decoded row the same numbers beside others: not so with every type of weights. */
  readonly hasCompany: boolean;
}

const tiny = { ...smallModel, hidden: 128, feedForward: 256 } as const;
const cases: Readonly<Record<string, Case>> = {
  'Q8_0, heads of 64': { model: { ...tiny, type: 'Q8_0' }, cacheType: 'f16', hasCompany: true },
  'Q4_0, heads of 32': {
    model: { ...tiny, heads: 8, kvHeads: 2, headSize: 32 },
    cacheType: 'f16',
    hasCompany: true,
  },
  'Q8_0, one KV head of 128': {
    model: { ...tiny, type: 'Q8_0', heads: 2, kvHeads: 1, headSize: 128 },
    cacheType: 'f16',
    hasCompany: true,
  },
  'Q4_0, a KV head for each, BF16': {
    model: { ...tiny, kvHeads: 4 },
    cacheType: 'bf16',
    hasCompany: true,
  },
  'Q8_0, heads of 64, Q8_0': { model: { ...tiny, type: 'Q8_0' }, cacheType: 'q8_0', hasCompany: true },
  'F16, heads of 64': { model: { ...tiny, type: 'F16' }, cacheType: 'f16', hasCompany: false },
  'Q4_K, heads of 64': {
    model: { ...tiny, hidden: 256, type: 'Q4_K' },
    cacheType: 'f16',
    hasCompany: false,
  },
};

async function pipeline(spec: ModelSpec, count: number, cacheType: CacheType): Promise<StageRuntime[]> {
  const stages: StageRuntime[] = [];
  const bound = (i: number): number => Math.round((i * spec.layers) / count);
  for (let i = 0; i < count; i++) {
    const range = { layerStart: bound(i), layerEnd: bound(i + 1) };
    const stage = await loadStage(spec, {
      arenaSlots: 2 * context,
      rowsMax: 1024,
      range,
      cacheType,
    });
    stages.push(stage);
    await stage.warmUp(profile);
  }
  return stages;
}

/** Cuts that leave no single row, which would be taken for a decoded one. */
function chunksOf(length: number, cuts: readonly number[]): number[] {
  const chunks: number[] = [];
  let left = length;
  for (const cut of cuts)
    // The first chunk of a long prompt reaches a whole tile, as the scheduler cuts it.
    if (left - cut >= 2 && (chunks.length > 0 || length < 64 || cut >= 64)) {
      chunks.push(cut);
      left -= cut;
    }
  return [...chunks, left];
}

const own = (positionStart: number, rows: number, logitRows: number): StepSequence =>
  part({ regionSlots: context, positionStart, rows, logitRows });

/** Logits after the prompt and after each token behind it, beside another sequence with so many rows in each step. */
async function logits(
  stages: readonly StageRuntime[],
  tokens: readonly number[],
  chunks: readonly number[],
  company: number,
): Promise<Float32Array[]> {
  const found: Float32Array[] = [];
  let at = 0;
  let beside = 0;
  for (const rows of [...chunks, ...Array<number>(answer).fill(1)]) {
    const mine = own(at, rows, at + rows >= tokens.length - answer ? 1 : 0);
    const other = { ...own(beside, company, 0), sequenceId: 2, regionStart: context };
    const before = company > 0 ? someTokens(company, 100, beside) : [];
    const step = tokenStep(company > 0 ? [other, mine] : [mine], [...before, ...tokens.slice(at, at + rows)]);
    found.push(...(await runThrough(stages, step)));
    at += rows;
    beside += company;
  }
  return found;
}

describe.each(Object.entries(cases))('%s', (_, { model, cacheType, hasCompany }) => {
  it('gives the same bytes in any chunks and stages, and in any company', async () => {
    const spec = await describeFile(await cachedSyntheticModel(model));
    const pipelines: StageRuntime[][] = [];
    try {
      for (const count of [1, 2, 3]) pipelines.push(await pipeline(spec, count, cacheType));
      const [whole = []] = pipelines;
      await fc.assert(
        fc.asyncProperty(
          fc.integer({ min: 2, max: promptMax }),
          fc.array(fc.oneof(fc.integer({ min: 2, max: 70 }), fc.integer({ min: 2, max: 300 })), {
            maxLength: 4,
          }),
          fc.constantFrom(...pipelines),
          fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 40 })),
          fc.nat(1000),
          async (length, cuts, stages, company, seed) => {
            const tokens = someTokens(length + answer, spec.vocabulary, seed);
            const expected = await logits(whole, tokens, [length], 0);
            const found = await logits(stages, tokens, chunksOf(length, cuts), hasCompany ? company : 0);
            expect(expected).toHaveLength(answer + 1);
            expect(difference(found, expected)).toBe(0);
          },
        ),
        { numRuns: 5 },
      );
    } finally {
      for (const stage of pipelines.flat()) stage[Symbol.dispose]();
    }
  });
});

it('gives a single query of a long cache the same bytes on any threads', async () => {
  const spec = await describeFile(await cachedSyntheticModel({ ...tiny, layers: 1, type: 'Q8_0' }));
  const tokens = someTokens(520, spec.vocabulary);
  const found: Float32Array[][] = [];
  for (const threads of [1, 2]) {
    using stage = await loadStage(spec, { arenaSlots: context, rowsMax: 1024, threads });
    found.push(await logits([stage], [...tokens, 1, 2], [520], 0));
  }
  const [one = [], two = []] = found;
  expect(one).toHaveLength(answer + 1);
  expect(difference(two, one)).toBe(0);
});
