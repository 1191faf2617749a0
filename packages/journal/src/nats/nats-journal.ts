import { costOf, endCostBytes, endPayload, framed, overheadBytes, unframed } from '../framing.js';
import type { Journal, KeptRequest, RequestRecord } from '../journal.js';
import { type JournalBounds, Ledger, newAccount } from '../ledger.js';
import { recordBytes, recordOf } from '../record.js';
import { Assembler, entriesOf, subjectOf } from './messages.js';
import type { StreamStore } from './stream-store.js';
import { SubjectWriter } from './subject-writer.js';
import type { Found } from './survey.js';

/** A request that is kept, with whoever publishes its answer. */
interface Place extends Found {
  readonly answer: SubjectWriter;
}

/** A journal in a stream of JetStream. */
export class NatsJournal implements Journal {
  readonly #ledger: Ledger<Place>;
  /** Of requests that are being forgotten, by id: another with the same one begins after that. */
  readonly #leaving = new Map<string, Promise<unknown>>();
  /** What must be over before the connection is closed. */
  readonly #underWay = new Set<Promise<unknown>>();
  #nextNumber = 0;

  /** @param found what the stream keeps already */
  constructor(
    private readonly store: StreamStore,
    private readonly pool: string,
    private readonly messageBytesMax: number,
    bounds: JournalBounds,
    found: ReadonlyMap<string, Found>,
  ) {
    this.#ledger = new Ledger(bounds);
    for (const [id, each] of found) {
      this.#ledger.adopt(id, { ...each, answer: this.#writer(id, 'answers', each.last) });
      this.#nextNumber = Math.max(this.#nextNumber, each.number + 1);
    }
  }

  async begin(record: RequestRecord): Promise<void> {
    const { id } = record;
    this.#ledger.checkNew(id);
    const payload = recordBytes(record);
    const account = newAccount(payload.length + overheadBytes + endCostBytes);
    const writer = this.#writer(id, 'records', 0, this.#leaving.get(id));
    const number = this.#nextNumber++;
    let begin: () => void = () => undefined;
    const begun = new Promise<void>((resolve) => (begin = resolve));
    const place = { number, last: 0, ...account, answer: this.#writer(id, 'answers', 0, begun) };
    this.#ledger.begin(id, place);
    try {
      await this.#tracked(writer.write({ kind: 'record', payload }));
      begin();
    } catch (error) {
      place.answer.fail(error);
      begin();
      // Whoever asked knows of no request; some of it may lie there all the same.
      if (this.#ledger.get(id) === place) this.forget(id).catch(() => undefined);
      throw error;
    }
  }

  async append(id: string, entries: readonly Uint8Array[]): Promise<void> {
    const place = this.#ledger.append(id, costOf(entries), entries.length);
    const end = place.given;
    const first = end - entries.length;
    await this.#put(place, entries.length === 0 ? null : { first, frames: framed(entries) });
    place.kept = end;
  }

  async end(id: string, endedMs: number): Promise<void> {
    const place = this.#ledger.end(id);
    await this.#put(place, { kind: 'end', payload: endPayload(endedMs, place.given) });
    place.endedMs = endedMs;
  }

  async forget(id: string): Promise<void> {
    const place = this.#ledger.remove(id);
    if (!place) return;
    const left = this.#tracked(this.#purge(id, place));
    this.#leaving.set(id, left);
    try {
      await left;
    } catch (error) {
      this.#ledger.restore(id, place);
      throw error;
    } finally {
      if (this.#leaving.get(id) === left) this.#leaving.delete(id);
    }
    this.#ledger.release(place);
  }

  async requests(): Promise<readonly KeptRequest[]> {
    await this.#settled();
    const found: { readonly kept: KeptRequest; readonly number: number }[] = [];
    const assemblers = new Map<string, Assembler>();
    for await (const { subject, data } of this.store.read(`journal.${this.pool}.records.*`)) {
      const assembler = assemblers.get(subject) ?? new Assembler();
      assemblers.set(subject, assembler);
      const said = assembler.add(data);
      if (said === null) continue;
      const record = said === 'damaged' ? null : recordOf(said.payload);
      if (!record) throw this.store.damaged();
      const place = this.#ledger.get(record.id);
      if (place) found.push({ kept: { record, endedMs: place.endedMs }, number: place.number });
    }
    return found.sort((a, b) => a.number - b.number).map(({ kept }) => kept);
  }

  async entries(id: string): Promise<readonly Uint8Array[]> {
    await this.#settled();
    const place = this.#ledger.get(id);
    if (!place) return [];
    const { kept } = place;
    const found: Uint8Array[] = [];
    const assembler = new Assembler();
    for await (const { data } of this.store.read(subjectOf(this.pool, 'answers', id))) {
      const said = assembler.add(data);
      if (said === null || (said !== 'damaged' && said.kind === 'end')) continue;
      const appended = said === 'damaged' ? null : entriesOf(said.payload);
      const entries = appended?.first === found.length ? unframed(appended.frames) : null;
      if (!entries) throw this.store.damaged();
      for (const entry of entries) found.push(entry);
    }
    if (found.length < kept) throw this.store.damaged();
    return found.slice(0, kept);
  }

  async close(): Promise<void> {
    if (!this.#ledger.close()) return;
    while (this.#underWay.size > 0) await Promise.allSettled(this.#underWay);
    await this.store.close();
  }

  async #purge(id: string, place: Place): Promise<void> {
    // What was to be kept of it, or was refused, is over by then.
    await place.answer.write(null).catch(() => undefined);
    await this.store.purge([subjectOf(this.pool, 'records', id), subjectOf(this.pool, 'answers', id)]);
  }

  async #put(place: Place, what: Parameters<SubjectWriter['write']>[0]): Promise<void> {
    try {
      await this.#tracked(place.answer.write(what));
    } catch (error) {
      place.incomplete = true;
      throw error;
    }
  }

  /** All that was asked for before is there, or failed. */
  async #settled(): Promise<void> {
    this.#ledger.checkOpen();
    await Promise.allSettled(this.#underWay);
  }

  #writer(id: string, room: 'records' | 'answers', last: number, after?: Promise<unknown>): SubjectWriter {
    return new SubjectWriter(this.store, subjectOf(this.pool, room, id), this.messageBytesMax, last, after);
  }

  #tracked<T>(work: Promise<T>): Promise<T> {
    const tracked = work.finally(() => this.#underWay.delete(tracked));
    this.#underWay.add(tracked);
    return tracked;
  }
}
