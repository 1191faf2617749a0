import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { architectureFixtures, writeArchitectureModel } from '@butterfly/testkit';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { SplitModel } from '../split-model.js';
import { checkInvariance } from '../step-measurement.js';
import { type Question, type Said, ScheduledRun } from '../testing/scheduled-run.js';
import { describeFile, someTokens } from '../testing/stages.js';

/**
 * Whether rows have the same numbers alone and among others. The fixtures of the others have matrices in F32, of routers or
 * beside convolutions, which are computed otherwise for one row; in deterministic mode no row is alone.
 */
const models = [
  { name: 'qwen35', isInvariant: true },
  { name: 'mamba2', isInvariant: true },
  { name: 'jamba', isInvariant: false },
  { name: 'granitehybrid', isInvariant: false },
  { name: 'lfm2', isInvariant: false },
] as const;
const contextTokens = 1024;
const outputTokens = 40;
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'butterfly-state-guesses-'));
  for (const fixture of architectureFixtures())
    if (models.some(({ name }) => name === fixture.name))
      await writeArchitectureModel(join(folder, `${fixture.name}.gguf`), fixture, 'Q8_0');
}, 60_000);
afterAll(() => rm(folder, { recursive: true, force: true }));

/** A text that goes in circles, but for a token now and then, behind a prompt that does too. */
function circling(vocabulary: number, seed: number): Question {
  const circle = someTokens(5 + seed, vocabulary, 9 + seed);
  const prompt = [...someTokens(70 + 20 * seed, vocabulary, seed), ...circle, ...circle];
  const text = Array.from({ length: outputTokens }, (_, i) =>
    i % 11 === 10 ? i : (circle[i % circle.length] ?? 0),
  );
  return { prompt, outputTokens, text };
}

async function isInvariant(model: SplitModel, isDeterministic: boolean): Promise<boolean[]> {
  const found: boolean[] = [];
  for (const stage of model.stages) {
    const { isBatchInvariant } = await checkInvariance({
      ...{ spec: model.spec, payloadShape: stage.payloadShape, slots: contextTokens, rowsMax: 512 },
      isDeterministic,
      run: (step) => stage.run(step),
    });
    found.push(isBatchInvariant);
  }
  return found;
}

/** One by one without guesses, and all at once with them. */
async function askBothWays(model: SplitModel, questions: readonly Question[]): Promise<[Said[], Said[]]> {
  const sizes = { contextTokensMax: 512, arenaSlots: contextTokens };
  const alone: Said[] = [];
  for (const question of questions) alone.push(...(await new ScheduledRun(model, sizes).ask(question)));
  const guessing = new ScheduledRun(model, { ...sizes, guessesMax: 8 });
  const together = await guessing.ask(...questions);
  const { confirmed, refused, repeated } = guessing.counted;
  expect(Math.min(confirmed, refused, repeated)).toBeGreaterThan(10);
  return [alone, together];
}

describe.each(models)('$name, guessed for', ({ name, isInvariant: isInvariantAlone }) => {
  it.each([[[]], [[3]], [[2, 4]]])('has the logits that it has row by row, cut at %j', async (cuts) => {
    const spec = await describeFile(join(folder, `${name}.gguf`));
    const isDeterministic = !isInvariantAlone;
    using model = await SplitModel.open(spec, { cuts, threads: 1, contextTokens, isDeterministic });
    expect(await isInvariant(model, isDeterministic)).toEqual([0, ...cuts].map(() => true));
    const { vocabulary } = spec;
    const questions = [
      circling(vocabulary, 1),
      circling(vocabulary, 2),
      // What it likes to say itself.
      { prompt: someTokens(60, vocabulary, 4), outputTokens },
    ];
    const [alone, together] = await askBothWays(model, questions);
    expect(together.map(({ tokens }) => tokens)).toEqual(alone.map(({ tokens }) => tokens));
    for (const [index, { logits }] of together.entries())
      expect(logits.map((row, at) => row.equals(alone[index]?.logits[at] ?? Buffer.alloc(0)))).toEqual(
        Array.from({ length: outputTokens }, () => true),
      );
  });
});

it.each(models)('is seen of $name before it serves', async ({ name, isInvariant: expected }) => {
  const spec = await describeFile(join(folder, `${name}.gguf`));
  using model = await SplitModel.open(spec, { cuts: [], threads: 1, contextTokens });
  expect(await isInvariant(model, false)).toEqual([expected]);
});
