import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describeAny, surveyModel } from '@butterfly/llama-graph';
import { openGguf } from '@butterfly/model';
import { architectureFixtures, writeArchitectureModel } from '@butterfly/testkit';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { SplitModel } from '../split-model.js';
import { type Question, type Said, ScheduledRun } from '../testing/scheduled-run.js';
import { ggml, someTokens } from '../testing/stages.js';

const names = ['qwen35', 'mamba2', 'granitehybrid', 'lfm2'];
const contextTokens = 1024;
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'butterfly-checkpoints-'));
}, 60_000);
afterAll(() => rm(folder, { recursive: true, force: true }));

async function open(name: string): Promise<SplitModel> {
  const fixture = architectureFixtures().find((each) => each.name === name);
  if (!fixture) throw new RangeError(`there is no fixture ${name}`);
  const path = join(folder, `${name}.gguf`);
  await writeArchitectureModel(path, fixture, 'Q8_0');
  const spec = await describeAny(await openGguf(path), (request) =>
    Promise.resolve(surveyModel(ggml, request)),
  );
  return SplitModel.open(spec, { cuts: [2], threads: 1, contextTokens, isDeterministic: true });
}

const scheduledRun = (model: SplitModel): ScheduledRun =>
  new ScheduledRun(model, { contextTokensMax: 512, arenaSlots: contextTokens });

async function expectAsAlone(model: SplitModel, question: Question, said: Said | undefined): Promise<void> {
  const [alone] = await scheduledRun(model).ask(question);
  expect(alone?.cachedTokens).toBe(0);
  expect(said?.tokens).toEqual(alone?.tokens);
  expect(said?.logits.map((row, index) => row.equals(alone?.logits[index] ?? Buffer.alloc(0)))).toEqual(
    Array.from({ length: question.outputTokens }, () => true),
  );
}

describe.each(names)('%s, gone on from a checkpoint', (name) => {
  it('has the same logits to the last bit as from the beginning', async () => {
    using model = await open(name);
    const run = scheduledRun(model);
    const { vocabulary } = model.spec;
    const prompt = someTokens(150, vocabulary, 2);
    const [first] = await run.ask({ prompt, outputTokens: 20 });
    expect(first?.cachedTokens).toBe(0);
    const more = (count: number, seed: number): number[] => someTokens(count, vocabulary, seed);
    const questions = [
      // The next turn, from behind the answer; the same prompt again, and a similar one, from near their ends.
      { prompt: [...prompt, ...(first?.tokens ?? []), ...more(25, 5)], outputTokens: 12 },
      { prompt, outputTokens: 6 },
      { prompt: [...prompt.slice(0, 147), ...more(9, 6)], outputTokens: 8 },
    ];
    const answers = await run.ask(...questions);
    expect(answers.map(({ cachedTokens }) => cachedTokens)).toEqual([169, 146, 146]);
    for (const [index, question] of questions.entries()) await expectAsAlone(model, question, answers[index]);
  });
});
