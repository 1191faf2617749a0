import { ButterflyError } from '@butterfly/common';
import type { ArenaCopy } from '@butterfly/common';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Arena } from './arena.js';

/** An arena with real contents: each used slot of a region holds a value that says whose and which it is. */
class ModelArena {
  readonly arena: Arena;
  readonly contents: string[];
  readonly used = new Map<number, number>();

  constructor(slots: number, granularity: number) {
    this.arena = new Arena(slots, granularity);
    this.contents = new Array<string>(this.arena.slots).fill('garbage');
  }

  /** Executes copies the way a stage does: in order, each as if source and target were apart. */
  execute(copies: readonly ArenaCopy[]): void {
    for (const { fromSlot, toSlot, slots } of copies) {
      expect(slots).toBeGreaterThan(0);
      expect(Math.abs(fromSlot - toSlot)).toBeGreaterThanOrEqual(slots);
      expect(Math.min(fromSlot, toSlot)).toBeGreaterThanOrEqual(0);
      expect(Math.max(fromSlot, toSlot) + slots).toBeLessThanOrEqual(this.arena.slots);
      this.contents.splice(toSlot, slots, ...this.contents.slice(fromSlot, fromSlot + slots));
    }
  }

  /** Caches tokens of the sequence up to `used`. */
  fill(id: number, used: number): void {
    const { start } = this.arena.region(id);
    for (let token = this.used.get(id) ?? 0; token < used; token += 1)
      this.contents[start + token] = `${id}:${token}`;
    this.used.set(id, used);
    this.arena.setUsed(id, used);
  }

  check(): void {
    const regions = this.arena.regions();
    expect(regions.map(({ id }) => id).sort()).toEqual([...this.used.keys()].sort());
    let end = 0;
    let largestGap = 0;
    for (const { id, start, slots } of regions) {
      expect(start).toBeGreaterThanOrEqual(end);
      expect(start % this.arena.granularity).toBe(0);
      expect(slots % this.arena.granularity).toBe(0);
      expect(this.arena.region(id)).toEqual({ start, slots });
      largestGap = Math.max(largestGap, start - end);
      end = start + slots;
      const used = this.used.get(id) ?? 0;
      expect(this.contents.slice(start, start + used)).toEqual(
        Array.from({ length: used }, (_, token) => `${id}:${token}`),
      );
    }
    expect(end).toBeLessThanOrEqual(this.arena.slots);
    expect(this.arena.largestGapSlots).toBe(Math.max(largestGap, this.arena.slots - end));
    expect(this.arena.freeSlots).toBe(regions.reduce((free, { slots }) => free - slots, this.arena.slots));
  }
}

const ids = fc.integer({ min: 0, max: 7 });
const operation = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('allocate' as const),
      id: ids,
      slots: fc.integer({ min: 1, max: 24 }),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('grow' as const),
      id: ids,
      slots: fc.integer({ min: 1, max: 40 }),
    }),
  },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('fill' as const), id: ids, slots: fc.nat(40) }) },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant('release' as const), id: ids, slots: fc.constant(0) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant('compact' as const), id: ids, slots: fc.constant(0) }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('room' as const),
      id: ids,
      slots: fc.integer({ min: 1, max: 40 }),
    }),
  },
);
type Operation = typeof operation extends fc.Arbitrary<infer T> ? T : never;

function apply(model: ModelArena, { kind, id, slots }: Operation): void {
  const { arena } = model;
  if (kind === 'allocate') {
    if (arena.has(id)) return;
    const { largestGapSlots } = arena;
    const region = arena.allocate(id, slots);
    expect(region !== null).toBe(Math.ceil(slots / arena.granularity) * arena.granularity <= largestGapSlots);
    if (region === null) return;
    expect(region.slots).toBeGreaterThanOrEqual(slots);
    expect(region.slots).toBeLessThan(slots + arena.granularity);
    model.used.set(id, 0);
  } else if (kind === 'compact') {
    model.execute(arena.compact());
    expect(arena.largestGapSlots).toBe(arena.freeSlots);
    expect(arena.regions().reduce((end, { slots: size }) => end + size, 0)).toBe(
      arena.slots - arena.freeSlots,
    );
    expect(arena.compact()).toEqual([]);
  } else if (arena.has(id)) applyToRegion(model, kind, id, slots);
}

function applyToRegion(
  model: ModelArena,
  kind: 'grow' | 'fill' | 'release' | 'room',
  id: number,
  slots: number,
): void {
  const { arena } = model;
  const before = arena.region(id);
  switch (kind) {
    case 'grow': {
      const grown = arena.grow(id, slots);
      if (grown === null) {
        expect(arena.region(id)).toEqual(before);
        return;
      }
      model.execute(grown.copies);
      expect(grown.region).toEqual(arena.region(id));
      expect(grown.region.slots).toBeGreaterThanOrEqual(Math.max(slots, before.slots));
      return;
    }
    case 'fill':
      model.fill(id, Math.min(before.slots, Math.max(slots, model.used.get(id) ?? 0)));
      return;
    case 'release':
      arena.release(id);
      model.used.delete(id);
      return;
    case 'room': {
      if (arena.freeSlots < slots - before.slots) return;
      model.execute(arena.compact({ id, slots }));
      model.check();
      const grown = arena.grow(id, slots);
      expect(grown?.copies).toEqual([]);
      return;
    }
    default:
      kind satisfies never;
  }
}

describe('Arena', () => {
  it('keeps regions apart, aligned and their contents intact through any trace', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 90 }),
        fc.integer({ min: 1, max: 8 }),
        fc.array(operation, { maxLength: 60 }),
        (slots, granularity, operations) => {
          const model = new ModelArena(slots, granularity);
          for (const each of operations) {
            apply(model, each);
            model.check();
          }
          for (const id of model.used.keys()) model.arena.release(id);
          expect(model.arena.freeSlots).toBe(model.arena.slots);
          expect(model.arena.largestGapSlots).toBe(model.arena.slots);
        },
      ),
      { numRuns: 1500 },
    );
  });

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
      () => new Arena(-1),
      () => new Arena(256, 0),
    ])
      expect(misuse).toThrow(ButterflyError);
    expect(arena.regions()).toEqual([{ id: 1, start: 0, slots: 256 }]);
  });
});
