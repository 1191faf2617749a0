import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fitsRooms, windowsOf } from '@butterfly/model';
import { architectureFixtures, openOracle, writeArchitectureModel } from '@butterfly/testkit';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { SplitModel } from '../split-model.js';
import { describeFile, difference, someTokens } from '../testing/stages.js';

/** Of llama.cpp's, whose window layers lie in rings of so many slots that they are not turned before. */
const contextTokens = 2048;
const prompt = 1100;
const continuation = 40;
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'butterfly-rooms-'));
  for (const fixture of architectureFixtures())
    await writeArchitectureModel(join(folder, `${fixture.name}.gguf`), fixture, 'Q8_0');
}, 600_000);
afterAll(() => rm(folder, { recursive: true, force: true }));

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

it.each(architectureFixtures().map(({ name }) => name))('%s', async (name) => {
  const path = join(folder, `${name}.gguf`);
  const spec = await describeFile(path).catch(() => null);
  if (!spec?.attention.some(fitsRooms)) return;
  const tokens = someTokens(prompt + continuation, spec.vocabulary, 3);
  const options = { threads: 1, contextTokens } as const;
  const all: Float32Array[][] = [];
  const bytes: number[] = [];
  for (const windowCache of ['full', 'window'] as const) {
    using model = await SplitModel.open(spec, { ...options, cuts: [], windowCache });
    if (windowCache === 'window' && !windowsOf(model.spec)) { console.log(name, 'no rooms'); return; }
    bytes.push(model.stages.reduce((sum, stage) => sum + stage.arenaBytes, 0));
    all.push(await run(model, tokens));
  }
  await using oracle = await openOracle(path, { ...options, batchTokens: 2048 });
  const expected = await oracle.logits(tokens.slice(0, prompt), tokens.slice(prompt));
  const [full = [], window = []] = all;
  console.log(name, spec.attention.find(fitsRooms)?.window, 'window/full', difference(window, full), 'full/llama', difference(full.slice(2), expected), 'window/llama', difference(window.slice(2), expected));
  expect(difference(window, full)).toBe(0);
});
