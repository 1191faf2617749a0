import { expect, it } from 'vitest';
import { formatTable } from './table.js';

it('a table aligns its columns and leaves no blanks at the end', () => {
  expect(
    formatTable([
      ['name', 'layers'],
      ['a long name', ''],
    ]),
  ).toBe('name         layers\na long name\n');
});
