import { describe, expect, it } from 'vitest';
import { keepMsOf } from './keep-alive.js';

describe('keep_alive', () => {
  it.each([
    [undefined, undefined],
    [null, undefined],
    ['', undefined],
    [0, 0],
    ['0', 0],
    [90, 90_000],
    ['5m', 300_000],
    ['1h30m', 5_400_000],
    ['1.5s', 1_500],
    ['250ms', 250],
    [-1, Infinity],
    ['-1', Infinity],
    ['-1m', Infinity],
  ])('reads %j as %j ms', (value, ms) => {
    expect(keepMsOf(value)).toBe(ms);
  });

  it.each(['soon', '5 m', '5d', 'm'])('refuses %j by name', (value) => {
    expect(() => keepMsOf(value)).toThrow(/keep_alive/);
  });
});
