import { CpuBackend } from '@butterfly/ggml';
import { drawFraction } from '@butterfly/model';
import { type Logprobs, type StepSequence, greedySampling } from '@butterfly/wire';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { ggml, part } from '../testing/stages.js';
import { largestIndices } from './logprobs.js';
import { TokenSampler } from './token-sampler.js';

const vocabulary = 50;
const backend = new CpuBackend(ggml, 1);
const sampler = new TokenSampler(backend, vocabulary);
afterAll(() => {
  sampler[Symbol.dispose]();
  backend[Symbol.dispose]();
});

/** Logits of one row; the same for the same seed. */
const row = (seed: number): number[] =>
  Array.from({ length: vocabulary }, (_, token) => Math.fround(drawFraction(seed, token) * 40 - 20));

/** In doubles, and with nothing cut short. */
function logSoftmax(logits: readonly number[]): number[] {
  const largest = Math.max(...logits);
  const total = logits.reduce((sum, logit) => sum + Math.exp(logit - largest), 0);
  return logits.map((logit) => logit - largest - Math.log(total));
}

const sample = (sequences: readonly StepSequence[], rows: readonly (readonly number[])[]) =>
  sampler.sample(sequences, Float32Array.from(rows.flat()));

/** Holds what was told of tokens against the rows before them. */
function expectLogprobs(
  actual: Logprobs | undefined,
  tokens: readonly number[],
  rows: readonly (readonly number[])[],
  alternatives: number,
): void {
  expect(actual).toMatchObject({ alternatives });
  expect(actual?.chosen).toHaveLength(tokens.length);
  for (const [i, token] of tokens.entries()) {
    const all = logSoftmax(rows[i] ?? []);
    expect(actual?.chosen[i]).toBeCloseTo(all[token] ?? NaN, 5);
    const likeliest = all.map((_, each) => each).sort((a, b) => (all[b] ?? 0) - (all[a] ?? 0) || a - b);
    const place = i * alternatives;
    expect([...(actual?.topTokens.subarray(place, place + alternatives) ?? [])]).toEqual(
      likeliest.slice(0, alternatives),
    );
    for (const [rank, each] of likeliest.slice(0, alternatives).entries())
      expect(actual?.topValues[place + rank]).toBeCloseTo(all[each] ?? NaN, 5);
  }
}

describe('log probabilities of sampled tokens', () => {
  it.each([
    ['greedily', {}],
    ['from all', { temperature: 1 }],
    ['at another temperature', { temperature: 3 }],
    ['from few', { temperature: 2, topK: 5, topP: 0.9 }],
    ['with penalties', { temperature: 2, repeatPenalty: 1.8, presencePenalty: 3 }],
    [
      'with a bias',
      { temperature: 1, logitBias: { tokens: Int32Array.of(3, 4), values: Float32Array.of(60, -100) } },
    ],
    ['with DRY', { dry: { multiplier: 9, base: 2, allowedLength: 1, lastN: 64, breakers: [] } }],
  ])('are those of the raw logits, sampled %s', async (_, change) => {
    const sampling = { ...greedySampling, ...change };
    for (let seed = 0; seed < 20; seed++) {
      const likeliest = row(seed).indexOf(Math.max(...row(seed)));
      const recentTokens = Int32Array.of(1, likeliest, 3, 1, likeliest);
      const one = (logprobs: number | null): StepSequence =>
        part({ sampling, recentTokens, logprobs, positionStart: seed });
      const [plain] = await sample([one(null)], [row(seed)]);
      const [told, again] = await sample([one(4), one(0)], [row(seed), row(seed)]);
      // Whether it is told changes nothing of what is sampled.
      expect(plain).toEqual({ sequenceId: 1, tokens: told?.tokens });
      expectLogprobs(told?.logprobs, [...(told?.tokens ?? [])], [row(seed)], 4);
      expectLogprobs(again?.logprobs, [...(told?.tokens ?? [])], [row(seed)], 0);
    }
  });

  it('come for each guess that was confirmed, and the token behind', async () => {
    const rows = Array.from({ length: 5 }, (_, i) => row(30 + i));
    const best = rows.map((logits) => logits.indexOf(Math.max(...logits)));
    for (let right = 0; right <= 4; right++) {
      const draftTokens = Int32Array.from(best.slice(0, 4), (token, i) =>
        i < right ? token : (token + 1) % 50,
      );
      const guessing = part({ rows: 5, logitRows: 5, sampling: greedySampling, draftTokens, logprobs: 2 });
      const [output] = await sample([guessing], rows);
      expect([...(output?.tokens ?? [])]).toEqual(best.slice(0, right + 1));
      expectLogprobs(output?.logprobs, best.slice(0, right + 1), rows, 2);
    }
  });

  it('say how unlikely a token is whose probability is too small for a float', async () => {
    const logits = new Array<number>(vocabulary).fill(-400).with(7, 0).with(9, -Infinity);
    const scored = { tokens: Int32Array.of(8, 9), alternatives: 1 };
    const [output] = await sample([part({ rows: 2, logitRows: 2, scored })], [logits, logits]);
    expect([...(output?.scored?.chosen ?? [])]).toEqual([-400, -Infinity]);
    expect([...(output?.scored?.topValues ?? [])]).toEqual([0, 0]);
  });

  it('tell of all tokens where there are fewer than asked for', async () => {
    using small = new TokenSampler(backend, 4);
    const sequence = part({ sampling: greedySampling, logprobs: 20 });
    const [output] = await small.sample([sequence], Float32Array.of(1, 3, 1, 2));
    expect([...(output?.logprobs?.topTokens ?? [])]).toEqual([1, 3, 0, 2]);
  });
});

describe('scores', () => {
  it('come of the rows before the scored tokens, with the token behind the prompt and without', async () => {
    // More than are computed at once.
    const count = 37;
    const rows = Array.from({ length: count + 3 }, (_, i) => row(60 + i));
    const tokens = Int32Array.from({ length: count }, (_, i) => (i * 7) % vocabulary);
    const whole = part({
      rows: count + 1,
      logitRows: count + 1,
      sampling: greedySampling,
      scored: { tokens, alternatives: 3 },
      logprobs: 1,
    });
    const inMidst = part({
      sequenceId: 2,
      rows: 9,
      logitRows: 1,
      scored: { tokens: Int32Array.of(5), alternatives: 0 },
    });
    const other = part({ sequenceId: 3, sampling: greedySampling });
    const [first, second, third] = await sample([whole, inMidst, other], rows);
    expectLogprobs(first?.scored, [...tokens], rows, 3);
    expectLogprobs(first?.logprobs, [...(first?.tokens ?? [])], rows.slice(count), 1);
    expect(second?.tokens).toHaveLength(0);
    expectLogprobs(second?.scored, [5], rows.slice(count + 1), 0);
    const best = row(60 + count + 2);
    expect(third).toEqual({ sequenceId: 3, tokens: Int32Array.of(best.indexOf(Math.max(...best))) });
  });

  it('do not come of logits that are no numbers: the sequence has failed', async () => {
    const rows = [row(1), row(2).fill(NaN), row(3)];
    const scored = { tokens: Int32Array.of(1, 2), alternatives: 2 };
    const failed = { sequenceId: 1, tokens: new Int32Array(0) };
    expect(await sample([part({ rows: 2, logitRows: 2, scored })], rows)).toEqual([failed]);
    const sampled = part({ rows: 3, logitRows: 3, scored, sampling: greedySampling });
    expect(await sample([sampled], rows)).toEqual([failed]);
    expect(await sample([sampled], [row(1), row(2), row(3).fill(NaN)])).toEqual([failed]);
    const faults = { rows: new Map(), logitRows: new Set([1]) };
    const sound = Float32Array.from([row(1), row(2), row(3)].flat());
    expect(await sampler.sample([sampled], sound, faults)).toEqual([failed]);
  });
});

describe('XTC', () => {
  it('draws from a stream of its own, as often as asked for, and takes what is left greedily too', async () => {
    const logits = new Array<number>(vocabulary).fill(-9).with(4, 2).with(5, 1.9).with(6, 1.8);
    const positions = Array.from({ length: 2000 }, (_, positionStart) => positionStart);
    for (const temperature of [0, 0.001]) {
      const sampling = { ...greedySampling, temperature, xtcProbability: 0.3, seed: 11 };
      const outputs = await sample(
        positions.map((positionStart) => part({ positionStart, sampling })),
        positions.map(() => logits),
      );
      const tokens = outputs.map((output) => output.tokens[0]);
      const excluded = tokens.filter((token) => token === 6).length;
      expect(tokens.filter((token) => token === 4)).toHaveLength(2000 - excluded);
      expect(Math.abs(excluded - 600)).toBeLessThan(100);
    }
  });
});

describe('largestIndices', () => {
  it('finds the largest, in order, and of equal ones the first', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(12), { maxLength: 60 }), fc.nat(20), (values, count) => {
        const expected = values
          .map((_, index) => index)
          .sort((a, b) => (values[b] ?? 0) - (values[a] ?? 0) || a - b);
        expect([...largestIndices(Float32Array.from(values), count)]).toEqual(expected.slice(0, count));
      }),
    );
  });
});
