import { costOf, endOf, unframed } from '../framing.js';
import { recordOf } from '../record.js';
import { firstKey, keyBytes, keyOf, lastKey, unsealed } from './layout.js';
import type { KeptKey, Unsealed } from './layout.js';
import type { KeyRange, LevelStore } from './level.js';
import { entriesRange, newPlace } from './place.js';
import type { Place } from './place.js';

/** What a store holds, by ids of requests, and what of it is of no use. */
export interface Survey {
  readonly places: ReadonlyMap<string, Place>;
  readonly litter: readonly KeyRange[];
}

/**
 * Reads all that a store keeps, and checks it. A request that was being forgotten may have left entries. After a loss of power
 * some of the last writes may be missing and later ones not: of each request that counts which has no gap before it, and an
 * end only behind all of its entries.
 * @throws ButterflyError JOURNAL_FAILED
 */
export async function survey(store: LevelStore): Promise<Survey> {
  const reader = new Reader();
  for await (const [key, value] of store.read({ gte: firstKey, lt: lastKey })) {
    const meant = keyOf(key);
    const found = unsealed(key, value);
    if (!meant || !found || !reader.take(meant, found, value)) throw store.damaged();
  }
  return reader.result();
}

/** Takes what is kept in the order of keys: records, ends, entries. */
class Reader {
  readonly #places = new Map<string, Place>();
  readonly #bySlot = new Map<number, Place>();
  readonly #ends = new Map<number, { readonly endedMs: number; readonly entries: number }>();
  readonly #litter: KeyRange[] = [];
  readonly #cutSlots = new Set<number>();

  /** Whether it is as a journal writes it. */
  take(key: KeptKey, found: Unsealed, value: Uint8Array): boolean {
    switch (key.kind) {
      case 'version':
        return true;
      case 'record':
        return this.#takeRecord(key.slot, found, value);
      case 'end':
        return this.#takeEnd(key.slot, found);
      case 'entries':
        return this.#takeEntries(key.slot, key.first, found);
      default:
        return key satisfies never;
    }
  }

  result(): Survey {
    for (const [slot, end] of this.#ends) {
      const place = this.#bySlot.get(slot);
      if (place?.kept === end.entries) {
        place.isOver = true;
        place.endedMs = end.endedMs;
      } else this.#dropEnd(slot);
    }
    return { places: this.#places, litter: this.#litter };
  }

  #takeRecord(slot: number, found: Unsealed, value: Uint8Array): boolean {
    const record = recordOf(found.payload);
    if (!record || this.#places.has(record.id)) return false;
    const place = newPlace(slot, found.number, value);
    this.#places.set(record.id, place);
    this.#bySlot.set(slot, place);
    return true;
  }

  #takeEnd(slot: number, found: Unsealed): boolean {
    const end = endOf(found.payload);
    if (!end) return false;
    if (this.#bySlot.get(slot)?.number === found.number) this.#ends.set(slot, end);
    else this.#dropEnd(slot);
    return true;
  }

  #takeEntries(slot: number, first: number, found: Unsealed): boolean {
    if (this.#cutSlots.has(slot)) return true;
    const place = this.#bySlot.get(slot);
    if (place?.number !== found.number || first !== place.kept) {
      this.#cutSlots.add(slot);
      this.#litter.push(entriesRange(slot, first));
      return true;
    }
    const entries = unframed(found.payload);
    if (!entries) return false;
    place.bytes += costOf(entries);
    place.kept += entries.length;
    place.given = place.kept;
    return true;
  }

  #dropEnd(slot: number): void {
    const key = keyBytes({ kind: 'end', slot });
    this.#litter.push({ gte: key, lt: Uint8Array.of(...key, 0) });
  }
}
