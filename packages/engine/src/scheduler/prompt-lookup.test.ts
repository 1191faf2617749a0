import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { PromptLookup } from './prompt-lookup.js';
import { TokenList } from '../kv/token-list.js';

/** Where what the last three tokens are occurred before for the last time, and what followed; by looking everywhere. */
function followers(tokens: readonly number[], max: number): number[] {
  const { length } = tokens;
  const last = tokens.slice(-3).join();
  for (let end = length - 1; end >= 3 && length >= 3; end -= 1)
    if (tokens.slice(end - 3, end).join() === last) {
      const guesses: number[] = [];
      for (let index = end; guesses.length < max; index += 1)
        guesses.push((index < length ? tokens[index] : guesses[index - length]) ?? NaN);
      return guesses;
    }
  return [];
}

describe('PromptLookup', () => {
  it('guesses what followed the last time, also when asked only now and then', () => {
    const asked = fc.record({ token: fc.integer({ min: 0, max: 2 }), max: fc.integer({ min: -1, max: 12 }) });
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 0, max: 2 }), { maxLength: 30 }),
        fc.array(asked),
        (prompt, more) => {
          const list = new TokenList(Int32Array.from(prompt));
          const lookup = new PromptLookup(list);
          const tokens = [...prompt];
          for (const { token, max } of more) {
            if (max >= 0) expect([...lookup.guess(max)]).toEqual(max === 0 ? [] : followers(tokens, max));
            list.push(token);
            tokens.push(token);
          }
        },
      ),
      { numRuns: 500 },
    );
  });

  it('lets a cycle go on as it went', () => {
    const lookup = new PromptLookup(new TokenList(Int32Array.of(9, 1, 2, 3, 1, 2, 3)));
    expect([...lookup.guess(8)]).toEqual([1, 2, 3, 1, 2, 3, 1, 2]);
    expect([...new PromptLookup(new TokenList(Int32Array.of(5, 5, 5, 5))).guess(5)]).toEqual([5, 5, 5, 5, 5]);
  });

  it('guesses nothing where the latest tokens are new or too few', () => {
    for (const tokens of [[], [1], [1, 1, 1], [1, 2, 3, 4, 5, 6], [1, 2, 3, 1, 2]])
      expect([...new PromptLookup(new TokenList(Int32Array.from(tokens))).guess(4)]).toEqual([]);
  });
});
