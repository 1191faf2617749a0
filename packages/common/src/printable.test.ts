import fc from 'fast-check';
import { expect, it } from 'vitest';
import { printable, printableLine } from './printable.js';

it.each([
  ['an escape sequence', '\u001b[2J', '\\u001b[2J'],
  ['a link (OSC 8)', '\u001b]8;;http://a\u0007b', '\\u001b]8;;http://a\\u0007b'],
  ['the clipboard (OSC 52)', '\u001b]52;c;QQ==\u001b\\', '\\u001b]52;c;QQ==\\u001b\\'],
  ['a C1 introducer', '\u009b31mred\u009d0;title\u009c', '\\u009b31mred\\u009d0;title\\u009c'],
  ['a carriage return that would overwrite', 'bad\rgood', 'bad\\u000dgood'],
  ['backspaces and deletes', 'bad\b\b\b\u007f', 'bad\\u0008\\u0008\\u0008\\u007f'],
  ['a bell and NUL', '\u0007\0', '\\u0007\\u0000'],
  ['an override of the direction', 'a\u202eb\u202c', 'a\\u202eb\\u202c'],
  ['an isolate', '\u2066a\u2069', '\\u2066a\\u2069'],
  ['a line separator', 'a\u2028b\u2029', 'a\\u2028b\\u2029'],
])('%s is shown, not obeyed', (_, text, shown) => {
  expect(printable(text)).toBe(shown);
  expect(printableLine(text)).toBe(shown);
});

it('lines, tabs and what people write stay as they are', () => {
  const text = 'a\tb\r\nc\n日本語 עברית العربية é 👩‍👩‍👧 \u200f';
  expect(printable(text)).toBe(text);
  expect(printableLine('a\tb\r\nc')).toBe('a\\u0009b\\u000d\\u000ac');
});

it('JSON means the same, and has nothing to obey', () => {
  fc.assert(
    fc.property(fc.json({ stringUnit: 'binary' }), (json) => {
      const shown = printable(json);
      expect(JSON.parse(shown)).toEqual(JSON.parse(json));
      expect(shown.replaceAll(/\r?\n|\t/g, '')).not.toMatch(/\p{Cc}/u);
    }),
  );
});
