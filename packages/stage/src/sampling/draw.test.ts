import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { largestIndex, noToken } from './blocks.js';
import { drawToken } from './draw.js';
import { isNarrowing } from './narrow.js';

type Sampling = Parameters<typeof drawToken>[1];
const plain: Sampling = { temperature: 1, topK: 0, typicalP: 1, topP: 1, minP: 0, excludesFrom: Infinity };

function normalised(weights: readonly number[]): number[] {
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return weights.map((weight) => weight / total);
}

/** What is left of probabilities, by sorting. */
function narrowed(probabilities: readonly number[], sampling: Sampling): number[] {
  const { topK, topP, minP, temperature } = sampling;
  if (!isNarrowing(sampling)) return [...probabilities];
  const ordered = probabilities
    .map((probability, token) => ({ probability, token }))
    .sort((a, b) => b.probability - a.probability || a.token - b.token);
  let kept = topK > 0 ? ordered.slice(0, topK) : ordered;
  if (topP < 1) {
    const goal = topP * kept.reduce((sum, { probability }) => sum + probability, 0);
    let sum = 0;
    kept = kept.filter(({ probability }, i) => (i === 0 || sum < goal) && (sum += probability) > 0);
  }
  const largest = kept[0]?.probability ?? 0;
  kept = kept.filter(({ probability }) => probability >= Math.fround(minP * largest) * (1 - 1e-6));
  const weights = probabilities.map(() => 0);
  for (const { probability, token } of kept) weights[token] = (probability / largest) ** (1 / temperature);
  return normalised(weights);
}

/** How often each is drawn, when the fractions are spread evenly over [0, 1): off by one draw at each edge at most. */
function shares(probabilities: Float32Array, sampling: Partial<Sampling>, draws: number): number[] {
  const counts = [...probabilities].map(() => 0);
  for (let draw = 0; draw < draws; draw++) {
    const token = drawToken(probabilities, { ...plain, ...sampling }, (draw + 0.5) / draws);
    counts[token] = (counts[token] ?? 0) + 1 / draws;
  }
  return counts;
}

function expectShares(probabilities: Float32Array, sampling: Partial<Sampling>, draws: number): void {
  const actual = shares(probabilities, sampling, draws);
  const expected = narrowed([...probabilities], { ...plain, ...sampling });
  for (const [token, share] of actual.entries())
    if (Math.abs(share - (expected[token] ?? NaN)) > 2 / draws)
      expect({ token, share }).toEqual({ token, share: expected[token] });
}

/** Multiples of 1/1024, so that all sums are exact and equal ones are frequent. */
const anyProbabilities = fc
  .array(fc.nat(20), { minLength: 1, maxLength: 60 })
  .filter((parts) => parts.some((part) => part > 0))
  .map((parts) => {
    const weights = parts.map((part) => part * part);
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    const floors = weights.map((weight) => Math.floor((weight * 1024) / total));
    const rest = 1024 - floors.reduce((sum, floor) => sum + floor, 0);
    const largest = floors.indexOf(Math.max(...floors));
    return Float32Array.from(floors, (floor, i) => (floor + (i === largest ? rest : 0)) / 1024);
  });

/** A smooth distribution over many tokens, none of them likely, each token's place in it mixed up. */
function flat(size: number, slope: number): Float32Array {
  const weights = Array.from({ length: size }, (_, i) => Math.exp((-slope * ((i * 7919) % size)) / size));
  return Float32Array.from(normalised(weights));
}

describe('drawToken', () => {
  it('draws each token as often as its probability says', () => {
    fc.assert(fc.property(anyProbabilities, (probabilities) => expectShares(probabilities, {}, 400)));
  });

  it('narrows as sorting does', () => {
    const anySampling = fc.record({
      topK: fc.constantFrom(0, 1, 2, 5, 30, 1000),
      topP: fc.constantFrom(1, 0.001, 0.3, 0.5, 0.751, 0.95, 0.999),
      minP: fc.constantFrom(0, 0.01, 0.1, 0.31, 1),
      temperature: fc.constantFrom(1, 0.5, 1.5),
    });
    fc.assert(
      fc.property(anyProbabilities, anySampling, (probabilities, sampling) =>
        expectShares(probabilities, sampling, 400),
      ),
    );
  });

  it.each<Partial<Sampling>>([
    {},
    { topK: 1 },
    { topK: 300 },
    { topK: 15_000 },
    { topP: 0.001 },
    { topP: 0.5 },
    { topP: 0.95 },
    { minP: 0.9 },
    { minP: 0.05 },
    { topK: 10_000, topP: 0.5, minP: 0.2 },
  ])('narrows large vocabularies, whether few or many are likely: %j', (sampling) => {
    for (const slope of [0, 10, 200]) expectShares(flat(20_000, slope), sampling, 100);
  });

  it('never draws what cannot be drawn, even at the very ends', () => {
    const last = 1 - 2 ** -53;
    const anyTail = fc.tuple(anyProbabilities, fc.nat(20), fc.constantFrom(0, 3, 50));
    fc.assert(
      fc.property(anyTail, ([some, zeros, topK]) => {
        // Sums that do not quite reach 1.
        const probabilities = Float32Array.from([
          ...Array<number>(zeros).fill(0),
          ...[...some].map((value) => value * (1 - 1e-6)),
          ...Array<number>(zeros).fill(0),
        ]);
        for (const fraction of [0, last])
          expect(probabilities[drawToken(probabilities, { ...plain, topK }, fraction)]).toBeGreaterThan(0);
      }),
    );
  });

  it('stays with the likeliest at the lowest temperatures, and gives some token where there are no numbers', () => {
    const probabilities = Float32Array.of(0.1, 0.2, 0.4, 0.3);
    for (const temperature of [1e-3, 1e-12, Number.MIN_VALUE])
      expect(drawToken(probabilities, { ...plain, topK: 3, temperature }, 0.99)).toBe(2);
    const broken = new Float32Array(20).fill(NaN);
    for (const sampling of [plain, { ...plain, topK: 5 }, { ...plain, topP: 0.5 }, { ...plain, minP: 0.1 }])
      expect(drawToken(broken, sampling, 0.5)).toBe(0);
  });
});

describe('largestIndex', () => {
  it('finds the first of the largest, and none where a value is NaN or the largest is infinite', () => {
    const anyValues = fc.array(fc.constantFrom(-Infinity, -3.5, -1, 0, 2, 7.25), { maxLength: 50 });
    const odd = fc.option(fc.record({ at: fc.nat(49), value: fc.constantFrom(NaN, Infinity) }));
    fc.assert(
      fc.property(anyValues, odd, (plainValues, change) => {
        const values = plainValues.map((value, i) => (i === change?.at ? change.value : value));
        const largest = Math.max(...values);
        const expected = Number.isFinite(largest) ? values.indexOf(largest) : noToken;
        expect(largestIndex(Float32Array.from(values))).toBe(expected);
      }),
    );
  });
});
