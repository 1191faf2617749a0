import type { StepSequence } from '@butterfly/wire';
import { describe, expect, it } from 'vitest';
import { checkStep } from './step-check.js';
import { part } from '../testing/stages.js';

const model = { isEncoder: false, embedding: { pooling: null, width: 8, ranks: null } };
const bounds = { arenaSlots: 1024, rowsMax: 64, stateSlots: 10, windows: null, model };
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
    ['that are guessed behind', [at(0, 2, 3, { rows: 2, logitRows: 2, draftTokens: Int32Array.of(5) })]],
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
    ['missing', [part()], /has a state where/u],
  ])('are refused: %s', (_, sequences, words) => {
    expect(check(sequences)).toThrow(words);
  });

  it('are refused by a model without', () => {
    expect(check([at(0, 0, 2)], 0)).toThrow(/has a state where/u);
    expect(check([part()], 0)).not.toThrow();
  });
});

describe('rooms of sequences', () => {
  const windows = { windowTokens: 100, rooms: 3, roomSlots: 512 };
  const checkRooms = (sequences: readonly StepSequence[]) => () =>
    checkStep({ copies: [], sequences }, { ...bounds, stateSlots: 0, windows });
  const inRoom = (
    positionStart: number,
    [from, fromFirst, to, toFirst]: readonly [number, number, number, number],
    rows = 1,
  ): StepSequence =>
    part({ regionSlots: 1024, positionStart, rows, window: { from, fromFirst, to, toFirst } });

  it.each<[string, StepSequence[]]>([
    ['that begin', [inRoom(0, [0, 0, 0, 0]), inRoom(0, [1, 0, 1, 0], 60)]],
    ['that go on to the end of a room', [inRoom(448, [2, 0, 2, 0], 64)]],
    ['that are moved to the front', [inRoom(512, [2, 0, 2, 256])]],
    ['that go on from one checkpoint', [inRoom(400, [0, 0, 1, 256]), inRoom(400, [0, 0, 2, 256])]],
    ['that take what another one leaves', [inRoom(400, [0, 0, 1, 256]), inRoom(400, [2, 0, 0, 256])]],
    ['that lie in one, as while a stage is readied', [inRoom(0, [0, 0, 0, 0]), inRoom(3, [0, 0, 0, 0])]],
  ])('are taken: %s', (_, sequences) => {
    expect(checkRooms(sequences)).not.toThrow();
  });

  it.each<[string, StepSequence[], RegExp]>([
    ['behind the last', [inRoom(0, [0, 0, 3, 0])], /do not follow/u],
    ['read behind the last', [inRoom(0, [3, 0, 0, 0])], /do not follow/u],
    ['too small for the rows', [inRoom(450, [0, 0, 0, 0], 63)], /do not follow/u],
    ['too small for what is read', [inRoom(513, [0, 0, 0, 256])], /do not follow/u],
    ['without what the window needs', [inRoom(354, [0, 0, 0, 256])], /do not follow/u],
    ['before what there is', [inRoom(500, [0, 256, 0, 0])], /do not follow/u],
    ['that begin within a block', [inRoom(400, [0, 0, 0, 100])], /do not follow/u],
    ['no number', [inRoom(0, [0, 0, NaN, 0])], /do not follow/u],
    [
      'read where an earlier one writes',
      [inRoom(0, [0, 0, 0, 0]), inRoom(400, [0, 0, 1, 0])],
      /an earlier one/u,
    ],
    ['moved where one writes', [inRoom(0, [0, 0, 0, 0]), inRoom(512, [0, 0, 0, 256])], /an earlier one/u],
    ['missing', [part()], /has a room where/u],
  ])('are refused: %s', (_, sequences, words) => {
    expect(checkRooms(sequences)).toThrow(words);
  });

  it('are refused by a model without', () => {
    expect(check([inRoom(0, [0, 0, 0, 0])], 0)).toThrow(/has a room where/u);
  });
});

describe('embeddings', () => {
  const pooled = (change: Partial<StepSequence> = {}): StepSequence =>
    part({ rows: 3, logitRows: 3, pooling: 'mean', ...change });
  const taken =
    (sequences: readonly StepSequence[], change: Partial<typeof model> = {}) =>
    () =>
      checkStep({ copies: [], sequences }, { ...bounds, stateSlots: 0, model: { ...model, ...change } });

  it('are taken beside what only fills the cache', () => {
    expect(taken([pooled(), part({ sequenceId: 2, logitRows: 0 })])).not.toThrow();
    expect(taken([pooled()], { isEncoder: true })).not.toThrow();
  });

  it.each<[string, StepSequence[], Partial<typeof model>, RegExp]>([
    ['beside logits', [pooled(), part({ sequenceId: 2 })], {}, /an embedding and logits in one step/u],
    ['of some of its rows', [pooled({ logitRows: 1 })], {}, /not of all of its rows/u],
    ['as scores of a model without', [pooled({ pooling: 'rank' })], {}, /gives none/u],
    ['of a part of a text', [pooled({ positionStart: 1 })], { isEncoder: true }, /not a whole text/u],
  ])('are refused: %s', (_, sequences, change, words) => {
    expect(taken(sequences, change)).toThrow(words);
  });

  it('are all that an encoder gives', () => {
    expect(taken([part()], { isEncoder: true })).toThrow(/not a whole text/u);
  });
});
