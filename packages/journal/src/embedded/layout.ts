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

/** Slots that a key can tell apart. */
export const slotsMax = 0x10000;

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
