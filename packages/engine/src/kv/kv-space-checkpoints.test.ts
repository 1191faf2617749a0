import { beforeEach, describe, expect, it } from 'vitest';
import { CheckpointIndex } from './checkpoint-index.js';
import { KvSpace, type Tenant } from './kv-space.js';
import { StateSlots } from './state-slots.js';

const granularity = 8;
const blockTokens = 4;

interface Guest extends Tenant {
  regionId: number | null;
}

const guestOf = (tokens: readonly number[]): Guest => ({
  known: { length: tokens.length, at: (index) => tokens[index] ?? -1 },
  regionId: null,
});
const tokensFrom = (first: number, count: number): number[] =>
  Array.from({ length: count }, (_, index) => first + index);

describe('a KV arena whose prefixes are of use up to checkpoints', () => {
  let pool: StateSlots;
  let index: CheckpointIndex;
  let space: KvSpace;
  beforeEach(() => {
    pool = new StateSlots(12);
    index = new CheckpointIndex(pool, blockTokens);
    space = new KvSpace(128, granularity, blockTokens, index);
  });

  /** Computes all of somebody, with states kept behind so many tokens, and leaves. */
  function stay(tokens: readonly number[], ...kept: number[]): Guest {
    const guest = guestOf(tokens);
    expect(space.enter(guest, tokens.length + 1)).not.toBe(null);
    space.advance(guest, tokens.length, tokens.length);
    for (const position of kept) {
      const slot = pool.take() ?? 0;
      index.keep(guest.regionId ?? 0, position, slot);
      pool.leave(slot);
    }
    space.leave(guest, tokens.length);
    return guest;
  }

  it('retains the rows before the last one, and nothing without any', () => {
    stay(tokensFrom(0, 40));
    expect(space.retainedSlots).toBe(0);
    stay(tokensFrom(0, 40), 10, 20);
    expect(space.retainedSlots).toBe(24);
    expect(space.longestPrefix(guestOf(tokensFrom(0, 40)))).toBe(20);
    expect(space.longestPrefix(guestOf(tokensFrom(0, 20)))).toBe(10);
  });

  it('gives up the rows behind what is left when one is dropped, and all with the last', () => {
    stay(tokensFrom(0, 40), 20, 10);
    space.trim(index.dropOldest() ?? []);
    expect(space.retainedSlots).toBe(16);
    expect(space.longestPrefix(guestOf(tokensFrom(0, 40)))).toBe(10);
    space.trim(index.dropOldest() ?? []);
    expect(space.retainedSlots).toBe(0);
    expect(space.availableSlots).toBe(128);
  });

  it('drops them with their region, unless another one has the same rows', () => {
    stay(tokensFrom(0, 40), 30);
    const guest = guestOf([...tokensFrom(0, 30), ...tokensFrom(500, 10)]);
    const other = guestOf(tokensFrom(0, 40));
    expect([space.enter(guest, 41), space.enter(other, 41)]).toEqual([30, 30]);
    expect(index.size).toBe(1);
    space.leave(guest, 0);
    expect(index.size).toBe(1);
    space.leave(other, 0);
    expect(index.size).toBe(0);
    expect(pool.free).toBe(10);
  });

  it('makes way for new ones, least recently used first, and takes its checkpoints along', () => {
    for (const first of [0, 100, 200]) stay(tokensFrom(first, 40), 40);
    const guest = guestOf(tokensFrom(900, 60));
    expect(space.enter(guest, 61)).toBe(0);
    expect([0, 100, 200].map((first) => space.longestPrefix(guestOf(tokensFrom(first, 50))))).toEqual([
      0, 0, 40,
    ]);
    expect(index.size).toBe(1);
  });
});
