import { endCostBytes, overheadBytes } from '../framing.js';
import { type Account, newAccount } from '../ledger.js';
import { keyBytes, lastKey } from './layout.js';
import type { KeyRange } from './level.js';

/** A request that the store keeps, and how far. */
export interface Place extends Account {
  readonly slot: number;
  /** Tells it from all others that are kept, and in which order they began. */
  readonly number: number;
}

/** @param recordValue what is kept of its record */
export function newPlace(slot: number, number: number, recordValue: Uint8Array): Place {
  return { slot, number, ...newAccount(recordValue.length + overheadBytes + endCostBytes) };
}

/** Keys of entries of a slot, from a number on, and without another one. */
export function entriesRange(slot: number, first = 0, end?: number): KeyRange {
  const after = slot === 0xffff ? lastKey : keyBytes({ kind: 'entries', slot: slot + 1, first: 0 });
  return {
    gte: keyBytes({ kind: 'entries', slot, first }),
    lt: end === undefined ? after : keyBytes({ kind: 'entries', slot, first: end }),
  };
}
