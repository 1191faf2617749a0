import { describe, expect, it } from 'vitest';
import { greedySampling, type StepSequence } from '@butterfly/wire';
import { ruleOut } from './token-masks.js';

const vocabulary = 70;
const none = new Int32Array(0);

function sequence(sequenceId: number, changes: Partial<StepSequence> = {}): StepSequence {
  return {
    sequenceId,
    regionStart: 0,
    regionSlots: 256,
    positionStart: 4,
    rows: 1,
    logitRows: 1,
    sampling: greedySampling,
    draftTokens: none,
    recentTokens: none,
    state: null,
    window: null,
    logprobs: null,
    scored: null,
    ...changes,
  };
}

const maskOf = (...tokens: readonly number[]): Int32Array => {
  const mask = new Int32Array(3);
  for (const token of tokens) mask[token >> 5] = (mask[token >> 5] ?? 0) | (1 << (token & 31));
  return mask;
};

const allowedIn = (logits: Float32Array, row: number): number[] =>
  [...logits.subarray(row * vocabulary, (row + 1) * vocabulary)].flatMap((value, token) =>
    value === -Infinity ? [] : [token],
  );

describe('masks on logits', () => {
  it('rule out all else of the rows of their sequence, and nothing of others', () => {
    const logits = new Float32Array(4 * vocabulary).fill(1);
    const constraint = { id: 1, start: 5, tokens: null };
    const guessed = { draftTokens: Int32Array.of(31), rows: 2, logitRows: 2, constraint };
    const all = [sequence(1), sequence(2, guessed), sequence(3, { constraint })];
    const everything = Int32Array.of(-1, -1, -1);
    ruleOut(
      all,
      logits,
      new Map([
        [2, [maskOf(31, 32, 69), maskOf()]],
        [3, [everything]],
      ]),
      vocabulary,
    );
    expect(allowedIn(logits, 0)).toHaveLength(vocabulary);
    expect(allowedIn(logits, 1)).toEqual([31, 32, 69]);
    expect(allowedIn(logits, 2)).toEqual([]);
    expect(allowedIn(logits, 3)).toHaveLength(vocabulary);
  });

  it('must be there for each sequence with a constraint', () => {
    const constrained = sequence(2, { constraint: { id: 1, start: 5, tokens: null } });
    expect(() => ruleOut([constrained], new Float32Array(vocabulary), new Map(), vocabulary)).toThrow(
      'no mask',
    );
  });
});
