import { costOf, endCostBytes, endOf, overheadBytes, unframed } from '../framing.js';
import { type Account, newAccount } from '../ledger.js';
import { recordOf } from '../record.js';
import { Assembler, entriesOf } from './messages.js';
import type { StreamStore } from './stream-store.js';

/** A request of a stream, and how far it is kept. */
export interface Found extends Account {
  /** In which order they began. */
  readonly number: number;
  /** Sequence of the last message of its answer, 0 where there is none. */
  last: number;
}

/** What a stream holds, by ids of requests, and subjects of which nothing is of use. */
export interface StreamSurvey {
  readonly found: ReadonlyMap<string, Found>;
  readonly litter: readonly string[];
}

/**
 * Reads all that a stream keeps. A request that was begun or forgotten in part is litter.
 * @throws ButterflyError JOURNAL_FAILED
 */
export async function surveyStream(store: StreamStore, pool: string): Promise<StreamSurvey> {
  const found = new Map<string, Found>();
  const byHash = new Map<string, Found>();
  const assemblers = new Map<string, Assembler>();
  const read = async (room: string, take: (hash: string, seq: number, data: Uint8Array) => boolean) => {
    for await (const { subject, seq, data } of store.read(`journal.${pool}.${room}.*`))
      if (!take(subject.slice(subject.lastIndexOf('.') + 1), seq, data)) throw store.damaged();
  };
  const assembled = (room: string, hash: string, data: Uint8Array) => {
    const assembler = assemblers.get(room + hash) ?? new Assembler();
    assemblers.set(room + hash, assembler);
    return assembler.add(data);
  };
  const hashes = new Set<string>();
  await read('records', (hash, _, data) => {
    hashes.add(hash);
    const said = assembled('records', hash, data);
    if (said === null) return true;
    const record = said === 'damaged' || said.kind !== 'record' ? null : recordOf(said.payload);
    if (!record || said === 'damaged') return false;
    const account = newAccount(said.payload.length + overheadBytes + endCostBytes);
    const place = { number: found.size, last: 0, ...account };
    found.set(record.id, place);
    byHash.set(hash, place);
    return true;
  });
  await read('answers', (hash, seq, data) => {
    hashes.add(hash);
    const place = byHash.get(hash);
    if (!place) return true;
    place.last = seq;
    const said = assembled('answers', hash, data);
    if (said === null) return true;
    return said !== 'damaged' && takeAnswer(place, said.kind, said.payload);
  });
  const rooms = (hash: string) => ['records', 'answers'].map((room) => `journal.${pool}.${room}.${hash}`);
  return { found, litter: [...hashes].filter((hash) => !byHash.has(hash)).flatMap(rooms) };
}

function takeAnswer(place: Found, kind: string, payload: Uint8Array): boolean {
  if (kind === 'end') {
    const end = endOf(payload);
    if (end?.entries !== place.kept) return false;
    place.isOver = true;
    place.endedMs = end.endedMs;
    return true;
  }
  const appended = kind === 'entries' ? entriesOf(payload) : null;
  const entries = appended?.first === place.kept ? unframed(appended.frames) : null;
  if (!entries) return false;
  place.bytes += costOf(entries);
  place.kept += entries.length;
  place.given = place.kept;
  return true;
}
