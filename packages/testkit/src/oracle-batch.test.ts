import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openOracleBatches, type OracleBatches } from './oracle-batch.js';
import { openOracle } from './oracle.js';
import { tinyModel } from './synthetic/tiny-model.js';
import { cachedSyntheticModel } from './synthetic/cached-model.js';

describe('texts that llama.cpp generates at once', () => {
  let path: string;
  let batches: OracleBatches;
  beforeAll(async () => {
    // Blocks of Q8_0 have 32 elements, and a head is at least one.
    path = await cachedSyntheticModel({ ...tinyModel, headSize: 32 });
    batches = await openOracleBatches(path);
  });
  afterAll(() => batches[Symbol.asyncDispose]());

  const prompts = [
    [3, 1, 4, 1, 5],
    [9, 2, 6, 5],
    [3, 5],
    [8, 9, 7, 9, 3, 2],
    [3, 8],
  ];

  it.each(['together', 'free'] as const)(
    'are as long as asked for, more texts than sequences too, going on %s',
    async (pace) => {
      await using batch = await batches.open({ threads: 1, sequences: 2, contextTokens: 64, pace });
      const texts: number[][] = prompts.map(() => []);
      await Promise.all(
        prompts.map((prompt, index) =>
          batch.generate(prompt, 4 + index, (token) => texts[index]?.push(token)),
        ),
      );
      expect(texts.map((text) => text.length)).toEqual(prompts.map((_, index) => 4 + index));
    },
  );

  it('start from nothing each, with every type of cache', async () => {
    for (const cacheType of ['f16', 'bf16', 'q8_0'] as const) {
      await using batch = await batches.open({ threads: 1, sequences: 1, contextTokens: 64, cacheType });
      const [first, second]: number[][] = [[], []];
      await batch.generate([3, 1, 4], 8, (token) => first?.push(token));
      await batch.generate([3, 1, 4], 8, (token) => second?.push(token));
      expect(second).toEqual(first);
    }
  });

  it('are those of one sequence alone', async () => {
    await using oracle = await openOracle(path, { threads: 1, contextTokens: 64 });
    await using batch = await batches.open({ threads: 1, sequences: 1, contextTokens: 64 });
    const text: number[] = [];
    await batch.generate([3, 1, 4], 8, (token) => text.push(token));
    expect(text).toEqual(await oracle.greedy([3, 1, 4], 8));
  });

  it('are refused when they do not fit', async () => {
    await using batch = await batches.open({ threads: 1, sequences: 1, contextTokens: 16 });
    await expect(batch.generate([3], 16, () => undefined)).rejects.toThrow('do not fit');
  });
});
