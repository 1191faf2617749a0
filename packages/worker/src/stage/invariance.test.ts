import { cacheTypes, type CacheType, type StepSequence } from '@butterfly/common';
import { cacheBlockSlots, type ModelSpec } from '@butterfly/model';
import { cachedSyntheticModel } from '@butterfly/testkit';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { StageRuntime } from './runtime.js';
import { describeFile, difference, loadStage, part, runThrough, smallModel, someTokens, tokenStep } from './testing.js';

const context = 3 * cacheBlockSlots;
const answer = 3;
const shapes = {
  'Q8_0, heads of 64': { ...smallModel, type: 'Q8_0' },
  'Q4_0, heads of 32': { ...smallModel, heads: 8, kvHeads: 2, headSize: 32 },
  'Q8_0, one KV head of 128': { ...smallModel, type: 'Q8_0', heads: 2, kvHeads: 1, headSize: 128 },
  'Q6_K, a KV head for each': { ...smallModel, type: 'Q6_K', kvHeads: 4 },
} as const;

type Options = NonNullable<Parameters<typeof loadStage>[1]>;

async function pipeline(spec: ModelSpec, count: number, options: Options): Promise<StageRuntime[]> {
  const stages: StageRuntime[] = [];
  const bound = (i: number): number => Math.round((i * spec.layers) / count);
  for (let i = 0; i < count; i++) {
    const range = { layerStart: bound(i), layerEnd: bound(i + 1) };
    stages.push(await loadStage(spec, { arenaSlots: 3 * context, rowsMax: 1024, range, ...options }));
  }
  return stages;
}

/** Cuts that leave no single row: those are what decoding gives. */
function chunksOf(length: number, cuts: readonly number[]): number[] {
  const chunks: number[] = [];
  let left = length;
  for (const cut of cuts) {
    if (left - cut < 2) break;
    chunks.push(cut);
    left -= cut;
  }
  return [...chunks, left];
}

describe.each(Object.entries(shapes))('%s', (_, shape) => {
  it.each(cacheTypes)('gives the same bytes in any chunks, stages, threads and company: %s', async (cacheType: CacheType) => {
    const spec = await describeFile(await cachedSyntheticModel(shape));
    const own = (positionStart: number, rows: number, change: Partial<StepSequence> = {}): StepSequence =>
      part({ regionSlots: context, positionStart, rows, logitRows: 0, ...change });
    const other = (positionStart: number, rows: number): StepSequence =>
      own(positionStart, rows, { sequenceId: 2, regionStart: context });
    const pipelines: StageRuntime[][] = [];
    try {
      for (const [count, threads] of [[1, 1], [2, 2], [3, 1]] as const)
        pipelines.push(await pipeline(spec, count, { threads, cacheType }));
      const [whole] = pipelines;
      if (!whole) throw new RangeError('no pipeline');
      await fc.assert(
        fc.asyncProperty(
          fc.integer({ min: 2, max: 600 }),
          fc.array(fc.integer({ min: 2, max: 300 }), { maxLength: 4 }),
          fc.constantFrom(...pipelines),
          fc.integer({ min: 0, max: 40 }),
          fc.integer(),
          async (length, cuts, stages, company, seed) => {
            const tokens = someTokens(length + answer, spec.vocabulary, Math.abs(seed % 1000));
            const expected: Float32Array[] = [];
            expected.push(...(await runThrough(whole, tokenStep([own(0, length, { logitRows: 1 })], tokens.slice(0, length)))));
            for (let i = 0; i < answer; i++)
              expected.push(...(await runThrough(whole, tokenStep([own(length + i, 1, { logitRows: 1 })], tokens.slice(length + i, length + i + 1)))));
            const found: Float32Array[] = [];
            let at = 0;
            let beside = 0;
            for (const rows of [...chunksOf(length, cuts), ...Array<number>(answer).fill(1)]) {
              const logitRows = at + rows >= length ? 1 : 0;
              const mine = own(at, rows, { logitRows });
              const rest = company > 0 ? [other(beside, company)] : [];
              const all = [...rest.flatMap(({ rows: count }) => someTokens(count, spec.vocabulary, 7)), ...tokens.slice(at, at + rows)];
              found.push(...(await runThrough(stages, tokenStep([...rest, mine], all))));
              at += rows;
              beside += company;
            }
            expect(difference(found, expected)).toBe(0);
          },
        ),
        { numRuns: 12, seed: 5 },
      );
    } finally {
      for (const stage of pipelines.flat()) stage[Symbol.dispose]();
    }
  });
});
