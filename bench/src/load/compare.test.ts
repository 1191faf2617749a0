import { expect, it } from 'vitest';
import { interleave } from './compare.js';
import type { LoadRun } from './run-load.js';

it('runs loads turn by turn, changes who begins, and takes medians', async () => {
  const order: string[] = [];
  const load = (name: string, perSecond: readonly number[]) => {
    let round = 0;
    return (): Promise<LoadRun> => {
      order.push(name);
      const tokens = perSecond[round++] ?? 0;
      return Promise.resolve({
        records: [{ startMs: 0, piecesMs: [500], tokens }],
        windowMs: [0, 1000] as const,
      });
    };
  };
  const figures = await interleave(3, { a: load('a', [3, 1, 2]), b: load('b', [10, 30, 20]) });
  expect(order).toEqual(['a', 'b', 'b', 'a', 'a', 'b']);
  expect([figures.a.tokensPerSecond, figures.b.tokensPerSecond]).toEqual([2, 20]);
});
