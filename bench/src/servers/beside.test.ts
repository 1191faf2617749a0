import { expect, it } from 'vitest';
import { besideOf } from './beside.js';

const rounds = (...figures: number[]) => figures.map((figure) => ({ figure, firstTokenMs: 10 * figure }));

it('takes medians, and has the ratio above 1 where Butterfly is ahead, in speeds and in times', () => {
  const [two, four] = [rounds(1, 9, 2), rounds(4, 8, 3)];
  expect(besideOf({ isTime: false }, four, two)).toEqual({
    butterfly: { figure: 4, firstTokenMs: 40 },
    llamaServer: { figure: 2, firstTokenMs: 20 },
    ratio: 2,
  });
  expect(besideOf({ isTime: true }, two, four).ratio).toBe(2);
});
