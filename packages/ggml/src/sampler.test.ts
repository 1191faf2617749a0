import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Candidates, SamplerChain, type ChainParams } from './sampler.js';
import { backend, computeInvalid, ggml, numbers } from './testing.js';

const invalid = expect.objectContaining(computeInvalid) as Error;
const neutral: ChainParams = { penalties: null, topK: 0, topP: 1, minP: 0, temperature: 1 };
const none = new Int32Array(0);

function softmax(logits: readonly number[]): number[] {
  const largest = Math.max(...logits);
  const weights = logits.map((logit) => Math.exp(logit - largest));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return weights.map((weight) => weight / total);
}

const ordinaryDraws = 4000;

/** How often each token is drawn, when the fractions are spread evenly over [0, 1). */
function shares(
  logits: readonly number[],
  change: Partial<ChainParams> = {},
  options: { readonly recent?: readonly number[]; readonly recentMax?: number; readonly draws?: number } = {},
): number[] {
  using candidates = new Candidates(backend, logits.length);
  using chain = new SamplerChain(ggml, { ...neutral, ...change }, logits.length, options.recentMax ?? 64);
  const { draws = ordinaryDraws } = options;
  candidates.fill(Float32Array.from(logits));
  chain.apply(candidates, Int32Array.from(options.recent ?? []));
  const counts = logits.map(() => 0);
  for (let draw = 0; draw < draws; draw++) {
    const token = candidates.draw((draw + 0.5) / draws);
    counts[token] = (counts[token] ?? 0) + 1 / draws;
  }
  return counts;
}

/** Evenly spread fractions are off by one draw at each edge of a token. */
function expectShares(actual: readonly number[], expected: readonly number[], draws = ordinaryDraws): void {
  expect(actual).toHaveLength(expected.length);
  for (const [token, share] of actual.entries())
    expect(Math.abs(share - (expected[token] ?? NaN))).toBeLessThan(2 / draws);
}

/** The softmax over only these tokens. */
function over(logits: readonly number[], tokens: readonly number[]): number[] {
  return softmax(logits.map((logit, token) => (tokens.includes(token) ? logit : -Infinity)));
}

const logits = [1, 4, -2, 3.5, 0, 2, 3, -8];

describe('draw', () => {
  it('follows the softmax, whatever the logits', () => {
    const anyLogits = fc.array(fc.double({ min: -20, max: 20, noNaN: true }), {
      minLength: 1,
      maxLength: 40,
    });
    fc.assert(
      fc.property(anyLogits, (values) => {
        const rounded = values.map(Math.fround);
        expectShares(shares(rounded), softmax(rounded));
      }),
      { numRuns: 50 },
    );
  });

  it('never draws what cannot be drawn, even at the very end', () => {
    const last = 1 - 2 ** -53;
    // The sum of these, taken away again one by one, leaves a rest.
    const values = [4.99613618850708, 2.1377980709075928, 5.248217582702637, -Infinity];
    using candidates = new Candidates(backend, values.length);
    candidates.fill(Float32Array.from(values));
    expect(candidates.draw(last)).toBe(2);
    expect(candidates.draw(0)).toBe(0);
    for (let seed = 1; seed <= 500; seed++) {
      candidates.fill(Float32Array.of(-Infinity, ...numbers(2, seed).map((x) => x * 6), -Infinity));
      expect([1, 2]).toContain(candidates.draw(last));
      expect([1, 2]).toContain(candidates.draw(0));
    }
  });

  it('refuses logits of another vocabulary', () => {
    using candidates = new Candidates(backend, 8);
    expect(() => candidates.fill(new Float32Array(7))).toThrow(invalid);
  });
});

describe('SamplerChain', () => {
  it('changes nothing at neutral values', () => {
    expectShares(shares(logits), softmax(logits));
  });

  it.each([0.25, 0.7, 1.5, 3])('divides by a temperature of %d', (temperature) => {
    expectShares(shares(logits, { temperature }), softmax(logits.map((logit) => logit / temperature)));
  });

  it('leaves the largest at temperature 0, the first of equals', () => {
    expect(shares([1, 4, 4, 0], { temperature: 0 })).toEqual([0, expect.closeTo(1, 6), 0, 0]);
  });

  it.each([
    [1, [1]],
    [2, [1, 3]],
    [3, [1, 3, 6]],
    [8, [0, 1, 2, 3, 4, 5, 6, 7]],
    [100, [0, 1, 2, 3, 4, 5, 6, 7]],
  ])('keeps the top %i', (topK, kept) => {
    expectShares(shares(logits, { topK }), over(logits, kept));
  });

  it.each([0.1, 0.5, 0.8, 0.95, 0.999])('keeps the fewest tokens that reach a probability of %d', (topP) => {
    const probabilities = softmax(logits);
    const ordered = probabilities
      .map((_, token) => token)
      .sort((a, b) => (logits[b] ?? 0) - (logits[a] ?? 0));
    const kept: number[] = [];
    for (let total = 0; total < topP;) {
      const token = ordered[kept.length] ?? 0;
      kept.push(token);
      total += probabilities[token] ?? 0;
    }
    expectShares(shares(logits, { topP }), over(logits, kept));
  });

  it.each([0.01, 0.1, 0.3, 0.9])('keeps what has at least %d of the largest probability', (minP) => {
    const kept = logits.flatMap((logit, token) => (Math.exp(logit - 4) >= minP ? [token] : []));
    expectShares(shares(logits, { minP }), over(logits, kept));
  });

  it('punishes recent tokens by presence and by frequency', () => {
    const recent = [3, 1, 3, 3];
    const penalties = { repeat: 1, frequency: 0.5, presence: 0.25 };
    const punished = logits.map((logit, token) => {
      const count = recent.filter((other) => other === token).length;
      return logit - count * 0.5 - (count > 0 ? 0.25 : 0);
    });
    expectShares(shares(logits, { penalties }, { recent }), softmax(punished));
  });

  it('punishes repetition towards zero from above and away from it from below', () => {
    const penalties = { repeat: 2, frequency: 0, presence: 0 };
    const punished = logits.map((logit, token) =>
      token === 1 ? logit / 2 : token === 2 ? logit * 2 : logit,
    );
    expectShares(shares(logits, { penalties }, { recent: [1, 2] }), softmax(punished));
  });

  it('looks at the last tokens only', () => {
    const penalties = { repeat: 1, frequency: 0, presence: 5 };
    const punished = logits.map((logit, token) => (token === 6 || token === 5 ? logit - 5 : logit));
    expectShares(shares(logits, { penalties }, { recent: [1, 3, 5, 6], recentMax: 2 }), softmax(punished));
  });

  it('keeps nothing from one use to the next', () => {
    using candidates = new Candidates(backend, logits.length);
    const params = { ...neutral, topK: 3, penalties: { repeat: 1, frequency: 0, presence: 100 } };
    using chain = new SamplerChain(ggml, params, logits.length, 64);
    const drawn = (recent: Int32Array): number[] => {
      candidates.fill(Float32Array.from(logits));
      chain.apply(candidates, recent);
      return [0.1, 0.5, 0.9].map((fraction) => candidates.draw(fraction));
    };
    const first = drawn(none);
    expect(new Set(drawn(Int32Array.of(1)))).not.toContain(1);
    expect(drawn(none)).toEqual(first);
  });

  it('draws from a vocabulary so large that samplers sort it elsewhere', () => {
    const size = 50_000;
    const many = [...numbers(size)].map((value) => value * 10);
    const best = many.map((_, token) => token).sort((a, b) => (many[b] ?? 0) - (many[a] ?? 0));
    for (const topK of [1, 40, 300]) expectShares(shares(many, { topK }), over(many, best.slice(0, topK)));
    const probabilities = softmax(many);
    let total = 0;
    const nucleus = best.slice(0, best.findIndex((token) => (total += probabilities[token] ?? 0) >= 0.5) + 1);
    expectShares(shares(many, { topP: 0.5 }, { draws: 400 }), over(many, nucleus), 400);
  });
});

it('refuses all use after it is disposed, which may be done twice', () => {
  const candidates = new Candidates(backend, 4);
  const chain = new SamplerChain(ggml, neutral, 4, 1);
  candidates.fill(new Float32Array(4));
  candidates[Symbol.dispose]();
  candidates[Symbol.dispose]();
  const uses = [
    () => candidates.fill(new Float32Array(4)),
    () => candidates.draw(0),
    () => candidates.pointer,
    () => chain.apply(candidates, none),
  ];
  for (const use of uses) expect(use).toThrow(invalid);
  chain[Symbol.dispose]();
  chain[Symbol.dispose]();
  using others = new Candidates(backend, 4);
  expect(() => chain.apply(others, none)).toThrow(invalid);
});
