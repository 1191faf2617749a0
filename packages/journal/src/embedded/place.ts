import { endCostBytes, keyBytes, lastKey, overheadBytes } from './layout.js';
import type { KeyRange } from './level.js';

/** A request that the store keeps, and how far. */
export interface Place {
  readonly slot: number;
  /** Tells it from all others that are kept, and in which order they began. */
  readonly number: number;
  /** What it takes, about. */
  bytes: number;
  /** Entries that were given to the store, and those of them that it has. */
  given: number;
  kept: number;
  /** Its answer was given to the store as over, and when it was; null until the store has that. */
  isOver: boolean;
  endedMs: number | null;
  /** Something of it could not be kept: what came after would stand in the wrong place. */
  incomplete: boolean;
}

/** @param recordValue what is kept of its record */
export function newPlace(slot: number, number: number, recordValue: Uint8Array): Place {
  const bytes = recordValue.length + overheadBytes + endCostBytes;
  return { slot, number, bytes, given: 0, kept: 0, isOver: false, endedMs: null, incomplete: false };
}

/** Keys of entries of a slot, from a number on, and without another one. */
export function entriesRange(slot: number, first = 0, end?: number): KeyRange {
  const after = slot === 0xffff ? lastKey : keyBytes({ kind: 'entries', slot: slot + 1, first: 0 });
  return {
    gte: keyBytes({ kind: 'entries', slot, first }),
    lt: end === undefined ? after : keyBytes({ kind: 'entries', slot, first: end }),
  };
}
