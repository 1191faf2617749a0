import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ModelSpec, windowsOf } from '@butterfly/model';
import { architectureFixtures, openOracle, writeArchitectureModel } from '@butterfly/testkit';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { SplitModel } from '../split-model.js';
import { type Question, ScheduledRun } from '../testing/scheduled-run.js';
import { describeFile, difference, someTokens } from '../testing/stages.js';

/** Of one shape in all layers; of unlike shapes, with caches that several layers read; with sinks and experts. */
const names = ['gemma3', 'gemma4', 'gpt-oss'];
/** A window of 16 tokens has rooms of 1,024 slots: prompt and continuation leave the first ones behind. */
const prompt = 1100;
const continuation = 16;
const contextTokens = 2048;
let folder: string;
const pathOf = (name: string): string => join(folder, `${name}.gguf`);
// Before the oracle takes llama.cpp's log.
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'butterfly-rooms-'));
  for (const fixture of architectureFixtures().filter(({ name }) => names.includes(name)))
    await writeArchitectureModel(pathOf(fixture.name), fixture, 'Q8_0');
}, 60_000);
afterAll(() => rm(folder, { recursive: true, force: true }));

const cutOf = ({ crossings }: ModelSpec): number => crossings.findIndex((width) => width !== null) + 1;

/** Logits after each chunk of the prompt and each token of the continuation. */
async function run(model: SplitModel, tokens: readonly number[]): Promise<Float32Array[]> {
  const results: Float32Array[] = [];
  for (let position = 0; position < tokens.length;) {
    const count = position < prompt ? Math.min(500, prompt - position) : 1;
    const { logits } = await model.run(tokens.slice(position, position + count), position);
    position += count;
    results.push(logits.slice());
  }
  return results;
}

describe.each(names)('%s, whose window layers keep what they need', (name) => {
  it('has the logits of llama.cpp and of whole contexts, to the last bit and in any stages', async () => {
    const spec = await describeFile(pathOf(name));
    const tokens = someTokens(prompt + continuation, spec.vocabulary, 3);
    const results: Float32Array[][] = [];
    for (const [windowCache, cuts] of [
      ['full', []],
      ['window', []],
      ['window', [cutOf(spec)]],
    ] as const) {
      using model = await SplitModel.open(spec, { threads: 1, contextTokens, cuts, windowCache });
      expect(windowsOf(model.spec)).toEqual(
        windowCache === 'full' ? null : { windowTokens: 16, rooms: 32, roomSlots: 1024 },
      );
      results.push(await run(model, tokens));
    }
    const [full = []] = results;
    expect(results.map((each) => difference(each, full))).toEqual([0, 0, 0]);
    await using oracle = await openOracle(pathOf(name), { threads: 1, contextTokens, batchTokens: 2048 });
    const expected = await oracle.logits(tokens.slice(0, prompt), tokens.slice(prompt));
    // The first two are within the prompt.
    expect(difference(full.slice(2), expected)).toBe(0);
  });
});

describe.each(['gemma3', 'gpt-oss'])('%s, scheduled', (name) => {
  it('gives what it gives with whole contexts: beside others, from checkpoints and after a loss', async () => {
    const spec = await describeFile(pathOf(name));
    const open = (windowCache: 'window' | 'full'): Promise<SplitModel> =>
      SplitModel.open(spec, {
        cuts: [cutOf(spec)],
        threads: 1,
        contextTokens: 3 * contextTokens,
        isDeterministic: true,
        windowCache,
      });
    using model = await open('window');
    using whole = await open('full');
    const sizes = { contextTokensMax: contextTokens, arenaSlots: 3 * contextTokens };
    const scheduled = new ScheduledRun(model, sizes);
    const more = (count: number, seed: number): number[] => someTokens(count, spec.vocabulary, seed);
    const tokens = more(prompt, 2);
    const [first] = await scheduled.ask({ prompt: tokens, outputTokens: 20 });
    const questions: readonly Question[] = [
      // The next turn, from behind the answer; the same prompt again, and a similar one, from near their ends.
      { prompt: [...tokens, ...(first?.tokens ?? []), ...more(25, 5)], outputTokens: 12 },
      { prompt: tokens, outputTokens: 6 },
      { prompt: [...tokens.slice(0, 1097), ...more(9, 6)], outputTokens: 8 },
    ];
    const answers = await scheduled.ask(...questions);
    expect(answers.map(({ cachedTokens }) => cachedTokens)).toEqual([1119, 1096, 1096]);
    const afterLoss = await new ScheduledRun(model, sizes).askWithLoss(9, ...questions);
    for (const [index, question] of questions.entries()) {
      const [alone] = await new ScheduledRun(whole, sizes).ask(question);
      expect(answers[index]?.tokens).toEqual(alone?.tokens);
      expect(answers[index]?.logits.map((row) => row.toString('base64'))).toEqual(
        alone?.logits.map((row) => row.toString('base64')),
      );
      expect(afterLoss[index]?.tokens).toEqual(alone?.tokens);
    }
  });
});
