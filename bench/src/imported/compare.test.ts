import { expect, it } from 'vitest';
import { compareSides } from './compare.js';
import { batchLoads, promptsOf, speedsOf, type BatchLoad } from './load.js';

const load: BatchLoad = { sequences: 2, promptTokens: 10, decodeSteps: 4, contextTokens: 256 };

it('compares by the ratios of the rounds, without the first, and lets each side begin in turn', async () => {
  const order: string[] = [];
  const side = (name: string, perSecond: readonly number[]) => {
    let round = 0;
    return {
      run: () => {
        order.push(name);
        const each = perSecond[round++] ?? NaN;
        const speed = { perSecond: each, perCpuSecond: 2 * each };
        return Promise.resolve({ prefill: speed, decode: speed });
      },
    };
  };
  const [result] = await compareSides(side('ours', [9, 1, 4, 6]), side('theirs', [1, 1, 2, 6]), [load], 3);
  expect(result).toMatchObject({
    sequences: 2,
    prefill: {
      ours: { perSecond: 4, perCpuSecond: 8 },
      theirs: { perSecond: 2, perCpuSecond: 4 },
      ratio: 1,
      cpuRatio: 1,
    },
  });
  expect(order.join(' ')).toBe('ours theirs theirs ours ours theirs theirs ours');
});

it('counts the tokens of all sequences', () => {
  expect(speedsOf(load, { ms: 500, cpuMs: 250 }, { ms: 2000, cpuMs: 4000 })).toEqual({
    prefill: { perSecond: 40, perCpuSecond: 80 },
    decode: { perSecond: 4, perCpuSecond: 2 },
  });
});

it('gives each sequence a prompt of its own that fits its room', () => {
  for (const each of batchLoads) {
    const prompts = promptsOf(each);
    expect(new Set(prompts.map(String)).size).toBe(each.sequences);
    for (const { length } of prompts) expect(length).toBe(each.promptTokens);
    expect(each.promptTokens + each.decodeSteps + 1).toBeLessThanOrEqual(each.contextTokens);
  }
});
