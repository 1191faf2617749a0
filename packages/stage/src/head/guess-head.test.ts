import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { OracleHead, withHeadLayer, writeArchitectureModel } from '@butterfly/testkit';
import { emptyState, firstOwnState, greedySampling } from '@butterfly/wire';
import { type ModelSpec, stateSlotsOf } from '@butterfly/model';
import { servedSpec } from '@butterfly/llama-graph';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { largestIndex } from '../sampling/blocks.js';
import { SharedWeights } from '../loading/shared-weights.js';
import { SplitModel } from '../split-model.js';
import { describeFile, difference, loadStage, part, someTokens, tokenStep } from '../testing/stages.js';

const models = ['qwen35', 'glm4moe', 'deepseek2'] as const;
let folder: string;
const pathOf = (name: string): string => join(folder, `${name}.gguf`);

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'butterfly-heads-'));
  for (const name of models) await writeArchitectureModel(pathOf(name), withHeadLayer(name), 'Q8_0');
}, 60_000);
afterAll(() => rm(folder, { recursive: true, force: true }));

/** One sequence in a model whose head guesses. */
class Run {
  #steps = 0;

  constructor(private readonly model: SplitModel) {}

  async step(
    tokens: readonly number[],
    positionStart: number,
    draftTokens: readonly number[] = [],
  ): Promise<{ logits: Float32Array; token: number; guess: number | undefined; guessLogits: Float32Array }> {
    const { stages, spec } = this.model;
    const before = this.#steps++;
    const sequence = part({
      ...{ regionSlots: 512, positionStart, rows: tokens.length, logitRows: 1 + draftTokens.length },
      ...{ sampling: greedySampling, draftTokens: Int32Array.from(draftTokens) },
      state:
        stateSlotsOf(spec) === 0
          ? null
          : {
              from: before === 0 ? emptyState : firstOwnState + (before % 2),
              to: firstOwnState + ((before + 1) % 2),
            },
    });
    const step = tokenStep([sequence], tokens);
    let { payload } = step;
    for (const stage of stages) {
      const { activations, logits, guess } = await stage.run({ ...step, payload, tokens: step.payload });
      if (activations) payload = activations.slice();
      if (!logits || !guess) continue;
      const own = logits.slice();
      const token = largestIndex(own);
      const made = await guess([{ sequenceId: sequence.sequenceId, tokens: Int32Array.of(token) }]);
      const guessLogits = made.logits?.slice() ?? new Float32Array(0);
      return { logits: own, token, guess: made.outputs[0]?.guesses?.[0], guessLogits };
    }
    throw new Error('no stage gave logits and guesses');
  }
}

describe('GuessHead', () => {
  it.each(models)('of %s guesses by the logits that libllama has of the same rows', async (name) => {
    const spec = await describeFile(pathOf(name));
    expect(spec.graph).toMatchObject({ head: { isOn: false } });
    using model = await SplitModel.open(spec, {
      ...{ threads: 1, contextTokens: 512, hasHead: true, cuts: [2] },
    });
    using oracle = new OracleHead(pathOf(name), spec);
    const prompt = someTokens(9, spec.vocabulary);
    const run = new Run(model);
    const zeros = new Float32Array(spec.hidden);

    // A prompt, of which each row but the first has the state of the one before it.
    const first = await run.step(prompt, 0);
    const whole = oracle.trunk(prompt);
    expect(difference([first.logits], [whole.logits])).toBe(0);
    const states = [zeros, ...whole.hidden];
    const rows = [...prompt, first.token].map((token, i) => ({ token, hidden: states[i] ?? zeros }));
    const guessed = oracle.head(rows);
    expect(difference([first.guessLogits], [guessed])).toBe(0);
    expect(first.guess).toBe(largestIndex(guessed));

    // One token, whose row the head has had already.
    const second = await run.step([first.token], prompt.length);
    const state = oracle.trunk([first.token]).hidden[0] ?? zeros;
    const behind = oracle.head([{ token: second.token, hidden: state }]);
    expect(difference([second.guessLogits], [behind])).toBe(0);
    expect(second.guess).toBe(largestIndex(behind));
  });
});

describe('the weights of a head', () => {
  it('are shared as others are, and the rest of its stage is as without it', async () => {
    const model = await describeFile(pathOf('qwen35'));
    const served = (hasHead: boolean): ModelSpec =>
      servedSpec(model, {
        ...{ contextTokens: 512, sequences: 4, checkpoints: 0, windowCache: 'full', rowsMax: 64, hasHead },
      });
    const shared = new SharedWeights();
    const options = { shared, range: { layerStart: model.layers - 1, layerEnd: model.layers } };
    using plain = await loadStage(served(false), options);
    using first = await loadStage(served(true), options);
    expect([plain.sharedBytes, first.sharedBytes]).toEqual([0, plain.shardBytes]);
    expect(first.shardBytes).toBeGreaterThan(plain.shardBytes);
    using second = await loadStage(served(true), options);
    expect([second.sharedBytes, shared.bytes]).toEqual([first.shardBytes, first.shardBytes]);
  });
});

describe('a head that is right by construction', () => {
  it('guesses the token that comes', async () => {
    const path = join(folder, 'circle.gguf');
    const fixture = { ...withHeadLayer('qwen35'), vocabulary: 1024, circleTokens: 512 };
    await writeArchitectureModel(path, fixture, 'Q8_0');
    using model = await SplitModel.open(await describeFile(path), {
      ...{ threads: 1, contextTokens: 512, hasHead: true, cuts: [] },
    });
    const run = new Run(model);
    const prompt = [600, 700, 800];
    let { token, guess } = await run.step(prompt, 0);
    for (let position = prompt.length; position < 12; position += 1) {
      const expected = guess;
      ({ token, guess } = await run.step([token], position));
      expect(token).toBe(expected);
      expect(token).toBe(800 + position - 1);
    }
  });
});
