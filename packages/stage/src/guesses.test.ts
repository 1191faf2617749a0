import { limits } from '@butterfly/common';
import type { ModelSpec } from '@butterfly/model';
import { cachedSyntheticModel } from '@butterfly/testkit';
import { type SamplingParams, type StepSequence, greedySampling } from '@butterfly/wire';
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
} from './testing/stages.js';

const small = { ...smallModel, seed: 5, contextTrained: 2048 };

const cases = [
  ['Q4_0', 1],
  ['Q4_0', 2],
  ['Q8_0', 1],
  ['Q8_0', 2],
] as const;

describe.each(cases)('guesses with %s on %i threads', (type, threads) => {
  let spec: ModelSpec;
  let stage: StageRuntime;
  beforeAll(async () => {
    spec = await describeFile(await cachedSyntheticModel({ ...small, type }));
    stage = await loadStage(spec, { threads, arenaSlots: 2048, rowsMax: 512 });
  });
  afterAll(() => stage[Symbol.dispose]());

  const at = (change: Partial<StepSequence>): StepSequence => part({ regionSlots: 1024, ...change });

  /** Caches so many tokens. */
  async function prefill(length: number, regionStart = 0): Promise<void> {
    const tokens = someTokens(length, spec.vocabulary, 3);
    const chunk = 250;
    for (let positionStart = 0; positionStart < length; positionStart += chunk) {
      const rows = Math.min(chunk, length - positionStart);
      const step = at({ regionStart, positionStart, rows, logitRows: 0 });
      await runThrough([stage], tokenStep([step], tokens.slice(positionStart, positionStart + rows)));
    }
  }

  // Across a block of the cache, and to where ggml splits the cache among threads.
  it.each([1, 40, 252, 508, 600])(
    'gives the logits of decoding one by one from position %i',
    async (start) => {
      const line = someTokens(9, spec.vocabulary, 8);
      await prefill(start);
      const oneByOne: Float32Array[] = [];
      for (const [i, token] of line.entries())
        oneByOne.push(...(await runThrough([stage], tokenStep([at({ positionStart: start + i })], [token]))));
      // In a region of its own, with another sequence beside it, so that nothing is left from before.
      await prefill(start, 1024);
      const guesses = at({
        regionStart: 1024,
        positionStart: start,
        rows: 9,
        logitRows: 9,
        draftTokens: Int32Array.from(line.slice(1)),
      });
      const other = at({ sequenceId: 2, regionStart: 768, regionSlots: 256, rows: 2 });
      const together = await runThrough([stage], tokenStep([other, guesses], [1, 2, ...line]));
      expect(together).toHaveLength(10);
      expect(difference(together.slice(1), oneByOne)).toBe(0);
    },
  );

  /** The tokens after a prompt, of which some are guessed in each step. */
  async function generate(
    sampling: SamplingParams,
    count: number,
    guess: (made: readonly number[]) => readonly number[],
  ): Promise<number[]> {
    const promptTokens = 250;
    await prefill(promptTokens);
    using sampler = stage.createSampler();
    const made: number[] = [];
    let last = 7;
    while (made.length < count) {
      const draftTokens = Int32Array.from(guess(made));
      const rows = draftTokens.length + 1;
      const sequence = at({
        positionStart: promptTokens + made.length,
        rows,
        logitRows: rows,
        sampling,
        draftTokens,
        recentTokens: Int32Array.from(made.slice(-limits.recentTokensMax)),
      });
      const { logits } = await stage.run(tokenStep([sequence], [last, ...draftTokens]));
      const [output] = await sampler.sample([sequence], logits);
      made.push(...(output?.tokens ?? []));
      last = made.at(-1) ?? last;
    }
    return made.slice(0, count);
  }

  it.each<Partial<SamplingParams>>([
    {},
    { temperature: 0.8, topP: 0.9, seed: 4 },
    { temperature: 1, seed: 5, repeatPenalty: 1.2, frequencyPenalty: 0.3 },
  ])('gives the same text with right, partly right and wrong guesses: %j', async (change) => {
    const sampling = { ...greedySampling, ...change };
    const count = 24;
    const text = await generate(sampling, count, () => []);
    const wrong = (token: number): number => (token + 1) % spec.vocabulary;
    const right = (made: readonly number[]): number[] => text.slice(made.length, made.length + 4);
    expect(await generate(sampling, count, right)).toEqual(text);
    expect(await generate(sampling, count, (made) => right(made).map(wrong))).toEqual(text);
    const partly = (made: readonly number[]): number[] =>
      right(made).map((token, i) => (i < made.length % 4 ? token : wrong(token)));
    expect(await generate(sampling, count, partly)).toEqual(text);
  });
});
