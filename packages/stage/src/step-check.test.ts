import type { StepSequence } from '@butterfly/wire';
import { describe, expect, it } from 'vitest';
import { checkStep } from './step-check.js';
import { part } from './testing/stages.js';

const model = { isEncoder: false, embedding: { pooling: null, width: 8, ranks: null } };
const bounds = { arenaSlots: 1024, rowsMax: 64, stateSlots: 10, model };
const check =
  (sequences: readonly StepSequence[], stateSlots = bounds.stateSlots) =>
  () =>
    checkStep({ copies: [], sequences }, { ...bounds, stateSlots });
const at = (id: number, from: number, to: number, change: Partial<StepSequence> = {}): StepSequence =>
  part({ sequenceId: id, regionStart: id * 256, state: { from, to }, ...change });

describe('states of sequences', () => {
  it.each<[string, StepSequence[]]>([
    ['that begin', [at(0, 0, 2), at(1, 0, 3)]],
    ['that go on', [at(0, 2, 3), at(1, 4, 5)]],
    ['that go on from one checkpoint', [at(0, 2, 3), at(1, 2, 4), at(2, 2, 5)]],
    ['that nobody will read', [at(0, 0, 1), at(1, 3, 1)]],
  ])('are taken: %s', (_, sequences) => {
    expect(check(sequences)).not.toThrow();
  });

  it.each<[string, StepSequence[], RegExp]>([
    ['written where nobody may', [at(0, 2, 0)], /not in 10 slots/u],
    ['written behind the last', [at(0, 2, 10)], /not in 10 slots/u],
    ['read behind the last', [at(0, 10, 2)], /not in 10 slots/u],
    ['read before the first', [at(0, -1, 2)], /not in 10 slots/u],
    ['no number', [at(0, NaN, 2)], /not in 10 slots/u],
    ['written twice', [at(0, 2, 4), at(1, 3, 4)], /Two sequences write/u],
    ['written in place', [at(0, 2, 2)], /written in the same step/u],
    ['read by one and written by another', [at(0, 2, 4), at(1, 4, 5)], /written in the same step/u],
    ['missing', [part()], /has states or guesses/u],
    [
      'guessed behind',
      [at(0, 2, 3, { rows: 2, logitRows: 2, draftTokens: Int32Array.of(5) })],
      /has states or guesses/u,
    ],
  ])('are refused: %s', (_, sequences, words) => {
    expect(check(sequences)).toThrow(words);
  });

  it('are refused by a model without', () => {
    expect(check([at(0, 0, 2)], 0)).toThrow(/has states or guesses/u);
    expect(check([part()], 0)).not.toThrow();
  });
});
