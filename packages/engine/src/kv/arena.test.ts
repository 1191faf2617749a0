import { ButterflyError } from '@butterfly/common';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Arena } from './arena.js';

describe('Arena', () => {
  it('takes the smallest gap that is large enough', () => {
    const arena = new Arena(4096);
    for (let id = 0; id < 6; id += 1) arena.allocate(id, 512);
    for (const id of [0, 1, 4]) arena.release(id);
    expect(arena.allocate(7, 300)).toEqual({ start: 2048, slots: 512 });
    expect(arena.allocate(8, 600)).toEqual({ start: 0, slots: 768 });
  });

  it('grows in place when it can, and else copies the used prefix alone', () => {
    const arena = new Arena(2048);
    arena.allocate(1, 256);
    arena.setUsed(1, 200);
    expect(arena.grow(1, 257)).toEqual({ region: { start: 0, slots: 512 }, copies: [] });
    arena.allocate(2, 256);
    expect(arena.grow(1, 513)).toEqual({
      region: { start: 768, slots: 768 },
      copies: [{ fromSlot: 0, toSlot: 768, slots: 200 }],
    });
    expect(arena.grow(1, 2048)).toBeNull();
  });

  it('splits a slide over its own region into copies that do not overlap', () => {
    const arena = new Arena(1024);
    arena.allocate(1, 256);
    arena.allocate(2, 768);
    arena.setUsed(2, 600);
    arena.release(1);
    expect(arena.compact()).toEqual([
      { fromSlot: 256, toSlot: 0, slots: 256 },
      { fromSlot: 512, toSlot: 256, slots: 256 },
      { fromSlot: 768, toSlot: 512, slots: 88 },
    ]);
  });

  it('moves no more than makes the gap that is asked for', () => {
    const arena = new Arena(2048);
    for (let id = 0; id < 8; id += 1) {
      arena.allocate(id, 256);
      arena.setUsed(id, 256 - id);
    }
    for (const id of [1, 3, 6]) arena.release(id);
    expect(arena.compact({ slots: 512 })).toEqual([{ fromSlot: 512, toSlot: 256, slots: 254 }]);
    expect(arena.allocate(9, 512)).toEqual({ start: 512, slots: 512 });
    expect(arena.compact({ id: 5, slots: 512 })).toEqual([]);
  });

  it('makes room behind a region from the gaps on both of its sides', () => {
    const arena = new Arena(1536);
    for (let id = 0; id < 6; id += 1) {
      arena.allocate(id, 256);
      arena.setUsed(id, 100);
    }
    for (const id of [1, 4]) arena.release(id);
    expect(arena.compact({ id: 2, slots: 768 })).toEqual([
      { fromSlot: 512, toSlot: 256, slots: 100 },
      { fromSlot: 768, toSlot: 1024, slots: 100 },
    ]);
    expect(arena.grow(2, 768)).toEqual({ region: { start: 256, slots: 768 }, copies: [] });
  });

  it('moves the cheaper side away from a region that needs room', () => {
    const arena = new Arena(1536);
    for (const [id, used] of [0, 10, 20, 200, 0, 0].entries()) {
      arena.allocate(id, 256);
      arena.setUsed(id, used);
    }
    for (const id of [0, 4, 5]) arena.release(id);
    expect(arena.compact({ id: 2, slots: 512 })).toEqual([
      { fromSlot: 256, toSlot: 0, slots: 10 },
      { fromSlot: 512, toSlot: 256, slots: 20 },
    ]);
  });

  it('passes a cached prefix on by a copy', () => {
    const arena = new Arena(2048);
    arena.allocate(2, 700);
    arena.setUsed(2, 600);
    expect(arena.shrink(2, 1)).toEqual({ start: 0, slots: 768 });
    arena.setUsed(2, 400);
    expect(arena.shrink(2, 0)).toEqual({ start: 0, slots: 512 });
    arena.allocate(3, 512);
    expect(arena.copyPrefix(2, 3, 300)).toEqual([{ fromSlot: 0, toSlot: 512, slots: 300 }]);
    expect(arena.copyPrefix(2, 3, 0)).toEqual([]);
    expect(arena.shrink(3, 1)).toEqual({ start: 512, slots: 512 });
    expect(arena.freeSlots).toBe(1024);
  });

  it('needs no more copies for a compaction of 16 million slots than a step can carry', () => {
    const arena = new Arena(2 ** 24);
    arena.allocate(1, 256);
    arena.allocate(2, 2 ** 24 - 256);
    arena.setUsed(2, 2 ** 24 - 256);
    arena.release(1);
    expect(arena.compact()).toHaveLength(arena.compactionCopiesMax);
    expect(arena.compactionCopiesMax).toBe(65_535);
  });

  it('keeps that bound with thousands of regions of any size', () => {
    const sizes = fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 4096, maxLength: 4096 });
    fc.assert(
      fc.property(sizes, fc.integer({ min: 2, max: 200 }), (granules, every) => {
        const arena = new Arena(granules.reduce((total, count) => total + count, 0) * 256);
        granules.forEach((count, id) => {
          arena.allocate(id, count * 256);
          arena.setUsed(id, count * 256);
        });
        for (let id = 0; id < granules.length; id += every) arena.release(id);
        const used = arena.slots - arena.freeSlots;
        const copies = arena.compact();
        expect(copies.length).toBeLessThanOrEqual(used / 256);
        expect(copies.length).toBeLessThanOrEqual(arena.compactionCopiesMax);
        expect(copies.reduce((total, { slots }) => total + slots, 0)).toBe(used);
      }),
      { numRuns: 5 },
    );
  });

  it('rounds its capacity down to the granularity', () => {
    const arena = new Arena(1000);
    expect(arena.slots).toBe(768);
    expect(arena.allocate(1, 769)).toBeNull();
  });

  it('refuses misuse with a typed error', () => {
    const arena = new Arena(512);
    arena.allocate(1, 1);
    for (const misuse of [
      () => arena.allocate(1, 1),
      () => arena.allocate(2, 0),
      () => arena.grow(2, 1),
      () => arena.setUsed(1, 257),
      () => arena.release(2),
      () => arena.region(2),
      () => arena.compact({ id: 1, slots: 1024 }),
      () => arena.compact({ slots: 512 }),
      () => arena.compact({ id: 2, slots: 1 }),
      () => arena.shrink(2, 1),
      () => arena.shrink(1, 0.5),
      () => arena.copyPrefix(1, 1, 0),
      () => arena.copyPrefix(1, 2, 0),
      () => new Arena(-1),
      () => new Arena(256, 0),
    ])
      expect(misuse).toThrow(ButterflyError);
    expect(arena.regions()).toEqual([{ id: 1, start: 0, slots: 256 }]);
  });
});
