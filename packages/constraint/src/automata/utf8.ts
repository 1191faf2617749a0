import type { ByteRange, CharacterSet, Range } from './character-set.js';

const continuationBits = 6;
/** The last character of one, two, three and four bytes. */
const lastOfLength = [0x7f, 0x7ff, 0xffff, 0x10ffff];

/**
 * What UTF-8 says of the characters of a set, place by place: each item is the ranges of bytes that follow each other. They
 * have no text in common.
 */
export function utf8Ranges(set: CharacterSet): readonly (readonly ByteRange[])[] {
  const all: (readonly ByteRange[])[] = [];
  for (const [first, last] of set) {
    let start = first;
    for (const end of lastOfLength) {
      if (start > last || start > end) continue;
      split([start, Math.min(last, end)], all);
      start = end + 1;
    }
  }
  return all;
}

/** Parts of a range, all of one length, in which the last bytes go through all values wherever one before varies. */
function split([first, last]: Range, into: (readonly ByteRange[])[]): void {
  for (let places = 1; places <= 3; places++) {
    const mask = 2 ** (continuationBits * places) - 1;
    if ((first & ~mask) === (last & ~mask)) continue;
    if ((first & mask) !== 0) {
      split([first, first | mask], into);
      split([(first | mask) + 1, last], into);
      return;
    }
    if ((last & mask) !== mask) {
      split([first, (last & ~mask) - 1], into);
      split([last & ~mask, last], into);
      return;
    }
  }
  const from = bytesOf(first);
  const to = bytesOf(last);
  into.push(from.map((byte, index): ByteRange => [byte, to[index] ?? byte]));
}

function bytesOf(code: number): number[] {
  return [...new TextEncoder().encode(String.fromCodePoint(code))];
}
