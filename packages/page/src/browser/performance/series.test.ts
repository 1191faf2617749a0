import { expect, it } from 'vitest';
import { bucketOf } from '../../testing/glance.js';
import { chartsOf, occupancyOf } from './series.js';

const bucket = { ...bucketOf(0, 0, 0), lengthMs: 5_000, steps: 0 };

it('makes rates of what happened, and leaves out what was not measured', () => {
  const charts = new Map(chartsOf([bucket]).map((chart) => [chart.title, chart.lines]));
  const values = (title: string) => charts.get(title)?.map(({ values: own }) => own[0]);
  expect(values('Tokens per second')).toEqual([180, 80, 60]);
  expect(values('Time between tokens')).toEqual([null, null, null]);
  expect(values('Time to first token')).toEqual([120, 240, 360]);
  expect(values('Rows per step')).toEqual([null]);
  expect(values('Cache')).toEqual([300 / 700, 0.4]);
});

it('knows the busiest workers, over time as long as it was', () => {
  const busy = [
    { ...bucket, lengthMs: 1_000, busyShares: { a: 1, b: 0.5 } },
    { ...bucket, lengthMs: 3_000, busyShares: { b: 0.5 } },
  ];
  expect(occupancyOf(busy)).toEqual([
    { workerId: 'b', meanShare: 0.5, lastShare: 0.5, shares: [0.5, 0.5] },
    { workerId: 'a', meanShare: 0.25, lastShare: 0, shares: [1, 0] },
  ]);
  expect(occupancyOf([])).toEqual([]);
});
