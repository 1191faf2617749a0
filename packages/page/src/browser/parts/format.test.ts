import { describe, expect, it } from 'vitest';
import {
  bytesWords,
  countWords,
  durationWords,
  layerWords,
  momentWords,
  plural,
  rounded,
  shareWords,
  speedWords,
} from './format.js';

describe('numbers for people', () => {
  it.each([
    [countWords, 0, '0'],
    [countWords, 9_999, '9,999'],
    [countWords, 12_345, '12.3k'],
    [countWords, 999_949, '1000k'],
    [countWords, 999_950, '1M'],
    [countWords, NaN, '–'],
    [rounded, 0, '0'],
    [rounded, 0.125, '0.13'],
    [rounded, 3, '3'],
    [rounded, 9.999, '10'],
    [rounded, 99.96, '100'],
    [rounded, 1234.5, '1235'],
    [rounded, -3.456, '-3.46'],
    [bytesWords, 0, '0 B'],
    [bytesWords, 1023, '1023 B'],
    [bytesWords, 1024, '1 KiB'],
    [bytesWords, 1.5 * 2 ** 30, '1.5 GiB'],
    [bytesWords, 2 ** 60, '1048576 TiB'],
    [speedWords, 1.18e8, '118 MB/s'],
    [speedWords, Infinity, 'no limit'],
    [durationWords, 0.085, '85 µs'],
    [durationWords, 0.99951, '1 ms'],
    [durationWords, 12.34, '12.3 ms'],
    [durationWords, 999.6, '1 s'],
    [durationWords, 59_949, '59.9 s'],
    [durationWords, 59_960, '1 min'],
    [durationWords, 200_000, '3 min 20 s'],
    [durationWords, 7_500_000, '2 h 5 min'],
    [durationWords, 90_000_000, '1 d 1 h'],
    [durationWords, NaN, '–'],
    [shareWords, 0.256, '26 %'],
  ])('%o of %j are %j', (words, value, expected) => {
    expect(words(value)).toBe(expected);
  });

  it('name layers and counts', () => {
    expect([layerWords([0, 9]), layerWords([3, 3])]).toEqual(['layers 0–9', 'layer 3']);
    expect([plural(1, 'step'), plural(2, 'step'), plural(0, 'reply', 'replies')]).toEqual([
      '1 step',
      '2 steps',
      '0 replies',
    ]);
  });

  it('tell the day where it is another one', () => {
    const at = new Date(2026, 2, 4, 14, 3, 22).getTime();
    expect(momentWords(at, at + 1_000)).toBe('14:03:22');
    expect(momentWords(at, at + 86_400_000)).toBe('4 Mar, 14:03:22');
  });
});
