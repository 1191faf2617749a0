import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type PlannedStep, Scheduler } from '@butterfly/engine';
import { describeAny, surveyModel } from '@butterfly/llama-graph';
import { openGguf, stateSlotsOf } from '@butterfly/model';
import { architectureFixtures, writeArchitectureModel } from '@butterfly/testkit';
import { greedySampling } from '@butterfly/wire';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { largestIndex } from '../sampling/blocks.js';
import { SplitModel } from '../split-model.js';
import { ggml, runThrough, someTokens, tokenStep } from '../testing/stages.js';

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

interface Question {
  readonly prompt: readonly number[];
  readonly outputTokens: number;
}

/** What came of a question: its tokens, and the logits that each was the largest of. */
interface Said {
  readonly tokens: number[];
  readonly logits: Buffer[];
  cachedTokens: number;
}

/** A scheduler that decides on the steps of a real model in two stages. */
class Run {
  readonly #scheduler: Scheduler;
  readonly #said = new Map<number, Said>();

  constructor(private readonly model: SplitModel) {
    this.#scheduler = new Scheduler({
      contextTokensMax: 512,
      arenaSlots: contextTokens,
      stages: 2,
      goesAhead: false,
      runningMax: 3,
      stateSlots: stateSlotsOf(model.spec),
      checkpointTokens: 64,
    });
  }

  /** Answers questions that are asked at once. */
  async ask(...questions: readonly Question[]): Promise<Said[]> {
    const asked = questions.map(({ prompt, outputTokens }) => {
      const id = this.#said.size;
      const said: Said = { tokens: [], logits: [], cachedTokens: NaN };
      this.#said.set(id, said);
      this.#scheduler.submit({
        id,
        promptTokens: Int32Array.from(prompt),
        outputTokensMax: outputTokens,
        logprobs: null,
        promptLogprobs: null,
        sampling: greedySampling,
        stopTokens: new Set(),
        priority: 0,
        nowMs: 0,
        deadlineMs: 1e9,
      });
      return said;
    });
    for (let step = this.#scheduler.nextStep(0); step; step = this.#scheduler.nextStep(0))
      await this.#compute(step);
    return asked;
  }

  async #compute({ stepId, sequences, tokens, copies }: PlannedStep): Promise<void> {
    const logits = await runThrough(this.model.stages, tokenStep(sequences, [...tokens], copies));
    const sampled = sequences.filter(({ sampling }) => sampling !== null);
    const outputs = sampled.map(({ sequenceId }, row) => {
      const ofRow = logits[row] ?? new Float32Array(0);
      this.#said.get(sequenceId)?.logits.push(Buffer.from(ofRow.slice().buffer));
      return { sequenceId, tokens: Int32Array.of(largestIndex(ofRow)) };
    });
    for (const event of this.#scheduler.complete({ stepId, outputs }, 0)) {
      const said = this.#said.get(event.id);
      if (event.kind === 'token') said?.tokens.push(event.token);
      if (event.kind === 'end' && said) said.cachedTokens = event.cachedPromptTokens;
    }
  }
}

async function expectAsAlone(model: SplitModel, question: Question, said: Said | undefined): Promise<void> {
  const [alone] = await new Run(model).ask(question);
  expect(alone?.cachedTokens).toBe(0);
  expect(said?.tokens).toEqual(alone?.tokens);
  expect(said?.logits.map((row, index) => row.equals(alone?.logits[index] ?? Buffer.alloc(0)))).toEqual(
    Array.from({ length: question.outputTokens }, () => true),
  );
}

describe.each(names)('%s, gone on from a checkpoint', (name) => {
  it('has the same logits to the last bit as from the beginning', async () => {
    using model = await open(name);
    const run = new Run(model);
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
