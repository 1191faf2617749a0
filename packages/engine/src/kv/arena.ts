import { ButterflyError } from '@butterfly/common';
import type { ArenaCopy } from '@butterfly/wire';

/** A stretch of the arena that belongs to one sequence, in slots. */
export interface Region {
  readonly start: number;
  readonly slots: number;
}

interface Entry {
  id: number;
  start: number;
  slots: number;
  /** Slots from the start that hold cached tokens; only they are worth copying. */
  used: number;
}

/** Neighbouring gaps, by the index of the region behind each; the regions between the outer two are those to move. */
interface GapRun {
  readonly first: number;
  readonly last: number;
}

/**
 * Decides where each sequence's cached tokens lie. One slot is one token in every layer, and the layout is the
 * same in every stage, so this one allocator speaks for all of them; it moves no bytes itself.
 *
 * Whatever moves is returned as copies. Executed one after the other, in order, they keep every used prefix:
 * source and target of one copy never overlap (a short slide is split into several copies), and no copy writes
 * over what a later one still reads.
 */
export class Arena {
  /** Capacity: what was asked for, rounded down to the granularity. */
  readonly slots: number;
  readonly #byId = new Map<number, Entry>();
  /** The same entries, ordered by start. */
  readonly #entries: Entry[] = [];
  #freeSlots: number;

  /** Regions start and end on multiples of `granularity` slots. */
  constructor(
    slots: number,
    readonly granularity = 256,
  ) {
    if (!Number.isSafeInteger(granularity) || granularity < 1)
      throw defect(`granularity ${granularity} is not a positive integer`);
    if (!Number.isSafeInteger(slots) || slots < 0) throw defect(`${slots} slots are not a size`);
    this.slots = slots - (slots % granularity);
    this.#freeSlots = this.slots;
  }

  /** A new region of at least `slots` in the smallest gap that holds it, or null when none does. */
  allocate(id: number, slots: number): Region | null {
    this.#refuseOwner(id);
    const size = this.#rounded(slots);
    const start = this.#bestGap(size);
    if (start === null) return null;
    const entry = { id, start, slots: size, used: 0 };
    this.#byId.set(id, entry);
    this.#insert(entry);
    this.#freeSlots -= size;
    return { start, slots: size };
  }

  /**
   * Makes the region at least `slots` large: in place where the gap behind it allows, else by a move into another
   * gap, which is at most one copy. Null, and nothing changed, when neither is possible; `compact` with room may
   * then help.
   */
  grow(id: number, slots: number): { readonly region: Region; readonly copies: ArenaCopy[] } | null {
    const entry = this.#entry(id);
    const size = Math.max(entry.slots, this.#rounded(slots));
    const index = this.#indexFrom(entry.start);
    const copies: ArenaCopy[] = [];
    if (entry.start + size > this.#startAt(index + 1)) {
      const start = this.#bestGap(size);
      if (start === null) return null;
      slide(copies, entry.start, start, entry.used);
      this.#entries.splice(index, 1);
      entry.start = start;
      this.#insert(entry);
    }
    this.#resize(entry, size);
    return { region: { start: entry.start, slots: size }, copies };
  }

  /**
   * Gives back the end of the region. At least `slots` stay, all that are used, and one granule. Never grows the
   * region.
   */
  shrink(id: number, slots: number): Region {
    const entry = this.#entry(id);
    if (!Number.isSafeInteger(slots) || slots < 0) throw defect(`${slots} slots cannot stay`);
    const size = this.#rounded(Math.max(1, slots, entry.used));
    if (size < entry.slots) this.#resize(entry, size);
    return { start: entry.start, slots: entry.slots };
  }

  /** Says how many slots of the region hold cached tokens (or will, once the steps sent so far have run). */
  setUsed(id: number, slots: number): void {
    const entry = this.#entry(id);
    if (!Number.isSafeInteger(slots) || slots < 0 || slots > entry.slots)
      throw defect(`${slots} used slots do not fit the ${entry.slots} of sequence ${id}`);
    entry.used = slots;
  }

  /**
   * Puts the first `slots` used slots of one region at the start of another, where at least they are used then.
   * At most one copy.
   */
  copyPrefix(fromId: number, toId: number, slots: number): ArenaCopy[] {
    const from = this.#entry(fromId);
    const to = this.#entry(toId);
    if (from === to) throw defect(`sequence ${fromId} cannot copy from itself`);
    if (!Number.isSafeInteger(slots) || slots < 0 || slots > Math.min(from.used, to.slots))
      throw defect(`${slots} slots do not fit ${from.used} used ones or the ${to.slots} of sequence ${toId}`);
    to.used = Math.max(to.used, slots);
    // Each of the two regions holds as many slots, so they are at least that far apart.
    const copies: ArenaCopy[] = [];
    slide(copies, from.start, to.start, slots);
    return copies;
  }

  release(id: number): void {
    const entry = this.#entry(id);
    this.#entries.splice(this.#indexFrom(entry.start), 1);
    this.#byId.delete(id);
    this.#freeSlots += entry.slots;
  }

  /**
   * Moves regions, in their order, so that free slots come together. Without `room` all move toward 0, so that one
   * gap remains, at the end. With `room` the fewest used slots move that leave one gap of `room.slots`, or, with an
   * id, that let this region `grow` to `room.slots` in place. Returns no more than `compactionCopiesMax` copies.
   */
  compact(room?: { readonly id?: number; readonly slots: number }): ArenaCopy[] {
    const end = this.#entries.length;
    if (room === undefined) return this.#gather({ first: 0, last: end }, end);
    const size = this.#rounded(room.slots);
    if (room.id === undefined) {
      const run = this.#cheapestRun(size);
      return this.#gather(run, run.last);
    }
    const entry = this.#entry(room.id);
    const behind = this.#indexFrom(entry.start) + 1;
    return this.#gather(this.#cheapestRun(Math.max(0, size - entry.slots), behind), behind);
  }

  /**
   * The most copies that one compaction returns. A region moves by whole granules, so each copy but its last covers at
   * least one granule of it; and one granule must be free, or nothing moves. 65,535 for 2^24 slots in blocks of 256.
   */
  get compactionCopiesMax(): number {
    return Math.max(0, this.slots / this.granularity - 1);
  }

  has(id: number): boolean {
    return this.#byId.has(id);
  }

  /** Where the sequence lies now. Throws when it has no region. */
  region(id: number): Region {
    const { start, slots } = this.#entry(id);
    return { start, slots };
  }

  /** All regions, ordered by start. */
  regions(): (Region & { readonly id: number })[] {
    return this.#entries.map(({ id, start, slots }) => ({ id, start, slots }));
  }

  get freeSlots(): number {
    return this.#freeSlots;
  }

  get largestGapSlots(): number {
    return this.#gaps().reduce((largest, gap) => Math.max(largest, gap), 0);
  }

  /** Start of the smallest gap that holds `size`, the lowest of equals. */
  #bestGap(size: number): number | null {
    if (size > this.#freeSlots) return null;
    let best: number | null = null;
    let bestSlots = Infinity;
    let end = 0;
    for (const { start, slots } of this.#entries) {
      const gap = start - end;
      if (gap >= size && gap < bestSlots) {
        if (gap === size) return end;
        best = end;
        bestSlots = gap;
      }
      end = start + slots;
    }
    const tail = this.slots - end;
    return tail >= size && tail < bestSlots ? end : best;
  }

  /** The gaps that together hold `slots` with the fewest used slots between them; the one at `pivot` is among them. */
  #cheapestRun(slots: number, pivot?: number): GapRun {
    if (slots > this.#freeSlots) throw defect(`${slots} more slots are not free`);
    const gaps = this.#gaps();
    let best: GapRun = { first: 0, last: this.#entries.length };
    let bestCost = Infinity;
    let [first, sum, cost] = [0, 0, 0];
    for (const [last, gap] of gaps.entries()) {
      sum += gap;
      cost += this.#entries[last - 1]?.used ?? 0;
      for (let foremost = gaps[first] ?? 0; sum - foremost >= slots; foremost = gaps[first] ?? 0) {
        if (first === last || first === pivot) break;
        sum -= foremost;
        cost -= this.#entries[first]?.used ?? 0;
        first += 1;
      }
      if (sum < slots || cost >= bestCost || last < (pivot ?? 0)) continue;
      best = { first, last };
      bestCost = cost;
    }
    return best;
  }

  /** Brings the gaps of the run together before the region at `pivot`: those below it go down, the others up. */
  #gather({ first, last }: GapRun, pivot: number): ArenaCopy[] {
    const copies: ArenaCopy[] = [];
    const move = (entry: Entry, to: number): void => {
      slide(copies, entry.start, to, entry.used);
      entry.start = to;
    };
    // The order of regions stays, so a target can only lie over the old place of a neighbour that moves the same
    // way: that neighbour must go first.
    let end = this.#endBefore(first);
    for (const entry of this.#entries.slice(first, pivot)) {
      move(entry, end);
      end += entry.slots;
    }
    let start = this.#startAt(last);
    for (const entry of this.#entries.slice(pivot, last).reverse()) {
      start -= entry.slots;
      move(entry, start);
    }
    return copies;
  }

  /** Free slots before each region, and behind the last one. */
  #gaps(): number[] {
    let end = 0;
    const gaps = this.#entries.map(({ start, slots }) => {
      const gap = start - end;
      end = start + slots;
      return gap;
    });
    gaps.push(this.slots - end);
    return gaps;
  }

  #startAt(index: number): number {
    return this.#entries[index]?.start ?? this.slots;
  }

  #endBefore(index: number): number {
    const entry = this.#entries[index - 1];
    return entry === undefined ? 0 : entry.start + entry.slots;
  }

  /** Index of the first region that starts at or behind `start`. */
  #indexFrom(start: number): number {
    let [low, high] = [0, this.#entries.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#startAt(middle) < start) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #insert(entry: Entry): void {
    this.#entries.splice(this.#indexFrom(entry.start), 0, entry);
  }

  #resize(entry: Entry, slots: number): void {
    this.#freeSlots -= slots - entry.slots;
    entry.slots = slots;
  }

  #entry(id: number): Entry {
    const entry = this.#byId.get(id);
    if (entry === undefined) throw defect(`sequence ${id} has no region`);
    return entry;
  }

  #refuseOwner(id: number): void {
    if (this.#byId.has(id)) throw defect(`sequence ${id} has a region already`);
  }

  #rounded(slots: number): number {
    if (!Number.isSafeInteger(slots) || slots < 1) throw defect(`a region of ${slots} slots is not possible`);
    return Math.ceil(slots / this.granularity) * this.granularity;
  }
}

/** Adds copies that move `slots` slots by pieces no longer than the distance, starting at the end that moves ahead. */
function slide(copies: ArenaCopy[], from: number, to: number, slots: number): void {
  const piece = Math.abs(from - to);
  if (piece === 0) return;
  for (let done = 0; done < slots; done += piece) {
    const length = Math.min(piece, slots - done);
    const offset = to < from ? done : slots - done - length;
    copies.push({ fromSlot: from + offset, toSlot: to + offset, slots: length });
  }
}

function defect(message: string): ButterflyError {
  return new ButterflyError('INTERNAL', `KV arena: ${message}; this is a defect, please report it.`);
}
