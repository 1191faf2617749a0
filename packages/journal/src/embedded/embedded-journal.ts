import { costOf, endPayload, framed, unframed } from '../framing.js';
import type { Journal, KeptRequest, RequestRecord } from '../journal.js';
import { type JournalBounds, Ledger } from '../ledger.js';
import { recordBytes, recordOf } from '../record.js';
import { GroupWriter } from './group-writer.js';
import { keyBytes, keyOf, sealed, unsealed } from './layout.js';
import type { KeptKey } from './layout.js';
import type { LevelStore } from './level.js';
import { entriesRange, newPlace } from './place.js';
import type { Place } from './place.js';

/** A journal in a LevelDB of this process. */
export class EmbeddedJournal implements Journal {
  readonly #ledger: Ledger<Place>;
  readonly #slots = new Set<number>();
  readonly #writer: GroupWriter;
  /** What nobody need wait for. */
  readonly #tidying = new Set<Promise<unknown>>();
  #freedBytes = 0;
  #nextNumber = 0;

  /** @param places of what the store keeps already */
  constructor(
    private readonly store: LevelStore,
    private readonly bounds: JournalBounds,
    places: ReadonlyMap<string, Place>,
  ) {
    this.#ledger = new Ledger(bounds);
    for (const [id, place] of places) {
      this.#ledger.adopt(id, place);
      this.#slots.add(place.slot);
      this.#nextNumber = Math.max(this.#nextNumber, place.number + 1);
    }
    this.#writer = new GroupWriter((changes) => store.write(changes));
  }

  async begin(record: RequestRecord): Promise<void> {
    this.#ledger.checkNew(record.id);
    const slot = this.#freeSlot();
    const number = this.#nextNumber++;
    const key = keyBytes({ kind: 'record', slot });
    const value = sealed(key, number, [recordBytes(record)]);
    this.#ledger.begin(record.id, newPlace(slot, number, value));
    this.#slots.add(slot);
    try {
      await this.#writer.write([{ type: 'put', key, value }]);
    } catch (error) {
      // Whoever asked knows of no request; some of it may lie there all the same.
      this.forget(record.id).catch(() => undefined);
      throw error;
    }
  }

  async append(id: string, entries: readonly Uint8Array[]): Promise<void> {
    const place = this.#ledger.append(id, costOf(entries), entries.length);
    if (entries.length === 0) return this.#writer.write([]);
    const end = place.given;
    const first = end - entries.length;
    await this.#put(place, { kind: 'entries', slot: place.slot, first }, framed(entries));
    place.kept = end;
  }

  async end(id: string, endedMs: number): Promise<void> {
    const place = this.#ledger.end(id);
    await this.#put(place, { kind: 'end', slot: place.slot }, [endPayload(endedMs, place.given)]);
    place.endedMs = endedMs;
  }

  async forget(id: string): Promise<void> {
    const place = this.#ledger.remove(id);
    if (!place) return;
    const { slot } = place;
    try {
      // Entries without a record are litter: a death in the midst leaves nothing of the request.
      await this.#writer.write([
        { type: 'del', key: keyBytes({ kind: 'record', slot }) },
        { type: 'del', key: keyBytes({ kind: 'end', slot }) },
      ]);
      await this.#tidy(this.store.clear(entriesRange(slot)));
    } catch (error) {
      this.#ledger.restore(id, place);
      throw error;
    }
    this.#slots.delete(slot);
    this.#ledger.release(place);
    this.#freed(place.bytes);
  }

  async requests(): Promise<readonly KeptRequest[]> {
    this.#ledger.checkOpen();
    await this.#writer.write([]);
    const found: { readonly kept: KeptRequest; readonly number: number }[] = [];
    const lt = keyBytes({ kind: 'end', slot: 0 });
    for await (const [key, value] of this.store.read({ gte: keyBytes({ kind: 'record', slot: 0 }), lt })) {
      const record = recordOf(unsealed(key, value)?.payload ?? new Uint8Array());
      if (!record) throw this.store.damaged();
      const place = this.#ledger.get(record.id);
      if (place) found.push({ kept: { record, endedMs: place.endedMs }, number: place.number });
    }
    return found.sort((a, b) => a.number - b.number).map(({ kept }) => kept);
  }

  async entries(id: string): Promise<readonly Uint8Array[]> {
    this.#ledger.checkOpen();
    await this.#writer.write([]);
    const place = this.#ledger.get(id);
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
    if (!this.#ledger.close()) return;
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

  /** The ledger has seen to it that there is one. */
  #freeSlot(): number {
    let slot = 0;
    while (this.#slots.has(slot)) slot++;
    return slot;
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
}
