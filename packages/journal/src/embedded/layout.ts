import { crc32 } from 'node:zlib';

/** What is kept under a key. A request has a slot while it is kept; entries have the number of the first of their append. */
export type KeptKey =
  | { readonly kind: 'version' }
  | { readonly kind: 'record'; readonly slot: number }
  | { readonly kind: 'end'; readonly slot: number }
  | { readonly kind: 'entries'; readonly slot: number; readonly first: number };

/** A value without its seal: whose it is, by a number that no two requests of a journal have, and what it says. */
export interface Unsealed {
  readonly number: number;
  readonly payload: Uint8Array;
}

/** A change of the store: a value for a key, or none any more. */
export type Change =
  | { readonly type: 'put'; readonly key: Uint8Array; readonly value: Uint8Array }
  | { readonly type: 'del'; readonly key: Uint8Array };

const kinds = ['version', 'record', 'end', 'entries'] as const;
const sealBytes = 10;
const lengthBytes = 4;
const endBytes = 12;

/** Slots that a key can tell apart. */
export const slotsMax = 0x10000;

/** What a key and the store's own notes of a value take beside it, about. */
export const overheadBytes = 32;

/** What the end of an answer takes. */
export const endCostBytes = overheadBytes + sealBytes + endBytes;

/** All keys are between these. */
export const firstKey: Uint8Array = Uint8Array.of(0);
export const lastKey: Uint8Array = Uint8Array.of(0xff);

/** Big-endian, so that the store's order is that of kinds, slots and entries. */
export function keyBytes(key: KeptKey): Uint8Array {
  const bytes = Buffer.alloc(key.kind === 'version' ? 1 : key.kind === 'entries' ? 7 : 3);
  bytes.writeUInt8(kinds.indexOf(key.kind));
  if (key.kind !== 'version') bytes.writeUInt16BE(key.slot, 1);
  if (key.kind === 'entries') bytes.writeUInt32BE(key.first, 3);
  return bytes;
}

/** Null for a key that is none of ours. */
export function keyOf(bytes: Uint8Array): KeptKey | null {
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const kind = kinds[view[0] ?? kinds.length];
  switch (kind) {
    case undefined:
      return null;
    case 'version':
      return view.length === 1 ? { kind } : null;
    case 'record':
    case 'end':
      return view.length === 3 ? { kind, slot: view.readUInt16BE(1) } : null;
    case 'entries':
      return view.length === 7 ? { kind, slot: view.readUInt16BE(1), first: view.readUInt32BE(3) } : null;
    default:
      return kind satisfies never;
  }
}

/** A value with whose it is and a sum over all of it and its key: the store checks sums of what it logs alone. */
export function sealed(key: Uint8Array, number: number, payload: readonly Uint8Array[]): Uint8Array {
  const value = Buffer.concat([Buffer.alloc(sealBytes), ...payload]);
  value.writeUIntBE(number, 4, 6);
  value.writeUInt32BE(crc32(value.subarray(4), crc32(key)), 0);
  return value;
}

/** Null for a value that is not as it was written. */
export function unsealed(key: Uint8Array, bytes: Uint8Array): Unsealed | null {
  if (bytes.length < sealBytes) return null;
  const value = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (value.readUInt32BE(0) !== crc32(value.subarray(4), crc32(key))) return null;
  return { number: value.readUIntBE(4, 6), payload: value.subarray(sealBytes) };
}

/** Entries of one append as the payload of one value. */
export function framed(entries: readonly Uint8Array[]): readonly Uint8Array[] {
  const lengths = Buffer.alloc(entries.length * lengthBytes);
  entries.forEach((entry, at) => lengths.writeUInt32BE(entry.length, at * lengthBytes));
  return entries.flatMap((entry, at) => [lengths.subarray(at * lengthBytes, (at + 1) * lengthBytes), entry]);
}

/** What a store takes for entries of one append, about. */
export function costOf(entries: readonly Uint8Array[]): number {
  return entries.reduce((sum, entry) => sum + lengthBytes + entry.length, sealBytes + overheadBytes);
}

/** Null for a payload that does not end with an entry. */
export function unframed(payload: Uint8Array): readonly Uint8Array[] | null {
  const view = Buffer.from(payload.buffer, payload.byteOffset, payload.byteLength);
  const entries: Uint8Array[] = [];
  for (let at = 0; at < view.length;) {
    if (at + lengthBytes > view.length) return null;
    const from = at + lengthBytes;
    at = from + view.readUInt32BE(at);
    if (at > view.length) return null;
    entries.push(new Uint8Array(payload.buffer, payload.byteOffset + from, at - from));
  }
  return entries;
}

/** The end of an answer that had so many entries. */
export function endPayload(endedMs: number, entries: number): Uint8Array {
  const bytes = Buffer.alloc(endBytes);
  bytes.writeDoubleBE(endedMs);
  bytes.writeUInt32BE(entries, 8);
  return bytes;
}

/** Null for a payload that is none. */
export function endOf(payload: Uint8Array): { readonly endedMs: number; readonly entries: number } | null {
  if (payload.length !== endBytes) return null;
  const view = Buffer.from(payload.buffer, payload.byteOffset, payload.byteLength);
  return { endedMs: view.readDoubleBE(0), entries: view.readUInt32BE(8) };
}
