import { greedySampling, type SamplingParams, type StepSequence } from '@butterfly/common';
import { CpuBackend } from '@butterfly/ggml';
import { drawFraction } from '@butterfly/model';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ggml, part } from './testing.js';
import { TokenSampler } from './token-sampler.js';

const vocabulary = 50;
const backend = new CpuBackend(ggml, 1);
let sampler: TokenSampler;
beforeAll(() => {
  sampler = new TokenSampler(ggml, backend, vocabulary);
});
afterAll(() => {
  sampler[Symbol.dispose]();
  backend[Symbol.dispose]();
});

const plain: SamplingParams = { ...greedySampling, temperature: 1, seed: 42 };

/** Logits of one row; the same for the same seed. */
const row = (seed: number): number[] =>
  Array.from({ length: vocabulary }, (_, token) => drawFraction(seed, token) * 6 - 3);
const largest = (logits: readonly number[]): number => logits.indexOf(Math.max(...logits));

/** The tokens of each sequence that samples. */
function sample(
  sequences: readonly StepSequence[],
  rows: readonly (readonly number[])[],
  by = sampler,
): number[][] {
  const logits = Float32Array.from(rows.flat());
  const greedy = Int32Array.from(rows.map(largest));
  return by.sample(sequences, { logits, greedy }).map(({ tokens }) => [...tokens]);
}

const one = (sampling: Partial<SamplingParams>, change: Partial<StepSequence> = {}): StepSequence =>
  part({ sampling: { ...plain, ...sampling }, ...change });

/** The token at a position of a sequence with these parameters. */
function drawn(
  sampling: Partial<SamplingParams>,
  position: number,
  logits: readonly number[],
  by = sampler,
): number {
  return sample([one(sampling, { positionStart: position })], [logits], by)[0]?.[0] ?? -1;
}

describe('TokenSampler', () => {
  it('takes the largest logit when greedy, whatever else is asked for', () => {
    for (let seed = 0; seed < 20; seed++) {
      const greedy = { temperature: 0, topK: 3, topP: 0.5, minP: 0.2, seed };
      expect(drawn(greedy, 7, row(seed))).toBe(largest(row(seed)));
      // A penalty that changes nothing here goes through the chain all the same.
      expect(drawn({ ...greedy, presencePenalty: 1 }, 7, row(seed))).toBe(largest(row(seed)));
    }
  });

  it('draws by seed and position alone', () => {
    const draws = (seed: number, by = sampler): number[] =>
      Array.from({ length: 200 }, (_, position) => drawn({ seed }, position, row(1), by));
    const first = draws(42);
    expect(new Set(first).size).toBeGreaterThan(10);
    using other = new TokenSampler(ggml, backend, vocabulary);
    expect(draws(42, other)).toEqual(first);
    const backwards = Array.from({ length: 200 }, (_, i) => drawn({}, 199 - i, row(1), other));
    expect(backwards.reverse()).toEqual(first);
    expect(draws(43)).not.toEqual(first);
  });

  it('draws each token as often as its probability says', () => {
    const logits = row(5);
    const weights = logits.map(Math.exp);
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    const counts = logits.map(() => 0);
    const draws = 20_000;
    for (let position = 0; position < draws; position++) {
      const token = drawn({ seed: 9 }, position, logits);
      counts[token] = (counts[token] ?? 0) + 1;
    }
    const chiSquare = counts.reduce((sum, count, token) => {
      const expected = (draws * (weights[token] ?? 0)) / total;
      return sum + (count - expected) ** 2 / expected;
    }, 0);
    // 49 degrees of freedom: a fair draw is above this once in ten thousand seeds.
    expect(chiSquare).toBeLessThan(94);
  });

  it('takes the rows of each sequence in turn, at the positions of those rows', () => {
    const rows = [1, 2, 3, 4].map(row);
    const sequences = [
      one({ seed: 1 }, { sequenceId: 1, positionStart: 10, rows: 5, logitRows: 2 }),
      part({ sequenceId: 2, rows: 3, logitRows: 0 }),
      part({ sequenceId: 3, logitRows: 1 }),
      one({ seed: 2 }, { sequenceId: 4, positionStart: 30 }),
    ];
    expect(sample(sequences, rows)).toEqual([
      [drawn({ seed: 1 }, 13, row(1)), drawn({ seed: 1 }, 14, row(2))],
      [drawn({ seed: 2 }, 30, row(4))],
    ]);
    const logits = Float32Array.from(rows.flat());
    const outputs = sampler.sample(sequences, { logits, greedy: Int32Array.from(rows.map(largest)) });
    expect(outputs.map(({ sequenceId }) => sequenceId)).toEqual([1, 4]);
  });

  it('gives nothing in the midst of prompts', () => {
    const step = [one({}, { rows: 4, logitRows: 0 })];
    const outputs = sampler.sample(step, { logits: null, greedy: null });
    expect(outputs.every(({ tokens }) => tokens.length === 0)).toBe(true);
  });

  it.each(['repeatPenalty', 'frequencyPenalty', 'presencePenalty'] as const)(
    'punishes recent tokens: %s',
    (penalty) => {
      const logits = row(3).map((logit) => logit + 10);
      const best = largest(logits);
      const step = (recentTokens: number[]): number =>
        sample(
          [one({ temperature: 0, [penalty]: 100 }, { recentTokens: Int32Array.from(recentTokens) })],
          [logits],
        )[0]?.[0] ?? -1;
      expect(step([])).toBe(best);
      const second = step([best]);
      expect(second).toBe(largest(logits.map((logit, token) => (token === best ? -Infinity : logit))));
      expect([best, second]).not.toContain(step([best, second]));
      // Nothing is remembered of the sequences before.
      expect(step([])).toBe(best);
    },
  );

  it('narrows by top-k, top-p and min-p before it draws', () => {
    const logits = row(8);
    const ordered = logits.map((_, token) => token).sort((a, b) => (logits[b] ?? 0) - (logits[a] ?? 0));
    const seen = (sampling: Partial<SamplingParams>): Set<number> =>
      new Set(Array.from({ length: 300 }, (_, position) => drawn(sampling, position, logits)));
    expect(seen({ topK: 1 })).toEqual(new Set(ordered.slice(0, 1)));
    expect(seen({ topK: 4 })).toEqual(new Set(ordered.slice(0, 4)));
    expect(seen({ topP: 1e-6 })).toEqual(new Set(ordered.slice(0, 1)));
    const near = ordered.filter((token) => (logits[token] ?? 0) >= Math.max(...logits) + Math.log(0.5));
    expect(seen({ minP: 0.5 })).toEqual(new Set(near));
  });

  it('serves more kinds of requests than it keeps chains for', () => {
    const all = (): number[] =>
      Array.from({ length: 100 }, (_, i) => drawn({ temperature: 0.5 + i / 100 }, i, row(2)));
    expect(all()).toEqual(all());
  });
});
