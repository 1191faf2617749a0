import type { RequestRecord } from '../journal.js';

/** A record like those of the server. */
export function sampleRecord(id: string, more: Partial<RequestRecord> = {}): RequestRecord {
  return {
    ...{ id, handle: `handle of ${id}`, model: 'a-model', startedMs: 1_700_000_000_000 },
    ...{ deadlineMs: 1_700_000_060_000, asked: JSON.stringify({ prompt: `Grüße, ${id} 🦋` }) },
    ...more,
  };
}

/** Entries of one byte each. */
export function bytesOf(...numbers: readonly number[]): readonly Uint8Array[] {
  return numbers.map((number) => Uint8Array.of(number));
}

/** What must not be compressible, and is the same each time. */
export function noise(length: number, seed: number): Uint8Array {
  let state = seed * 2_654_435_761 + 1;
  return Uint8Array.from({ length }, () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state >>> 24;
  });
}
