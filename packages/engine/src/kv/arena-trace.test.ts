import type { ArenaCopy } from '@butterfly/wire';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Arena } from './arena.js';

/** An arena with real contents, that knows which tokens each sequence must find. */
class ModelArena {
  readonly arena: Arena;
  readonly contents: string[];
  /** What must be cached for each sequence. */
  readonly cached = new Map<number, string[]>();
  #tokens = 0;

  constructor(slots: number, granularity: number) {
    this.arena = new Arena(slots, granularity);
    this.contents = new Array<string>(this.arena.slots).fill('garbage');
  }

  cachedOf(id: number): string[] {
    return this.cached.get(id) ?? [];
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

  /** Caches new tokens of the sequence up to `used`, or forgets those behind it. */
  fill(id: number, used: number): void {
    const { start } = this.arena.region(id);
    const tokens = this.cachedOf(id).slice(0, used);
    while (tokens.length < used) {
      this.#tokens += 1;
      const token = `${id}:${this.#tokens}`;
      this.contents[start + tokens.length] = token;
      tokens.push(token);
    }
    this.cached.set(id, tokens);
    this.arena.setUsed(id, used);
  }

  check(): void {
    const regions = this.arena.regions();
    expect(regions.map(({ id }) => id).sort()).toEqual([...this.cached.keys()].sort());
    let end = 0;
    let largestGap = 0;
    for (const { id, start, slots } of regions) {
      expect(start).toBeGreaterThanOrEqual(end);
      expect(start % this.arena.granularity).toBe(0);
      expect(slots % this.arena.granularity).toBe(0);
      expect(this.arena.region(id)).toEqual({ start, slots });
      largestGap = Math.max(largestGap, start - end);
      end = start + slots;
      const tokens = this.cachedOf(id);
      expect(tokens.length).toBeLessThanOrEqual(slots);
      expect(this.contents.slice(start, start + tokens.length)).toEqual(tokens);
    }
    expect(end).toBeLessThanOrEqual(this.arena.slots);
    expect(this.arena.largestGapSlots).toBe(Math.max(largestGap, this.arena.slots - end));
    expect(this.arena.freeSlots).toBe(regions.reduce((free, { slots }) => free - slots, this.arena.slots));
  }

  /** Runs a compaction and checks its bound. */
  compact(room?: { id?: number; slots: number }): ArenaCopy[] {
    const copies = this.arena.compact(room);
    expect(copies.length).toBeLessThanOrEqual(this.arena.compactionCopiesMax);
    this.execute(copies);
    return copies;
  }

  /**
   * The fewest used slots that must move so that neighbouring gaps become one of `slots`; found the long way. With
   * `behind`, the gap behind this region is one of them.
   */
  cheapestGap(slots: number, behind?: number): number {
    const regions = this.arena.regions();
    const pivot = behind === undefined ? null : regions.findIndex(({ id }) => id === behind) + 1;
    let best = Infinity;
    for (let first = 0; first <= (pivot ?? regions.length); first += 1)
      for (let last = Math.max(first, pivot ?? 0); last <= regions.length; last += 1) {
        const before = regions[first - 1];
        const begin = before === undefined ? 0 : before.start + before.slots;
        const between = regions.slice(first, last);
        const span = (regions[last]?.start ?? this.arena.slots) - begin;
        if (span - sum(between.map((region) => region.slots)) < slots) continue;
        best = Math.min(best, sum(between.map(({ id }) => this.cachedOf(id).length)));
      }
    return best;
  }
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

const kinds = [
  'allocate',
  'grow',
  'fill',
  'release',
  'shrink',
  'copy',
  'compact',
  'gap',
  'room',
  'room',
  'room',
] as const;
const operation = fc.record({
  kind: fc.constantFrom(...kinds, 'allocate', 'grow', 'fill', 'allocate', 'grow', 'fill', 'copy'),
  id: fc.nat(11),
  otherId: fc.nat(11),
  slots: fc.integer({ min: 1, max: 40 }),
});
type Operation = typeof operation extends fc.Arbitrary<infer T> ? T : never;

function apply(model: ModelArena, { kind, id, otherId, slots }: Operation): void {
  const { arena } = model;
  switch (kind) {
    case 'allocate':
      if (!arena.has(id)) allocate(model, id, Math.ceil(slots / 4));
      return;
    case 'compact':
      model.compact();
      expect(arena.largestGapSlots).toBe(arena.freeSlots);
      expect(arena.regions().at(-1)?.start ?? 0).toBeLessThanOrEqual(arena.slots - arena.freeSlots);
      expect(arena.compact()).toEqual([]);
      return;
    case 'gap':
      if (slots <= arena.freeSlots) makeGap(model, Math.ceil(slots / arena.granularity) * arena.granularity);
      return;
    case 'copy':
      if (arena.has(id)) applyToTwo(model, id, otherId, slots);
      return;
    case 'grow':
    case 'fill':
    case 'release':
    case 'shrink':
    case 'room':
      if (arena.has(id)) applyToRegion(model, kind, id, slots);
      return;
    default:
      kind satisfies never;
  }
}

function allocate(model: ModelArena, id: number, slots: number): void {
  const { arena } = model;
  const { largestGapSlots } = arena;
  const region = arena.allocate(id, slots);
  expect(region !== null).toBe(Math.ceil(slots / arena.granularity) * arena.granularity <= largestGapSlots);
  if (region === null) return;
  expect(region.slots).toBeGreaterThanOrEqual(slots);
  expect(region.slots).toBeLessThan(slots + arena.granularity);
  model.cached.set(id, []);
}

function makeGap(model: ModelArena, slots: number): void {
  const { arena } = model;
  const cheapest = model.cheapestGap(slots);
  const copied = sum(model.compact({ slots }).map((copy) => copy.slots));
  expect(copied).toBe(cheapest);
  expect(arena.largestGapSlots).toBeGreaterThanOrEqual(slots);
  expect(arena.compact({ slots })).toEqual([]);
}

function applyToTwo(model: ModelArena, id: number, otherId: number, slots: number): void {
  const { arena } = model;
  if (!arena.has(otherId) || otherId === id) return;
  const cached = model.cachedOf(id);
  const count = Math.min(slots, cached.length, arena.region(otherId).slots);
  const copies = arena.copyPrefix(id, otherId, count);
  expect(copies).toHaveLength(count === 0 ? 0 : 1);
  model.execute(copies);
  model.cached.set(otherId, [...cached.slice(0, count), ...model.cachedOf(otherId).slice(count)]);
}

function applyToRegion(
  model: ModelArena,
  kind: 'grow' | 'fill' | 'release' | 'shrink' | 'room',
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
      expect(grown.copies.length).toBeLessThanOrEqual(1);
      model.execute(grown.copies);
      expect(grown.region).toEqual(arena.region(id));
      expect(grown.region.slots).toBeGreaterThanOrEqual(Math.max(slots, before.slots));
      return;
    }
    case 'fill':
      model.fill(id, Math.min(before.slots, slots));
      return;
    case 'release':
      arena.release(id);
      model.cached.delete(id);
      return;
    case 'shrink': {
      const kept = Math.max(slots, model.cachedOf(id).length);
      const expected = Math.min(before.slots, Math.ceil(kept / arena.granularity) * arena.granularity);
      expect(arena.shrink(id, slots)).toEqual({ start: before.start, slots: expected });
      return;
    }
    case 'room': {
      if (arena.freeSlots < slots - before.slots) return;
      const lacking = Math.ceil(slots / arena.granularity) * arena.granularity - before.slots;
      const cheapest = model.cheapestGap(Math.max(0, lacking), id);
      expect(sum(model.compact({ id, slots }).map((copy) => copy.slots))).toBe(cheapest);
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
        fc.array(operation, { maxLength: 80 }),
        (slots, granularity, operations) => {
          const model = new ModelArena(slots, granularity);
          for (const each of operations) {
            apply(model, each);
            model.check();
          }
          for (const id of model.cached.keys()) model.arena.release(id);
          expect(model.arena.freeSlots).toBe(model.arena.slots);
          expect(model.arena.largestGapSlots).toBe(model.arena.slots);
        },
      ),
      { numRuns: 1500 },
    );
  });
});
