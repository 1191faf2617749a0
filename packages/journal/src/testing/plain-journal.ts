import { ButterflyError } from '@butterfly/common';
import type { Journal, KeptRequest, RequestRecord } from '../journal.js';

interface Kept {
  readonly record: RequestRecord;
  readonly entries: Uint8Array[];
  endedMs: number | null;
}

/** What a journal does, without anything that could fail: for comparison. */
export class PlainJournal implements Journal {
  readonly #kept = new Map<string, Kept>();

  async begin(record: RequestRecord): Promise<void> {
    if (this.#kept.has(record.id)) throw refusal();
    this.#kept.set(record.id, { record, entries: [], endedMs: null });
    return Promise.resolve();
  }

  async append(id: string, entries: readonly Uint8Array[]): Promise<void> {
    const kept = this.#kept.get(id);
    if (kept?.endedMs !== null) throw refusal();
    kept.entries.push(...entries);
    return Promise.resolve();
  }

  async end(id: string, endedMs: number): Promise<void> {
    const kept = this.#kept.get(id);
    if (!kept) throw refusal();
    kept.endedMs = endedMs;
    return Promise.resolve();
  }

  async forget(id: string): Promise<void> {
    this.#kept.delete(id);
    return Promise.resolve();
  }

  async requests(): Promise<readonly KeptRequest[]> {
    return Promise.resolve([...this.#kept.values()].map(({ record, endedMs }) => ({ record, endedMs })));
  }

  async entries(id: string): Promise<readonly Uint8Array[]> {
    return Promise.resolve([...(this.#kept.get(id)?.entries ?? [])]);
  }

  async close(): Promise<void> {
    return Promise.resolve();
  }
}

function refusal(): ButterflyError {
  return new ButterflyError('JOURNAL_FAILED', 'So it is refused.');
}
