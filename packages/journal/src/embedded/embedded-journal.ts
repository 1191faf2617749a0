import { ButterflyError } from '@butterfly/common';
import type { Journal, KeptRequest, RequestRecord } from '../journal.js';
import { recordBytes, recordOf } from '../record.js';
import { GroupWriter } from './group-writer.js';
import { costOf, endPayload, framed, keyBytes, keyOf, sealed, unframed, unsealed } from './layout.js';
import type { KeptKey } from './layout.js';
import { failed } from './level.js';
import type { LevelStore } from './level.js';
import { entriesRange, newPlace } from './place.js';
import type { Place } from './place.js';

/** How much a journal keeps at most. */
export interface JournalBounds {
  readonly bytesMax: number;
  readonly requestsMax: number;
}

/** A journal in a LevelDB of this process. */
export class EmbeddedJournal implements Journal {
  readonly #places: Map<string, Place>;
  readonly #slots = new Set<number>();
  readonly #writer: GroupWriter;
  /** What nobody need wait for. */
  readonly #tidying = new Set<Promise<unknown>>();
  #bytes = 0;
  #freedBytes = 0;
  #nextNumber = 0;
  #isClosed = false;

  /** @param places of what the store keeps already */
  constructor(
    private readonly store: LevelStore,
    private readonly bounds: JournalBounds,
    places: ReadonlyMap<string, Place>,
  ) {
    this.#places = new Map(places);
    for (const place of places.values()) {
      this.#slots.add(place.slot);
      this.#bytes += place.bytes;
      this.#nextNumber = Math.max(this.#nextNumber, place.number + 1);
    }
    this.#writer = new GroupWriter((changes) => store.write(changes));
  }

  async begin(record: RequestRecord): Promise<void> {
    this.#checkOpen();
    if (this.#places.has(record.id)) throw failed('A request with this id is kept already');
    const slot = this.#freeSlot();
    const number = this.#nextNumber++;
    const key = keyBytes({ kind: 'record', slot });
    const value = sealed(key, number, [recordBytes(record)]);
    const place = newPlace(slot, number, value);
    if (this.#bytes + place.bytes > this.bounds.bytesMax)
      throw new ButterflyError(
        'QUEUE_FULL',
        'The journal has no room for another request; retry later, or give it more room.',
      );
    this.#places.set(record.id, place);
    this.#slots.add(slot);
    this.#bytes += place.bytes;
    try {
      await this.#writer.write([{ type: 'put', key, value }]);
    } catch (error) {
      // Whoever asked knows of no request; some of it may lie there all the same.
      this.forget(record.id).catch(() => undefined);
      throw error;
    }
  }

  async append(id: string, entries: readonly Uint8Array[]): Promise<void> {
    this.#checkOpen();
    const place = this.#placeOf(id);
    if (place.isOver) throw failed('The answer is over to which more should be appended');
    if (entries.length === 0) return this.#writer.write([]);
    const bytes = costOf(entries);
    if (this.#bytes + bytes > this.bounds.bytesMax) {
      place.incomplete = true;
      throw failed('The journal has no room for more of the answer; give it more room, or let less be kept');
    }
    this.#bytes += bytes;
    place.bytes += bytes;
    const first = place.given;
    place.given += entries.length;
    await this.#put(place, { kind: 'entries', slot: place.slot, first }, framed(entries));
    place.kept = first + entries.length;
  }

  async end(id: string, endedMs: number): Promise<void> {
    this.#checkOpen();
    const place = this.#placeOf(id);
    place.isOver = true;
    await this.#put(place, { kind: 'end', slot: place.slot }, [endPayload(endedMs, place.given)]);
    place.endedMs = endedMs;
  }

  async forget(id: string): Promise<void> {
    this.#checkOpen();
    const place = this.#places.get(id);
    if (!place) return;
    this.#places.delete(id);
    const { slot } = place;
    try {
      // Entries without a record are litter: a death in the midst leaves nothing of the request.
      await this.#writer.write([
        { type: 'del', key: keyBytes({ kind: 'record', slot }) },
        { type: 'del', key: keyBytes({ kind: 'end', slot }) },
      ]);
      await this.#tidy(this.store.clear(entriesRange(slot)));
    } catch (error) {
      place.incomplete = true;
      if (!this.#places.has(id)) this.#places.set(id, place);
      throw error;
    }
    this.#slots.delete(slot);
    this.#bytes -= place.bytes;
    this.#freed(place.bytes);
  }

  async requests(): Promise<readonly KeptRequest[]> {
    this.#checkOpen();
    await this.#writer.write([]);
    const found: { readonly kept: KeptRequest; readonly number: number }[] = [];
    const lt = keyBytes({ kind: 'end', slot: 0 });
    for await (const [key, value] of this.store.read({ gte: keyBytes({ kind: 'record', slot: 0 }), lt })) {
      const record = recordOf(unsealed(key, value)?.payload ?? new Uint8Array());
      if (!record) throw this.store.damaged();
      const place = this.#places.get(record.id);
      if (place) found.push({ kept: { record, endedMs: place.endedMs }, number: place.number });
    }
    return found.sort((a, b) => a.number - b.number).map(({ kept }) => kept);
  }

  async entries(id: string): Promise<readonly Uint8Array[]> {
    this.#checkOpen();
    await this.#writer.write([]);
    const place = this.#places.get(id);
    if (!place) return [];
    const { slot, number, kept } = place;
    const found: Uint8Array[] = [];
    for await (const [key, value] of this.store.read(entriesRange(slot, 0, kept))) {
      const meant = keyOf(key);
      const unpacked = unsealed(key, value);
      const entries = unpacked?.number === number ? unframed(unpacked.payload) : null;
      if (!entries || meant?.kind !== 'entries' || meant.first !== found.length) throw this.store.damaged();
      for (const entry of entries) found.push(entry);
    }
    if (found.length < kept) throw this.store.damaged();
    return found;
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    await this.#writer.write([]);
    await Promise.allSettled(this.#tidying);
    await this.store.close();
  }

  async #put(place: Place, key: KeptKey, payload: readonly Uint8Array[]): Promise<void> {
    const bytes = keyBytes(key);
    try {
      await this.#writer.write([{ type: 'put', key: bytes, value: sealed(bytes, place.number, payload) }]);
    } catch (error) {
      place.incomplete = true;
      throw error;
    }
  }

  #placeOf(id: string): Place {
    const place = this.#places.get(id);
    if (!place) throw failed('The request is not kept of which more should be');
    if (place.incomplete) throw failed('An earlier part of the answer could not be kept, so no more is');
    return place;
  }

  #freeSlot(): number {
    if (this.#slots.size < this.bounds.requestsMax)
      for (let slot = 0; slot < this.bounds.requestsMax; slot++) if (!this.#slots.has(slot)) return slot;
    throw new ButterflyError(
      'QUEUE_FULL',
      `The journal keeps ${this.#slots.size} requests, as many as it may; retry later.`,
    );
  }

  /** Space of what was removed comes back by itself only where new entries take the same slots. */
  #freed(bytes: number): void {
    this.#freedBytes += bytes;
    if (this.#freedBytes < this.bounds.bytesMax / 4) return;
    this.#freedBytes = 0;
    this.#tidy(this.store.compact()).catch(() => undefined);
  }

  #tidy<T>(work: Promise<T>): Promise<T> {
    const tracked = work.finally(() => this.#tidying.delete(tracked));
    this.#tidying.add(tracked);
    return tracked;
  }

  #checkOpen(): void {
    if (this.#isClosed) throw failed('The journal is closed');
  }
}
