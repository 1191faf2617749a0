import { expect, it } from 'vitest';
import { formatBytes, formatMicros, formatTable } from './units.js';

it.each([
  [0, '0 B'],
  [1023, '1023 B'],
  [1536, '1.5 KB'],
  [3 * 2 ** 30, '3.0 GB'],
  [5000 * 2 ** 40, '5000.0 TB'],
])('%d bytes', (count, text) => {
  expect(formatBytes(count)).toBe(text);
});

it.each([
  [310, '0.31 ms'],
  [25_400, '25.4 ms'],
  [12_300_000, '12.3 s'],
])('%d microseconds', (micros, text) => {
  expect(formatMicros(micros)).toBe(text);
});

it('a table aligns its columns and leaves no blanks at the end', () => {
  expect(
    formatTable([
      ['name', 'layers'],
      ['a long name', ''],
    ]),
  ).toBe('name         layers\na long name\n');
});
