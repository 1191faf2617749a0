import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { smallest, type State } from './smallest.js';

/** What bytes lead to an end from a state, for all texts up to a length. */
function accepts(states: readonly State[], start: number, text: readonly number[]): boolean {
  let at: number | undefined = start;
  for (const byte of text)
    at = states[at ?? -1]?.edges.find(({ range }) => range[0] <= byte && byte <= range[1])?.to;
  return at !== undefined && states[at]?.isEnd === true;
}

const letters = [97, 98, 99];
const texts = (length: number): number[][] =>
  length === 0
    ? [[]]
    : [[], ...texts(length - 1).flatMap((text) => letters.map((letter) => [letter, ...text]))];

const automaton = fc
  .array(fc.record({ isEnd: fc.boolean(), to: fc.tuple(fc.nat(), fc.nat(), fc.nat(), fc.nat({ max: 7 })) }), {
    minLength: 1,
    maxLength: 6,
  })
  .map((drawn) =>
    drawn.map(({ isEnd, to: [a, b, c, has] }): State => ({
      isEnd,
      edges: [a, b, c].flatMap((to, index) =>
        (has >> index) % 2 === 1 ? [{ range: [97 + index, 97 + index] as const, to: to % drawn.length }] : [],
      ),
    })),
  );

describe('the smallest automaton', () => {
  it('accepts what the given one does, and has no two states that are alike', () => {
    // Two states of six that differ do so by a text of five letters.
    const all = texts(5);
    fc.assert(
      fc.property(automaton, (states) => {
        const wordsOf = (of: readonly State[], start: number): string =>
          all.map((text) => (accepts(of, start, text) ? '1' : '0')).join('');
        // Each state leads to an end, as in all that patterns make.
        fc.pre(states.every((_, state) => wordsOf(states, state).includes('1')));
        const small = smallest(states);
        expect(wordsOf(small, 0)).toBe(wordsOf(states, 0));
        const languages = small.map((_, state) => wordsOf(small, state));
        expect(new Set(languages).size).toBe(languages.length);
        expect(new Set(languages)).toEqual(new Set(states.map((_, state) => wordsOf(states, state))));
      }),
      { numRuns: 200 },
    );
  });

  it('does not go through a whole chain of optional characters for each of them', () => {
    const length = 2000;
    let looks = 0;
    const chain = Array.from({ length }, (_, state): State => {
      const edges = state + 1 < length ? [{ range: [97, 97] as const, to: state + 1 }] : [];
      return {
        isEnd: true,
        get edges() {
          looks++;
          return edges;
        },
      };
    });
    expect(smallest(chain)).toHaveLength(length);
    expect(looks).toBeLessThan(10 * length);
  });
});
