/** Code points from the first to the last, both included. */
export type Range = readonly [first: number, last: number];
/** Ascending ranges that neither touch nor overlap. */
export type CharacterSet = readonly Range[];
/** Bytes of one place, from the first to the last. */
export type ByteRange = readonly [first: number, last: number];

const codePointMax = 0x10ffff;
const surrogates: Range = [0xd800, 0xdfff];

/** All that UTF-8 can say: every code point but surrogates. */
export const everyCharacter: CharacterSet = [
  [0, surrogates[0] - 1],
  [surrogates[1] + 1, codePointMax],
];

/** A set of any ranges. */
export function characterSet(ranges: Iterable<Range>): CharacterSet {
  const sorted = [...ranges].sort((a, b) => a[0] - b[0]);
  const merged: [number, number][] = [];
  for (const [first, last] of sorted) {
    const before = merged.at(-1);
    if (before && first <= before[1] + 1) before[1] = Math.max(before[1], last);
    else merged.push([first, last]);
  }
  return merged;
}

/** Every character that is not in the set. */
export function complement(set: CharacterSet): CharacterSet {
  const gaps: Range[] = [];
  let next = 0;
  for (const [first, last] of set) {
    if (first > next) gaps.push([next, first - 1]);
    next = last + 1;
  }
  if (next <= codePointMax) gaps.push([next, codePointMax]);
  return intersection(gaps, everyCharacter);
}

export function intersection(a: CharacterSet, b: CharacterSet): CharacterSet {
  const both: Range[] = [];
  for (const [firstA, lastA] of a)
    for (const [firstB, lastB] of b) {
      const first = Math.max(firstA, firstB);
      const last = Math.min(lastA, lastB);
      if (first <= last) both.push([first, last]);
    }
  return characterSet(both);
}

export function difference(a: CharacterSet, b: CharacterSet): CharacterSet {
  return intersection(a, complement(b));
}

export function union(...sets: readonly CharacterSet[]): CharacterSet {
  return characterSet(sets.flat());
}

/** Every character of a text. */
export function charactersOf(text: string): CharacterSet {
  return characterSet(
    Array.from(text, (character): Range => {
      const code = character.codePointAt(0) ?? 0;
      return [code, code];
    }),
  );
}
