import { ButterflyError } from '@butterfly/common';
import type { ArenaCopy } from '@butterfly/common';

/** A stretch of the arena that belongs to one sequence, in slots. */
export interface Region {
  readonly start: number;
  readonly slots: number;
}

interface Entry {
  readonly id: number;
  start: number;
  slots: number;
  /** Slots from the start that hold cached tokens; only they are worth copying. */
  used: number;
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

  /** Regions start and end on multiples of `granularity` slots. */
  constructor(
    slots: number,
    readonly granularity = 256,
  ) {
    if (!Number.isSafeInteger(granularity) || granularity < 1)
      throw defect(`granularity ${granularity} is not a positive integer`);
    if (!Number.isSafeInteger(slots) || slots < 0) throw defect(`${slots} slots are not a size`);
    this.slots = slots - (slots % granularity);
  }

  /** A new region of at least `slots` in the smallest gap that holds it, or null when none does. */
  allocate(id: number, slots: number): Region | null {
    if (this.#byId.has(id)) throw defect(`sequence ${id} has a region already`);
    const size = this.#rounded(slots);
    const start = this.#bestGap(size);
    if (start === null) return null;
    const entry = { id, start, slots: size, used: 0 };
    this.#byId.set(id, entry);
    this.#insert(entry);
    return { start, slots: size };
  }

  /**
   * Makes the region at least `slots` large: in place where the gap behind it allows, else by a move into another
   * gap. Null, and nothing changed, when neither is possible; `compact` with room may then help.
   */
  grow(id: number, slots: number): { readonly region: Region; readonly copies: ArenaCopy[] } | null {
    const entry = this.#entry(id);
    const size = Math.max(entry.slots, this.#rounded(slots));
    const index = this.#entries.indexOf(entry);
    const end = this.#entries[index + 1]?.start ?? this.slots;
    let copies: ArenaCopy[] = [];
    if (entry.start + size > end) {
      const start = this.#bestGap(size);
      if (start === null) return null;
      copies = slide(entry.start, start, entry.used);
      this.#entries.splice(index, 1);
      entry.start = start;
      this.#insert(entry);
    }
    entry.slots = size;
    return { region: { start: entry.start, slots: size }, copies };
  }

  /** Says how many slots of the region hold cached tokens (or will, once the steps sent so far have run). */
  setUsed(id: number, slots: number): void {
    const entry = this.#entry(id);
    if (!Number.isSafeInteger(slots) || slots < 0 || slots > entry.slots)
      throw defect(`${slots} used slots do not fit the ${entry.slots} of sequence ${id}`);
    entry.used = slots;
  }

  release(id: number): void {
    this.#entries.splice(this.#entries.indexOf(this.#entry(id)), 1);
    this.#byId.delete(id);
  }

  /**
   * Moves all regions toward 0 in their order, so that one gap remains, at the end. With `room`, as much of the
   * gap as region `id` lacks lies behind that region instead, so that it can `grow` to `slots` in place.
   */
  compact(room?: { readonly id: number; readonly slots: number }): ArenaCopy[] {
    const extra = room ? Math.max(0, this.#rounded(room.slots) - this.#entry(room.id).slots) : 0;
    if (extra > this.freeSlots) throw defect(`${extra} more slots are not free`);
    let end = 0;
    const moves = this.#entries.map((entry) => {
      const move = { entry, from: entry.start, to: end };
      end += entry.slots + (entry.id === room?.id ? extra : 0);
      return move;
    });
    // The order of regions stays, so a target can only lie over the old place of a neighbour that moves the same
    // way: that neighbour must go first.
    const down = moves.filter((move) => move.to < move.from);
    const up = moves.filter((move) => move.to > move.from).reverse();
    const copies = [...down, ...up].flatMap((move) => slide(move.from, move.to, move.entry.used));
    for (const { entry, to } of moves) entry.start = to;
    return copies;
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
    return this.#entries.reduce((free, entry) => free - entry.slots, this.slots);
  }

  get largestGapSlots(): number {
    return this.#gaps().reduce((largest, gap) => Math.max(largest, gap.slots), 0);
  }

  #gaps(): Region[] {
    let end = 0;
    const gaps: Region[] = [];
    for (const next of [...this.#entries, { start: this.slots, slots: 0 }]) {
      if (next.start > end) gaps.push({ start: end, slots: next.start - end });
      end = next.start + next.slots;
    }
    return gaps;
  }

  #bestGap(size: number): number | null {
    let best: Region | null = null;
    for (const gap of this.#gaps())
      if (gap.slots >= size && (best === null || gap.slots < best.slots)) best = gap;
    return best === null ? null : best.start;
  }

  #insert(entry: Entry): void {
    const behind = this.#entries.findIndex((other) => other.start > entry.start);
    this.#entries.splice(behind === -1 ? this.#entries.length : behind, 0, entry);
  }

  #entry(id: number): Entry {
    const entry = this.#byId.get(id);
    if (entry === undefined) throw defect(`sequence ${id} has no region`);
    return entry;
  }

  #rounded(slots: number): number {
    if (!Number.isSafeInteger(slots) || slots < 1) throw defect(`a region of ${slots} slots is not possible`);
    return Math.ceil(slots / this.granularity) * this.granularity;
  }
}

/** Copies that move `slots` slots by pieces no longer than the distance, starting at the end that moves ahead. */
function slide(from: number, to: number, slots: number): ArenaCopy[] {
  const piece = Math.abs(from - to);
  const copies: ArenaCopy[] = [];
  for (let done = 0; done < slots; done += piece) {
    const length = Math.min(piece, slots - done);
    const offset = to < from ? done : slots - done - length;
    copies.push({ fromSlot: from + offset, toSlot: to + offset, slots: length });
  }
  return copies;
}

function defect(message: string): ButterflyError {
  return new ButterflyError('INTERNAL', `KV arena: ${message}; this is a defect, please report it.`);
}
