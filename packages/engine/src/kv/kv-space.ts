import { limits } from '@butterfly/common';
import type { ArenaCopy } from '@butterfly/wire';
import { Arena, type Region } from './arena.js';
import { PrefixIndex } from './prefix-index.js';
import type { Prefixes } from './prefixes.js';
import type { TokenReader } from './token-hash.js';

/** Whoever holds a region: the scheduler's sequence, as far as the space needs to know it. */
export interface Tenant {
  readonly known: TokenReader;
  /** Its region of the arena; null while it has none. */
  regionId: number | null;
}

/** What a compaction is to make possible: a new region, or the growth of one to so many slots. */
interface Room {
  readonly id?: number;
  readonly slots: number;
}

/** With this share of the arena free, gaps lie so close together that a compaction moves little. */
const airyShare = 1 / 8;

/**
 * The KV arena as sequences share it: who holds which region, and which cached prefixes of those that left are kept
 * until their place is needed, least recently used first. It moves no bytes itself; the copies that its decisions ask
 * for travel with the next step, and stages carry them out before they compute it.
 */
export class KvSpace {
  readonly #arena: Arena;
  readonly #airySlots: number;
  /** Length of the prefix that each tenant left behind, by region, least recently used first. */
  readonly #retained = new Map<number, number>();
  #retainedSlots = 0;
  #copies: ArenaCopy[] = [];
  #nextRegionId = 0;

  /**
   * Prefixes are worth finding from `blockTokens` on; a shorter one is computed anew as fast.
   * @param index finds them; by default they can be gone on from anywhere.
   */
  constructor(
    slots: number,
    granularity: number,
    private readonly blockTokens: number,
    private readonly index: Prefixes = new PrefixIndex(blockTokens),
  ) {
    this.#arena = new Arena(slots, granularity);
    this.#airySlots = slots * airyShare;
  }

  /** Slots that are free or can be made so at once. */
  get availableSlots(): number {
    return this.#arena.freeSlots + this.#retainedSlots;
  }

  /** Slots of prefixes that nobody runs on. */
  get retainedSlots(): number {
    return this.#retainedSlots;
  }

  region(tenant: Tenant): Region {
    return this.#arena.region(idOf(tenant));
  }

  /** Length of the longest cached prefix that the tenant could begin with. */
  longestPrefix({ known }: Tenant): number {
    return this.index.longest(known, known.length - 1)?.tokens ?? 0;
  }

  /**
   * Gives a region of at least `slots`, with the longest cached prefix of its first `prefixMax` known tokens in it; by
   * default one token is left to compute. Returns the length of that prefix, or null when there is no room.
   */
  enter(tenant: Tenant, slots: number, prefixMax = tenant.known.length - 1): number | null {
    if (slots > this.availableSlots) return null;
    const match = this.index.longest(tenant.known, prefixMax);
    if (match === null) {
      tenant.regionId = this.#fresh(slots, null);
      return tenant.regionId === null ? null : 0;
    }
    tenant.regionId = this.#copied(match.id, match.tokens, slots) ?? this.#takenOver(match, slots);
    if (tenant.regionId === null) return null;
    this.index.set(tenant.regionId, tenant.known, match.tokens);
    return match.tokens;
  }

  /** Makes the region at least `slots` large; false when others would have to leave for that. */
  grow(tenant: Tenant, slots: number): boolean {
    return this.#grow(idOf(tenant), slots);
  }

  /**
   * Says how many of its known tokens are cached once the steps made so far have run, and how many slots are worth
   * moving with it: guesses behind what is known may yet come true.
   */
  advance(tenant: Tenant, tokens: number, slots: number): void {
    const id = idOf(tenant);
    this.#arena.setUsed(id, slots);
    this.index.set(id, tenant.known, tokens);
  }

  /** The tenant leaves; of its first `tokens` known tokens, what others can go on from stays cached until its place is needed. */
  leave(tenant: Tenant, tokens: number): void {
    const id = idOf(tenant);
    const kept = this.index.worthKeeping(id, tokens);
    tenant.regionId = null;
    if (kept === 0) {
      this.#release(id);
      return;
    }
    this.#arena.setUsed(id, kept);
    this.#arena.shrink(id, kept);
    this.index.set(id, tenant.known, kept);
    this.#retained.set(id, kept);
    this.#retainedSlots += this.#arena.region(id).slots;
  }

  /**
   * Drops the cached prefixes that nobody runs on and that begin as these tokens do: if one of them is why what followed
   * went wrong, whoever shares it would fail for ever.
   */
  distrust(known: TokenReader): void {
    for (const id of this.index.sharing(known)) if (this.#unretain(id)) this.#release(id);
  }

  /** Gives up what of these retained prefixes nobody can go on from any more. */
  trim(ids: readonly number[]): void {
    for (const id of ids) {
      const length = this.#retained.get(id);
      if (length === undefined) continue;
      const kept = this.index.worthKeeping(id, length);
      if (kept === 0) {
        this.#unretain(id);
        this.#release(id);
        continue;
      }
      const { slots } = this.#arena.region(id);
      this.#arena.setUsed(id, kept);
      this.#retainedSlots -= slots - this.#arena.shrink(id, kept).slots;
      this.#retained.set(id, kept);
    }
  }

  /** Copies decided since the last call, in the order in which stages must carry them out. */
  takeCopies(): readonly ArenaCopy[] {
    const copies = this.#copies;
    this.#copies = [];
    return copies;
  }

  /** A new region with a copy of a prefix; null when only the end of that prefix is worth less than its place. */
  #copied(fromId: number, tokens: number, slots: number): number | null {
    const length = this.#retained.get(fromId);
    if (length !== undefined) {
      // Used now, so that it is the last to go.
      this.#retained.delete(fromId);
      this.#retained.set(fromId, length);
      // Nobody else will miss what goes on for less than a block: a chat that continues is the common case.
      if (length - tokens < this.blockTokens) return null;
    }
    const id = this.#fresh(slots, fromId);
    if (id !== null) this.#carry(this.#arena.copyPrefix(fromId, id, tokens));
    return id;
  }

  /** The region of a retained prefix itself, cut to what is shared and made as large as asked for. */
  #takenOver({ id, tokens }: { readonly id: number; readonly tokens: number }, slots: number): number | null {
    if (!this.#unretain(id)) return null;
    this.#arena.setUsed(id, tokens);
    this.#arena.shrink(id, slots);
    if (this.#grow(id, slots)) return id;
    this.#release(id);
    return null;
  }

  /** An empty region; retained prefixes but for `keptId` make way. */
  #fresh(slots: number, keptId: number | null): number | null {
    if (!this.#free(slots, keptId)) return null;
    const id = this.#nextRegionId++;
    return this.#fitted(() => this.#arena.allocate(id, slots), { slots }, keptId) === null ? null : id;
  }

  #grow(id: number, slots: number): boolean {
    const held = this.#arena.region(id).slots;
    if (held >= slots) return true;
    if (!this.#free(slots - held, null)) return false;
    const grown = this.#fitted(() => this.#arena.grow(id, slots), { id, slots }, null);
    this.#carry(grown?.copies ?? []);
    return grown !== null;
  }

  /**
   * Tries, until there is a gap. An arena full of prefixes has nothing but single granules free, anywhere: to bring some
   * together would move half of it, so some more prefixes go first.
   */
  #fitted<T>(attempt: () => T | null, room: Room, keptId: number | null): T | null {
    let result = attempt();
    while (result === null && this.#arena.freeSlots < this.#airySlots && this.#dropOldest(keptId))
      result = attempt();
    return result ?? (this.#compact(room) ? attempt() : null);
  }

  /** Moves regions so that a gap opens; not when the next step could not carry all the copies. */
  #compact(room: Room): boolean {
    if (this.#copies.length + this.#arena.compactionCopiesMax > limits.stepCopiesMax) return false;
    this.#carry(this.#arena.compact(room));
    return true;
  }

  /** Drops retained prefixes until so many slots are free; drops none when that would not do. */
  #free(slots: number, keptId: number | null): boolean {
    const kept = keptId !== null && this.#retained.has(keptId) ? this.#arena.region(keptId).slots : 0;
    if (slots > this.availableSlots - kept) return false;
    while (this.#arena.freeSlots < slots && this.#dropOldest(keptId));
    return true;
  }

  /** Drops the least recently used prefix; false when there is none but the one to keep. */
  #dropOldest(keptId: number | null): boolean {
    for (const id of this.#retained.keys()) {
      if (id === keptId) continue;
      this.#unretain(id);
      this.#release(id);
      return true;
    }
    return false;
  }

  #unretain(id: number): boolean {
    if (!this.#retained.delete(id)) return false;
    this.#retainedSlots -= this.#arena.region(id).slots;
    return true;
  }

  #release(id: number): void {
    this.#arena.release(id);
    this.index.delete(id);
  }

  #carry(copies: readonly ArenaCopy[]): void {
    for (const copy of copies) this.#copies.push(copy);
  }
}

function idOf({ regionId }: Tenant): number {
  if (regionId === null) throw new RangeError('the tenant has no region');
  return regionId;
}
