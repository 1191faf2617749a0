import type { GenerateRequest } from '@butterfly/engine';
import { type Oracle, openOracle } from '@butterfly/testkit';
import { greedySampling } from '@butterfly/wire';
import { ownModel } from 'butterfly/command';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { EngineCluster } from './testing/engine-cluster.js';

/** How far a log probability may be from llama.cpp's; see `logitBound` of the stage's comparison. */
const logprobBound = 0.15;

const text = 'Once upon a time there was a butterfly. It was a small butterfly, and it lived in a garden. ';

let oracle: Oracle;
let prompt: number[];
let split: EngineCluster;
beforeAll(async () => {
  [oracle, split] = await Promise.all([
    openOracle(ownModel, { threads: 1, contextTokens: 512 }),
    EngineCluster.start(ownModel, 3),
  ]);
  prompt = [1, ...oracle.tokenize(text.repeat(2), false)].slice(0, 100);
}, 120_000);
afterAll(async () => {
  await split[Symbol.asyncDispose]();
  await oracle[Symbol.asyncDispose]();
});

function logSoftmax(logits: Float32Array): number[] {
  const largest = logits.reduce((most, logit) => Math.max(most, logit), -Infinity);
  const total = logits.reduce((sum, logit) => sum + Math.exp(logit - largest), 0);
  return Array.from(logits, (logit) => logit - largest - Math.log(total));
}

/** Everything at once that makes a token depend on others, or tells of it. */
const everything = (seed: number): Partial<GenerateRequest> => ({
  promptTokens: Int32Array.from(prompt),
  outputTokensMax: 60,
  logprobs: 5,
  promptLogprobs: 2,
  sampling: {
    ...greedySampling,
    temperature: 0.9,
    topK: 60,
    typicalP: 0.95,
    topP: 0.98,
    minP: 0.001,
    xtcProbability: 0.3,
    repeatPenalty: 1.1,
    penaltyLastN: 200,
    dry: {
      multiplier: 0.8,
      base: 1.75,
      allowedLength: 2,
      lastN: 256,
      breakers: [Int32Array.of(prompt[4] ?? 0), Int32Array.of(prompt[7] ?? 0, prompt[8] ?? 0)],
    },
    logitBias: { tokens: Int32Array.of(prompt[5] ?? 0, 3), values: Float32Array.of(-100, 2) },
    seed,
  },
});

describe('through three stages', () => {
  it('tells the log probabilities of llama.cpp', async () => {
    const promptTokens = Int32Array.from(prompt);
    const asked = { promptTokens, outputTokensMax: 12, logprobs: 3, promptLogprobs: 3 };
    const { events } = await split.ask(asked);
    const told = events.map(({ token }) => token);
    expect(told.slice(0, prompt.length)).toEqual(prompt);
    const [first = 1] = prompt;
    const rows = (await oracle.logits([first], told.slice(1, -1))).map(logSoftmax);
    expect(events[0]).toEqual({ kind: 'promptToken', token: first, logprobs: null });
    for (const [i, { kind, token, logprobs }] of events.entries()) {
      expect(kind).toBe(i < prompt.length ? 'promptToken' : 'token');
      if (i === 0) continue;
      const row = rows[i - 1] ?? [];
      expect(Math.abs((logprobs?.logprob ?? NaN) - (row[token] ?? NaN))).toBeLessThan(logprobBound);
      expect(logprobs?.top).toHaveLength(3);
      for (const [rank, each] of (logprobs?.top ?? []).entries()) {
        const expected = row.toSorted((a, b) => b - a)[rank] ?? NaN;
        expect(Math.abs(each.logprob - expected)).toBeLessThan(logprobBound);
        expect(Math.abs(each.logprob - (row[each.token] ?? NaN))).toBeLessThan(logprobBound);
      }
    }
  });

  it('scores a prompt without a word, and computes what is cached once more for that', async () => {
    const promptTokens = Int32Array.from(prompt);
    const before = await split.ask({ promptTokens, outputTokensMax: 1 });
    const scored = await split.ask({ promptTokens, outputTokensMax: 0, promptLogprobs: 0 });
    expect(scored.cachedPromptTokens).toBe(0);
    const full = await split.ask({ promptTokens, outputTokensMax: 1, promptLogprobs: 0 });
    expect(full.events).toEqual([...scored.events, ...before.events]);
    expect(scored.events).toHaveLength(prompt.length);
    // Nor do they who score nothing lose by it.
    const after = await split.ask({ promptTokens, outputTokensMax: 1 });
    expect(after.cachedPromptTokens).toBeGreaterThan(0);
    expect(after.events).toEqual(before.events);
  });

  it('says and tells the same as in one stage, alone and among others, and when a worker is killed', async () => {
    const seeds = [1, 2, 3];
    await using whole = await EngineCluster.start(ownModel, 1);
    const expected = [];
    for (const seed of seeds) expected.push((await whole.ask(everything(seed))).events);
    expect(new Set(expected.map((events) => JSON.stringify(events))).size).toBe(seeds.length);
    const together = await Promise.all(seeds.map((seed) => split.ask(everything(seed))));
    expect(together.map(({ events }) => events)).toEqual(expected);
    for (const victim of [0, 1]) {
      let isKilled = false;
      const killed = await Promise.all(
        seeds.map((seed) =>
          split.ask(everything(seed), ({ kind }) => {
            // The first in the midst of outputs, the second as soon as a prompt is told.
            if (isKilled || (victim === 0 && kind !== 'token')) return;
            isKilled = true;
            split.kill(victim);
          }),
        ),
      );
      expect(killed.map(({ events }) => events)).toEqual(expected);
    }
  }, 120_000);
});
