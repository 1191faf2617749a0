import { limits } from '@butterfly/common';
import { CpuBackend } from '@butterfly/ggml';
import { drawFraction } from '@butterfly/model';
import { type SamplingParams, type StepSequence, greedySampling } from '@butterfly/wire';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ggml, part } from '../testing/stages.js';
import { TokenSampler } from './token-sampler.js';

const vocabulary = 50;
const backend = new CpuBackend(ggml, 1);
let sampler: TokenSampler;
beforeAll(() => {
  sampler = new TokenSampler(backend, vocabulary);
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
async function sample(
  sequences: readonly StepSequence[],
  rows: readonly (readonly number[])[],
  by = sampler,
): Promise<number[][]> {
  const outputs = await by.sample(sequences, Float32Array.from(rows.flat()));
  return outputs.map(({ tokens }) => [...tokens]);
}

const one = (sampling: Partial<SamplingParams>, change: Partial<StepSequence> = {}): StepSequence =>
  part({ sampling: { ...plain, ...sampling }, ...change });

/** The token at each position of a sequence with these parameters, by the same logits. */
async function draws(
  sampling: Partial<SamplingParams>,
  positions: readonly number[],
  logits: readonly number[],
  by = sampler,
): Promise<number[]> {
  const tokens: number[] = [];
  const batch = 100;
  for (let start = 0; start < positions.length; start += batch) {
    const some = positions.slice(start, start + batch);
    const sequences = some.map((positionStart) => one(sampling, { positionStart }));
    tokens.push(
      ...(
        await sample(
          sequences,
          some.map(() => logits),
          by,
        )
      ).flat(),
    );
  }
  return tokens;
}

const drawn = async (
  sampling: Partial<SamplingParams>,
  position: number,
  logits: readonly number[],
): Promise<number> => (await draws(sampling, [position], logits))[0] ?? -1;

const upTo = (count: number): number[] => Array.from({ length: count }, (_, i) => i);

describe('TokenSampler', () => {
  it('takes the largest logit when greedy, whatever else is asked for', async () => {
    for (let seed = 0; seed < 20; seed++) {
      const greedy = { temperature: 0, topK: 3, topP: 0.5, minP: 0.2, seed };
      expect(await drawn(greedy, 7, row(seed))).toBe(largest(row(seed)));
      expect(await drawn({ ...greedy, presencePenalty: 1 }, 7, row(seed))).toBe(largest(row(seed)));
    }
  });

  it('draws by seed and position alone', async () => {
    const first = await draws({}, upTo(200), row(1));
    expect(new Set(first).size).toBeGreaterThan(10);
    using other = new TokenSampler(backend, vocabulary);
    expect(await draws({}, upTo(200), row(1), other)).toEqual(first);
    const backwards = await draws({}, upTo(200).reverse(), row(1), other);
    expect(backwards.reverse()).toEqual(first);
    expect(await draws({ seed: 43 }, upTo(200), row(1))).not.toEqual(first);
    // Nor does it matter what else is in the batch.
    expect(await drawn({}, 150, row(1))).toBe(first[150]);
  });

  it.each([0.5, 1, 1.7])(
    'draws each token as often as its probability says at temperature %d',
    async (temperature) => {
      const logits = row(5);
      const weights = logits.map((logit) => Math.exp(logit / temperature));
      const total = weights.reduce((sum, weight) => sum + weight, 0);
      const counts = logits.map(() => 0);
      const count = 20_000;
      for (const token of await draws({ seed: 9, temperature }, upTo(count), logits))
        counts[token] = (counts[token] ?? 0) + 1;
      const chiSquare = counts.reduce((sum, actual, token) => {
        const expected = (count * (weights[token] ?? 0)) / total;
        return sum + (actual - expected) ** 2 / expected;
      }, 0);
      // 49 degrees of freedom: a fair draw is above this once in ten thousand seeds.
      expect(chiSquare).toBeLessThan(94);
    },
  );

  it('takes the last row of each sequence in turn, at the position of that row', async () => {
    const rows = [1, 2, 3, 4].map(row);
    const sequences = [
      one({ seed: 1 }, { sequenceId: 1, positionStart: 10, rows: 5, logitRows: 2 }),
      part({ sequenceId: 2, rows: 3, logitRows: 0 }),
      part({ sequenceId: 3, logitRows: 1 }),
      one({ seed: 2 }, { sequenceId: 4, positionStart: 30 }),
    ];
    expect(await sample(sequences, rows)).toEqual([
      [await drawn({ seed: 1 }, 14, row(2))],
      [await drawn({ seed: 2 }, 30, row(4))],
    ]);
    const outputs = await sampler.sample(sequences, Float32Array.from(rows.flat()));
    expect(outputs.map(({ sequenceId }) => sequenceId)).toEqual([1, 4]);
  });

  it('gives nothing in the midst of prompts', async () => {
    expect(await sampler.sample([part({ rows: 4, logitRows: 0 })], null)).toEqual([]);
  });

  it.each(['repeatPenalty', 'frequencyPenalty', 'presencePenalty'] as const)(
    'punishes recent tokens: %s',
    async (penalty) => {
      const logits = row(3).map((logit) => logit + 10);
      const best = largest(logits);
      const step = async (recentTokens: number[]): Promise<number> => {
        const sequence = { recentTokens: Int32Array.from(recentTokens) };
        return (await sample([one({ temperature: 0, [penalty]: 100 }, sequence)], [logits]))[0]?.[0] ?? -1;
      };
      expect(await step([])).toBe(best);
      const second = await step([best]);
      expect(second).toBe(largest(logits.map((logit, token) => (token === best ? -Infinity : logit))));
      expect([best, second]).not.toContain(await step([best, second]));
      // Nothing is remembered of the sequences before.
      expect(await step([])).toBe(best);
      // Only so many tokens are looked at.
      const others = Array.from({ length: limits.recentTokensMax }, (_, i) => (best + 1 + i) % vocabulary);
      expect(await step([best, ...others.filter((token) => token !== best), second, second])).toBe(best);
    },
  );

  it('punishes as the formulas of llama.cpp do', async () => {
    const logits = row(4);
    const recent = [3, 5, 3, 3, 7];
    const penalties = { repeatPenalty: 1.3, frequencyPenalty: 0.2, presencePenalty: 0.5 };
    const punished = logits.map((logit, token) => {
      const count = recent.filter((other) => other === token).length;
      if (count === 0) return logit;
      return (logit <= 0 ? logit * 1.3 : logit / 1.3) - count * 0.2 - 0.5;
    });
    const recentTokens = Int32Array.from(recent);
    for (const position of upTo(50)) {
      const sequence = one(penalties, { positionStart: position, recentTokens });
      expect(await sample([sequence], [logits])).toEqual([[await drawn({}, position, punished)]]);
    }
  });

  it('narrows by top-k, top-p and min-p before it draws', async () => {
    const logits = row(8);
    const ordered = logits.map((_, token) => token).sort((a, b) => (logits[b] ?? 0) - (logits[a] ?? 0));
    const seen = async (sampling: Partial<SamplingParams>): Promise<Set<number>> =>
      new Set(await draws(sampling, upTo(300), logits));
    expect(await seen({ topK: 1 })).toEqual(new Set(ordered.slice(0, 1)));
    expect(await seen({ topK: 4 })).toEqual(new Set(ordered.slice(0, 4)));
    expect(await seen({ topP: 1e-6 })).toEqual(new Set(ordered.slice(0, 1)));
    const near = ordered.filter((token) => (logits[token] ?? 0) >= Math.max(...logits) + Math.log(0.5));
    expect(await seen({ minP: 0.5 })).toEqual(new Set(near));
  });
});

describe('guesses', () => {
  const kinds: readonly (readonly [string, Partial<SamplingParams>])[] = [
    ['greedy', { temperature: 0 }],
    ['drawn', { temperature: 1 }],
    ['drawn with penalties', { temperature: 0.8, repeatPenalty: 1.5, presencePenalty: 3 }],
  ];

  it.each(kinds)('are taken as far as they are what is sampled: %s', async (_, sampling) => {
    const count = 5;
    const logits = upTo(count + 1).map((i) => row(20 + i));
    const known = [1, 2, 3];
    // One by one, each with all tokens before it.
    const expected: number[] = [];
    for (const [i, values] of logits.entries()) {
      const recentTokens = Int32Array.of(...known, ...expected);
      const [tokens] = await sample([one(sampling, { positionStart: 8 + i, recentTokens })], [values]);
      expected.push(tokens?.[0] ?? -1);
    }
    for (let right = 0; right <= count; right++) {
      const draftTokens = Int32Array.from(
        expected.slice(0, count).map((token, i) => (i < right ? token : (token + 1) % vocabulary)),
      );
      const guessing = one(sampling, {
        positionStart: 8,
        rows: count + 1,
        logitRows: count + 1,
        draftTokens,
        recentTokens: Int32Array.from(known),
      });
      const before = one({ seed: 5 }, { sequenceId: 2 });
      const [first, line] = await sample([before, guessing], [row(1), ...logits]);
      expect(first).toEqual([await drawn({ seed: 5 }, 0, row(1))]);
      expect(line).toEqual(expected.slice(0, right + 1));
    }
  });

  it.each([
    ['greedily', { temperature: 0 }],
    ['greedily with penalties', { temperature: 0, repeatPenalty: 1.3, frequencyPenalty: 0.2 }],
    ['from all', {}],
    ['at another temperature', { temperature: 0.6 }],
    ['from the likeliest', { topK: 5, topP: 0.9, minP: 0.1 }],
  ])('says nothing of logits that are no numbers, sampled %s', async (_, sampling) => {
    for (const odd of [NaN, Infinity])
      for (let token = 0; token < vocabulary; token++) {
        const sequences = [1, 2, 3].map((sequenceId) => one(sampling, { sequenceId }));
        const rows = [row(1), row(2).with(token, odd), row(3)];
        const [before, faulty, behind] = await sample(sequences, rows);
        expect(faulty).toEqual([]);
        expect([before, behind]).toEqual([
          await sample([one(sampling)], [row(1)]).then(([tokens]) => tokens),
          await sample([one(sampling)], [row(3)]).then(([tokens]) => tokens),
        ]);
      }
    expect(await sample([one(sampling)], [row(1).fill(-Infinity)])).toEqual([[]]);
    // One that is ruled out is in order.
    expect(await sample([one(sampling)], [row(1).fill(-Infinity).with(7, 1)])).toEqual([[7]]);
  });

  it('ends a line of guesses before what cannot be said', async () => {
    const rows = [1, 2, 3].map(row);
    const guesses = rows.slice(0, 2).map(largest);
    const guessing = one(
      { temperature: 0 },
      { rows: 3, logitRows: 3, draftTokens: Int32Array.from(guesses) },
    );
    const broken = (index: number) => rows.with(index, row(9).fill(NaN));
    expect(await sample([guessing], rows)).toEqual([[...guesses, largest(row(3))]]);
    expect(await sample([guessing], broken(2))).toEqual([guesses]);
    expect(await sample([guessing], broken(1))).toEqual([guesses.slice(0, 1)]);
    expect(await sample([guessing], broken(0))).toEqual([[]]);
  });
});
