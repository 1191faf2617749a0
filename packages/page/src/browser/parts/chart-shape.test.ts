import { describe, expect, it } from 'vitest';
import { nearest, niceTop, pathOf, placesOf } from './chart-shape.js';

describe('charts', () => {
  it.each([
    [0, 1],
    [NaN, 1],
    [0.03, 0.05],
    [1, 1],
    [1.1, 2],
    [2.2, 2.5],
    [420, 500],
    [501, 1000],
  ])('%d has its upper edge at %d', (value, top) => {
    expect(niceTop(value)).toBeCloseTo(top);
  });

  it('break their lines where nothing was measured', () => {
    const box = { width: 100, height: 10, top: 10 };
    expect(pathOf([0, 5, null, 10], [0, 0.5, 0.75, 1], box)).toBe('M0.0 10.0L50.0 5.0M100.0 0.0h1');
    expect(pathOf([], [], box)).toBe('');
    expect(pathOf([20], [0], box)).toBe('M0.0 0.0h1');
  });

  it('place moments, and find the one that is pointed at', () => {
    expect(placesOf([0, 50, 100, 200], 50, 150)).toEqual([0, 0, 0.5, 1]);
    expect(placesOf([5], 5, 5)).toEqual([0]);
    expect([nearest([0, 0.5, 1], 0.7), nearest([0, 0.5, 1], 0.8), nearest([], 0.5)]).toEqual([1, 2, -1]);
  });
});
