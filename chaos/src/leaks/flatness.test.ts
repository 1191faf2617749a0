import { describe, expect, it } from 'vitest';
import { coursesOf, growthMax, metrics, theilSen, type SampleAt } from './flatness.js';

const still = {
  ...{ rss: 1e8, room: 2e7, heap: 1e7, external: 1e6, allocated: 3e7, files: 30, sockets: 9, threads: 12 },
  ...{ timers: 4, natives: 40, stages: 1 },
};
const samples = (change: (i: number) => Partial<SampleAt>): SampleAt[] =>
  Array.from({ length: 25 }, (_, i) => ({ ...still, events: 100 * i, ...change(i) }));
const grown = (all: readonly SampleAt[]): string[] =>
  coursesOf(all)
    .filter(({ isFlat }) => !isFlat)
    .map(({ metric }) => metric);

describe('theilSen', () => {
  const line = Array.from({ length: 11 }, (_, x) => [x, 3 * x + 1] as const);

  it('is the slope of a line, whatever some points of it are', () => {
    expect(theilSen([line])).toBe(3);
    expect(theilSen([line.map(([x, y]) => [x, x % 5 === 2 ? 1e6 : y])])).toBeCloseTo(3, 6);
  });

  it('holds the points of one group against each other alone', () => {
    expect(theilSen([line, line.map(([x, y]) => [x + 20, y - 500])])).toBe(3);
  });

  it('is 0 where there are no two points', () => {
    const sameTime = [1, 2].map((y) => [1, y] as const);
    expect([theilSen([]), theilSen([[[1, 1]], [[2, 5]]]), theilSen([sameTime])]).toEqual([0, 0, 0]);
  });
});

describe('a process', () => {
  it('is flat that holds as much at the end, after whatever it took to begin', () => {
    expect(grown(samples((i) => ({ natives: 10 * Math.min(i, 11), heap: 1e7 * Math.min(i, 11) })))).toEqual(
      [],
    );
    // Sockets that are just being closed when it is looked at.
    expect(grown(samples((i) => ({ sockets: i % 7 === 6 ? 900 : 9 })))).toEqual([]);
  });

  it('is flat that has a stage in memory in the end and had none before', () => {
    expect(grown(samples((i) => (i < 18 ? { stages: 0, rss: 1e7 } : { rss: 9e8 })))).toEqual([]);
  });

  it.each(metrics)('is not when %s grow little by little', (metric) => {
    const step = (1.1 * growthMax[metric]) / 12;
    expect(grown(samples((i) => ({ [metric]: still[metric] + step * i })))).toEqual([metric]);
  });

  it('is held to more without a stage', () => {
    const grownBy = (bytes: number, objects: number): string[] =>
      grown(
        samples((i) => ({
          stages: 0,
          allocated: still.allocated + (bytes * i) / 12,
          natives: still.natives + (objects * i) / 12,
        })),
      );
    expect([grownBy(1e6, 0), grownBy(2e6, 1)]).toEqual([[], ['allocated', 'natives']]);
  });

  it('has no course without samples', () => {
    expect(coursesOf([])).toEqual([]);
  });
});
