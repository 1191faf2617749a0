import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { TokenList } from './token-list.js';

const tokens = fc.array(fc.integer({ min: 0, max: 2 }), { maxLength: 40 });

function listOf(start: readonly number[], pushed: readonly number[] = []): TokenList {
  const list = new TokenList(Int32Array.from(start));
  for (const token of pushed) list.push(token);
  return list;
}

describe('TokenList', () => {
  it('is the array of what it was given and what was pushed', () => {
    fc.assert(
      fc.property(tokens, tokens, fc.nat(90), fc.nat(90), (start, pushed, from, to) => {
        const list = listOf(start, pushed);
        const all = [...start, ...pushed];
        expect(list).toHaveLength(all.length);
        expect(all.map((_, index) => list.at(index))).toEqual(all);
        expect([list.at(all.length), list.at(all.length + 100), list.at(-1)]).toEqual([-1, -1, -1]);
        expect([...list.slice(from, to)]).toEqual(all.slice(from, to));
      }),
    );
  });

  it('counts what two lists begin with in common, up to a bound', () => {
    fc.assert(
      fc.property(tokens, tokens, tokens, fc.nat(90), (shared, a, b, max) => {
        let common = 0;
        const [whole, other] = [
          [...shared, ...a],
          [...shared, ...b],
        ];
        while (common < Math.min(whole.length, other.length) && whole[common] === other[common]) common += 1;
        // Spare room behind the end of a list, which growth leaves, is no part of it.
        expect(listOf([], whole).commonPrefix(listOf(other, []), max)).toBe(Math.min(common, max));
      }),
    );
  });

  it('depends on nothing outside of it: neither the array that it was made of nor a slice', () => {
    const source = Int32Array.of(1, 2, 3);
    const list = new TokenList(source);
    source[0] = 9;
    const slice = list.slice(0, 2);
    slice[1] = 9;
    list.push(4);
    expect([...list.slice(0, 4)]).toEqual([1, 2, 3, 4]);
    expect([...slice]).toEqual([1, 9]);
  });
});
