import { expect, it } from 'vitest';
import { formatBytes, formatMicros, formatRate } from './units.js';

it.each([
  [0, '0 B'],
  [1023, '1023 B'],
  [1536, '1.5 KiB'],
  [512 * 2 ** 20, '512.0 MiB'],
  [3 * 2 ** 30, '3.00 GiB'],
  [5000 * 2 ** 40, '5000.00 TiB'],
])('%d bytes', (count, text) => {
  expect(formatBytes(count)).toBe(text);
});

it.each([
  [310, '0.31 ms'],
  [25_400, '25.4 ms'],
  [1_234_567, '1235 ms'],
  [12_300_000, '12.3 s'],
])('%d microseconds', (micros, text) => {
  expect(formatMicros(micros)).toBe(text);
});

it.each([
  [0.5, '0.50 tokens/s'],
  [25.44, '25.4 tokens/s'],
  [1234.5, '1235 tokens/s'],
])('%d tokens a second', (tokensPerSecond, text) => {
  expect(formatRate(tokensPerSecond)).toBe(text);
});
