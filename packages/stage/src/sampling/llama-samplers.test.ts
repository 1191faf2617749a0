import { drawFraction } from '@butterfly/model';
import { type OracleSampler, OracleSamplers } from '@butterfly/testkit';
import { type SamplingParams, greedySampling } from '@butterfly/wire';
import { describe, expect, it } from 'vitest';
import { adjustLogits } from './adjust.js';
import { applyDry } from './dry.js';
import { narrow, type Narrowing } from './narrow.js';
import { ggml } from '../testing/stages.js';

const oracle = new OracleSamplers(ggml.directory);
const vocabulary = 200;

/** Logits of one row, some of them likely; the same for the same seed. */
const row = (seed: number): number[] =>
  Array.from({ length: vocabulary }, (_, token) => Math.fround(drawFraction(seed, token) ** 4 * 12 - 4));

/** A text that repeats itself, of few words. */
const text = (seed: number, length: number): number[] =>
  Array.from({ length }, (_, i) => Math.floor(drawFraction(seed, i) * 4));

function softmax(logits: readonly number[]): Float32Array {
  const largest = Math.max(...logits);
  const weights = logits.map((logit) => Math.exp(logit - largest));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return Float32Array.from(weights, (weight) => weight / total);
}

const off: Narrowing = { topK: 0, typicalP: 1, topP: 1, minP: 0, excludesFrom: Infinity };
const seeds = Array.from({ length: 60 }, (_, seed) => seed);

describe('adjustLogits', () => {
  const penalties = { repeatPenalty: 1.3, frequencyPenalty: 0.2, presencePenalty: 0.5 };
  const likeOracle = ({ penaltyLastN }: Pick<SamplingParams, 'penaltyLastN'>): OracleSampler => ({
    kind: 'penalties',
    lastN: penaltyLastN,
    repeat: penalties.repeatPenalty,
    frequency: penalties.frequencyPenalty,
    presence: penalties.presencePenalty,
  });

  it.each([0, 1, 5, 64, 1024])('penalises as libllama does, over a window of %i tokens', (penaltyLastN) => {
    for (const seed of seeds.slice(0, 20)) {
      const recent = text(seed, 300).map((word) => word * 7);
      const logits = Float32Array.from(row(seed));
      adjustLogits(logits, { ...greedySampling, ...penalties, penaltyLastN }, Int32Array.from(recent));
      const expected = oracle.apply(row(seed), [likeOracle({ penaltyLastN })], recent);
      for (const { token, logit } of expected) expect(logits[token]).toBeCloseTo(logit, 5);
    }
  });

  it('adds a bias before all else, as libllama does', () => {
    const biases = [
      [3, 5.5],
      [7, -99.5],
      [0, 100],
      [21, -0.25],
    ] as const;
    const recent = [0, 7, 21, 0];
    const logits = Float32Array.from(row(1));
    const logitBias = {
      tokens: Int32Array.from(biases, ([token]) => token),
      values: Float32Array.from(biases, ([, bias]) => bias),
    };
    adjustLogits(logits, { ...greedySampling, ...penalties, logitBias }, Int32Array.from(recent));
    const chain: OracleSampler[] = [{ kind: 'logitBias', biases }, likeOracle({ penaltyLastN: 64 })];
    for (const { token, logit } of oracle.apply(row(1), chain, recent))
      expect(logits[token]).toBeCloseTo(logit, 4);
  });

  it('bans what has the least bias, and leaves tokens alone that there are not', () => {
    const logits = Float32Array.from(row(2));
    const logitBias = { tokens: Int32Array.of(9, vocabulary), values: Float32Array.of(-100, 5) };
    adjustLogits(logits, { ...greedySampling, logitBias }, new Int32Array(0));
    expect([...logits]).toEqual(row(2).with(9, -Infinity));
  });
});

describe('applyDry', () => {
  it.each([
    { multiplier: 0.8, base: 1.75, allowedLength: 2, lastN: 1024 },
    { multiplier: 2, base: 1.1, allowedLength: 0, lastN: 40 },
    { multiplier: 0.5, base: 1, allowedLength: 1, lastN: 7 },
    { multiplier: 3, base: 4, allowedLength: 4, lastN: 500 },
  ])('gives the very logits of libllama: %j', (dry) => {
    for (const seed of seeds) {
      const recent = text(seed, 10 * (seed + 1));
      const logits = Float32Array.from(row(seed));
      applyDry(logits, { ...dry, breakers: [] }, Int32Array.from(recent));
      const expected = row(seed);
      for (const { token, logit } of oracle.apply(row(seed), [{ kind: 'dry', ...dry }], recent))
        expected[token] = logit;
      expect([...logits]).toEqual(expected);
    }
  });

  // From tests/test-sampling.cpp of llama.cpp, whose breakers are tokens too.
  it.each([
    [[0, 1], [0.25, 0.25, 0.25, 0.25], 1, 2, 4, []],
    [[0, 1, 2, 0, 1], [0.296923, 0.296923, 0.109232, 0.296923], 1, 2, 5, []],
    [[0, 1, 3, 4, 0, 1], [0.2, 0.2, 0.2, 0.2, 0.2], 1, 2, 6, [[3]]],
    [[0, 1, 2, 0, 1], [0.241818, 0.241818, 0.032727, 0.241818, 0.241818], 2, 2, 5, []],
    [[0, 1, 2, 3, 4, 0, 1], [0.2, 0.2, 0.2, 0.2, 0.2], 1, 4, 7, []],
  ] as const)(
    'gives what the tests of llama.cpp expect: %j',
    (recent, expected, multiplier, allowedLength, lastN, breakers) => {
      const logits = Float32Array.from(expected, () => Math.log(1 / expected.length));
      const dry = { multiplier, base: 1.1, allowedLength, lastN };
      applyDry(
        logits,
        { ...dry, breakers: breakers.map((each) => Int32Array.from(each)) },
        Int32Array.from(recent),
      );
      const tempered = softmax([...logits]);
      for (const [token, share] of expected.entries()) expect(tempered[token]).toBeCloseTo(share, 5);
    },
  );

  const plain = { multiplier: 1, base: 2, allowedLength: 1, lastN: 64 };
  const penaltyOf = (recent: readonly number[], breakers: readonly (readonly number[])[]): number[] => {
    const logits = new Float32Array(10);
    const own = breakers.map((each) => Int32Array.from(each));
    applyDry(logits, { ...plain, breakers: own }, Int32Array.from(recent));
    return [...logits];
  };
  const repeated = [1, 2, 3, 4, 1, 2, 3];

  it('begins anew behind a breaker, of one token or of several', () => {
    // 4 would be the fourth token over again: 2 ** (3 - 1).
    expect(penaltyOf(repeated, [])[4]).toBe(-4);
    expect(penaltyOf(repeated, [[2]])[4]).toBe(-1);
    expect(penaltyOf(repeated, [[1, 2]])[4]).toBe(-1);
    expect(penaltyOf(repeated, [[1, 3]])[4]).toBe(-4);
    // The longer of two that begin alike counts, and the latest of all.
    expect(penaltyOf(repeated, [[1], [1, 2]])[4]).toBe(-1);
    expect(penaltyOf(repeated, [[3]])[4]).toBe(0);
  });

  it('never makes a breaker less likely', () => {
    expect(penaltyOf(repeated, [[4]])[4]).toBe(0);
    expect(penaltyOf(repeated, [[4, 5]])[4]).toBe(-4);
  });
});

describe('narrow', () => {
  /** What may be drawn, and how likely each is. */
  const ours = (logits: readonly number[], narrowing: Partial<Narrowing>): Map<number, number> => {
    const kept = narrow(softmax(logits), 0, { ...off, ...narrowing }) ?? new Float32Array(0);
    const total = kept.reduce((sum, value) => sum + value, 0);
    return new Map(
      [...kept.entries()].flatMap(([token, value]) => (value > 0 ? [[token, value / total]] : [])),
    );
  };
  const theirs = (logits: readonly number[], samplers: readonly OracleSampler[]): Map<number, number> => {
    const left = oracle.apply(logits, samplers);
    const probabilities = softmax(left.map(({ logit }) => logit));
    return new Map(left.map(({ token }, i) => [token, probabilities[i] ?? 0]));
  };

  it.each<readonly [Partial<Narrowing>, readonly OracleSampler[]]>([
    [{ typicalP: 0.2 }, [{ kind: 'typical', p: 0.2 }]],
    [{ typicalP: 0.9 }, [{ kind: 'typical', p: 0.9 }]],
    [{ excludesFrom: 0.1 }, [{ kind: 'xtc', threshold: 0.1 }]],
    [{ excludesFrom: 0.01 }, [{ kind: 'xtc', threshold: 0.01 }]],
    [
      { topP: 0.8, excludesFrom: 0.05 },
      [
        { kind: 'topP', p: 0.8 },
        { kind: 'xtc', threshold: 0.05 },
      ],
    ],
    [
      { topK: 40, typicalP: 0.7, topP: 0.9, minP: 0.05, excludesFrom: 0.05 },
      [
        { kind: 'topK', k: 40 },
        { kind: 'typical', p: 0.7 },
        { kind: 'topP', p: 0.9 },
        { kind: 'minP', p: 0.05 },
        { kind: 'xtc', threshold: 0.05 },
      ],
    ],
  ])('leaves what libllama leaves: %j', (narrowing, samplers) => {
    for (const seed of seeds) {
      const [actual, expected] = [ours(row(seed), narrowing), theirs(row(seed), samplers)];
      expect([...actual.keys()].sort((a, b) => a - b)).toEqual([...expected.keys()].sort((a, b) => a - b));
      for (const [token, share] of expected) expect(actual.get(token)).toBeCloseTo(share, 5);
    }
  });
});
