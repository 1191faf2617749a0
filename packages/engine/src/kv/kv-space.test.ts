import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { KvSpace, type Tenant } from './kv-space.js';
import { randomSource } from '../testing/fake-pipeline.js';
import { TokenList } from './token-list.js';

const granularity = 8;
const blockTokens = 4;
/** With this share of the slots free, no more prefixes than needed are dropped. */
const airyShare = 1 / 8;
/** Owners of one block that the prefix index compares. */
const candidatesMax = 8;
const garbage = -1;

interface Guest extends Tenant {
  readonly known: TokenList;
  regionId: number | null;
  cached: number;
}

interface Prefix {
  readonly tokens: readonly number[];
  readonly slots: number;
}

interface Match {
  readonly id: number;
  readonly tokens: number;
}

const coverage = {
  copied: 0,
  copiedFromRunning: 0,
  takenOver: 0,
  takenOverForRoom: 0,
  evicted: 0,
  evictedForGap: 0,
  refused: 0,
  moved: 0,
};

const guestOf = (tokens: readonly number[]): Guest => ({
  known: new TokenList(Int32Array.from(tokens)),
  regionId: null,
  cached: 0,
});

const tokensOf = ({ known }: Guest, length: number): number[] => [...known.slice(0, length)];

function commonPrefix(a: readonly number[], b: readonly number[]): number {
  const difference = a.findIndex((token, index) => token !== b[index]);
  return Math.min(difference === -1 ? a.length : difference, b.length);
}

/** The space beside an arena with real contents and a naive account of who must hold what. */
class ModelSpace {
  readonly space: KvSpace;
  readonly guests = new Set<Guest>();
  readonly #contents: number[];
  /** Prefixes by region, least recently used first. */
  readonly #retained = new Map<number, Prefix>();
  /** When each region was last said to hold something. */
  readonly #recency = new Map<number, number>();
  #said = 0;

  constructor(slots: number) {
    this.space = new KvSpace(slots, granularity, blockTokens);
    this.#contents = new Array<number>(slots).fill(garbage);
  }

  enter(guest: Guest): void {
    const slots = guest.known.length + 1;
    const isRoom = slots <= this.#availableSlots();
    const match = this.#match(guest);
    const prediction = isRoom && match ? this.#useOf(match, slots) : 'new';
    const free = isRoom ? this.#predict(prediction, match, slots) : Infinity;
    const cached = this.space.enter(guest, slots);
    this.#settle(free, prediction === 'copied' ? (match?.id ?? null) : null);
    if (!isRoom) coverage.refused += 1;
    expect(cached).toBe(isRoom ? (match?.tokens ?? 0) : null);
    expect(guest.regionId === null).toBe(!isRoom);
    if (cached === null || guest.regionId === null) return;
    expect(guest.regionId === match?.id).toBe(prediction === 'takenOver');
    expect(this.space.region(guest).slots).toBe(Math.ceil(slots / granularity) * granularity);
    guest.cached = cached;
    this.guests.add(guest);
    if (cached > 0) this.#say(guest.regionId);
  }

  /** Lets a step compute known tokens and guesses, as far as others need not leave for it. */
  compute(guest: Guest, rows: number, guesses: number): void {
    const end = Math.min(guest.known.length, guest.cached + rows);
    const held = this.space.region(guest).slots;
    const isRoom = end + guesses <= held + this.#availableSlots();
    const free = isRoom ? this.#evict(end + guesses - held) : Infinity;
    const { start } = this.space.region(guest);
    expect(this.space.grow(guest, end + guesses)).toBe(isRoom);
    this.#settle(free, null);
    if (!isRoom) return;
    if (start !== this.space.region(guest).start) coverage.moved += 1;
    this.runCopies();
    for (let position = guest.cached; position < end + guesses; position += 1)
      this.#contents[this.space.region(guest).start + position] =
        position < end ? guest.known.at(position) : garbage;
    guest.cached = end;
    this.space.advance(guest, end, end + guesses);
    this.#say(guest.regionId);
  }

  leave(guest: Guest): void {
    const { regionId } = guest;
    if (regionId === null) return;
    this.space.leave(guest, guest.cached);
    this.guests.delete(guest);
    this.#recency.delete(regionId);
    if (guest.cached < blockTokens) return;
    const slots = Math.ceil(guest.cached / granularity) * granularity;
    this.#retained.set(regionId, { tokens: tokensOf(guest, guest.cached), slots });
    this.#say(regionId);
  }

  /** Executes the copies decided so far the way a stage does. */
  runCopies(): void {
    for (const { fromSlot, toSlot, slots } of this.space.takeCopies())
      this.#contents.splice(toSlot, slots, ...this.#contents.slice(fromSlot, fromSlot + slots));
  }

  check(): void {
    const regions = [...this.guests]
      .map((guest) => this.space.region(guest))
      .sort((a, b) => a.start - b.start);
    let end = 0;
    for (const { start, slots } of regions) {
      expect(start).toBeGreaterThanOrEqual(end);
      expect([start % granularity, slots % granularity]).toEqual([0, 0]);
      end = start + slots;
    }
    expect(end).toBeLessThanOrEqual(this.#contents.length);
    expect(this.space.availableSlots).toBe(this.#availableSlots());
    expect(this.space.retainedSlots).toBe(this.#retainedSlots());
    // No prefix is lost: what was left behind and not dropped is found, all of it.
    for (const { tokens } of this.#retained.values()) {
      const asked = guestOf([...tokens, 99]);
      expect(this.space.longestPrefix(asked)).toBe(this.#match(asked)?.tokens);
      expect(this.space.longestPrefix(asked)).toBeGreaterThan(tokens.length - blockTokens);
    }
  }

  /** What is taken for cached must be there. */
  checkContents(): void {
    this.runCopies();
    for (const guest of this.guests) {
      const { start } = this.space.region(guest);
      expect(this.#contents.slice(start, start + guest.cached)).toEqual(tokensOf(guest, guest.cached));
    }
  }

  #say(regionId: number | null): void {
    this.#said += 1;
    if (regionId !== null) this.#recency.set(regionId, this.#said);
  }

  /** The longest cached prefix of whoever it is, and of equals the one said last. */
  #match(guest: Guest): Match | null {
    const owners = [
      ...[...this.guests].map((each) => [each.regionId ?? -1, tokensOf(each, each.cached)] as const),
      ...[...this.#retained].map(([id, { tokens }]) => [id, tokens] as const),
    ].filter(([id]) => this.#recency.has(id));
    const wanted = tokensOf(guest, guest.known.length - 1);
    const matches = owners.map(([id, tokens]) => ({ id, tokens: commonPrefix(wanted, tokens) }));
    const blocks = Math.max(...matches.map(({ tokens }) => Math.floor(tokens / blockTokens)));
    const said = ({ id }: Match): number => this.#recency.get(id) ?? 0;
    const [best] = matches
      .filter(({ tokens }) => Math.floor(tokens / blockTokens) === blocks)
      .sort((a, b) => said(b) - said(a))
      .slice(0, candidatesMax)
      .sort((a, b) => b.tokens - a.tokens);
    return best !== undefined && blocks > 0 ? best : null;
  }

  #useOf({ id, tokens }: Match, slots: number): 'copied' | 'takenOver' {
    const prefix = this.#retained.get(id);
    if (prefix === undefined) {
      coverage.copiedFromRunning += 1;
      return 'copied';
    }
    if (prefix.tokens.length - tokens < blockTokens) {
      coverage.takenOver += 1;
      return 'takenOver';
    }
    const isRoom = slots <= this.#availableSlots() - prefix.slots;
    coverage[isRoom ? 'copied' : 'takenOverForRoom'] += 1;
    return isRoom ? 'copied' : 'takenOver';
  }

  /** Drops what must make way, and returns the slots that are free then. */
  #predict(use: 'new' | 'copied' | 'takenOver', match: Match | null, slots: number): number {
    const prefix = match && this.#retained.get(match.id);
    if (!match || !prefix) return this.#evict(slots);
    this.#retained.delete(match.id);
    if (use === 'takenOver') {
      const held = Math.min(prefix.slots, Math.ceil(slots / granularity) * granularity);
      return this.#evict(slots - held, held);
    }
    this.#retained.set(match.id, prefix);
    return this.#evict(slots, 0, match.id);
  }

  /** Least recently used first, until so many slots are free beside those taken over; returns how many are. */
  #evict(slots: number, takenSlots = 0, keptId: number | null = null): number {
    let free = this.#freeSlots() - takenSlots;
    for (const [id, prefix] of [...this.#retained]) {
      if (free >= slots) break;
      if (id === keptId) continue;
      this.#drop(id);
      free += prefix.slots;
      coverage.evicted += 1;
    }
    return free;
  }

  #drop(id: number): void {
    this.#retained.delete(id);
    this.#recency.delete(id);
  }

  /** More may have been dropped for want of a gap: the next ones in order, and none when much was free already. */
  #settle(freeBefore: number, keptId: number | null): void {
    let free = freeBefore;
    for (const [id, { slots }] of [...this.#retained]) {
      if (this.#retainedSlots() <= this.space.retainedSlots) return;
      if (id === keptId) continue;
      expect(free).toBeLessThan(this.#contents.length * airyShare);
      free += slots;
      this.#drop(id);
      coverage.evictedForGap += 1;
    }
  }

  #availableSlots(): number {
    return this.#freeSlots() + this.#retainedSlots();
  }

  #freeSlots(): number {
    let free = this.#contents.length - this.#retainedSlots();
    for (const guest of this.guests) free -= this.space.region(guest).slots;
    return free;
  }

  #retainedSlots(): number {
    return [...this.#retained.values()].reduce((sum, { slots }) => sum + slots, 0);
  }
}

function runTrace(seed: number): void {
  const random = randomSource(seed);
  const model = new ModelSpace(granularity * random.between(6, 24));
  for (let action = 0; action < 60; action += 1) {
    const guests = [...model.guests];
    const guest = guests[random.below(Math.max(1, guests.length))];
    const kind = random.below(10);
    if (guest === undefined || (kind < 2 && guests.length < 5)) {
      const [topic, shared, length] = [random.below(2), random.below(24), random.between(1, 40)];
      model.enter(
        guestOf(Array.from({ length }, (_, index) => (index < shared ? topic : random.between(2, 9)))),
      );
    } else if (kind < 6) model.compute(guest, random.between(1, 16), random.below(3));
    else if (kind < 8)
      for (let more = random.between(1, 6); more > 0; more -= 1) guest.known.push(random.below(3));
    else model.leave(guest);
    model.check();
    if (random.below(3) === 0) model.checkContents();
  }
  model.checkContents();
}

describe('KvSpace', () => {
  it('keeps what is cached where it says, and drops the least recently used prefixes as needed, on any trace', () => {
    fc.assert(fc.property(fc.integer({ min: 0, max: 1e9 }), runTrace), { numRuns: 300 });
    for (const [what, times] of Object.entries(coverage)) expect(times, what).toBeGreaterThan(10);
  });

  it('gives the next turn of a chat the region of the last one, without a copy', () => {
    const space = new KvSpace(64, 8, 4);
    const first = guestOf([1, 2, 3, 4, 5, 6, 7]);
    space.enter(first, 8);
    const { regionId } = first;
    space.advance(first, 7, 7);
    space.leave(first, 7);
    const second = guestOf([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    expect(space.enter(second, 11)).toBe(7);
    expect([second.regionId, space.region(second).slots, space.takeCopies()]).toEqual([regionId, 16, []]);
    expect(space.retainedSlots).toBe(0);
  });

  it('copies from one that still runs, and leaves a token to compute', () => {
    const space = new KvSpace(64, 8, 4);
    const first = guestOf([1, 2, 3, 4, 5, 6, 7, 8]);
    space.enter(first, 9);
    space.advance(first, 8, 8);
    const second = guestOf([1, 2, 3, 4, 5, 6, 7, 8]);
    expect(space.enter(second, 9)).toBe(7);
    expect(space.takeCopies()).toEqual([{ fromSlot: 0, toSlot: 16, slots: 7 }]);
  });

  it('gives back what a newcomer does not need of the region that it takes over for want of room', () => {
    const space = new KvSpace(64, 8, 4);
    const long = guestOf(Array.from({ length: 40 }, (_, index) => index));
    space.enter(long, 40);
    space.advance(long, 40, 40);
    space.leave(long, 40);
    expect(space.enter(guestOf([99]), 16)).toBe(0);
    const short = guestOf([0, 1, 2, 3, 99]);
    expect(space.enter(short, 16)).toBe(4);
    expect(space.region(short).slots).toBe(16);
    expect([space.retainedSlots, space.availableSlots]).toEqual([0, 32]);
  });

  it('keeps nothing of less than a block, and drops nothing in vain', () => {
    const space = new KvSpace(32, 8, 4);
    const short = guestOf([1, 2, 3]);
    space.enter(short, 4);
    space.advance(short, 3, 3);
    space.leave(short, 3);
    expect(space.retainedSlots).toBe(0);
    const left = guestOf([1, 2, 3, 4, 5]);
    space.enter(left, 6);
    space.advance(left, 5, 5);
    space.leave(left, 5);
    expect(space.enter(guestOf([9]), 33)).toBeNull();
    const grower = guestOf([9]);
    expect(space.enter(grower, 2)).toBe(0);
    expect(space.grow(grower, 33)).toBe(false);
    expect([space.retainedSlots, space.availableSlots]).toEqual([8, 24]);
  });
});
