const lengthBytes = 4;
const endBytes = 12;

/** What a store takes for a message or value beside its bytes, about. */
export const overheadBytes = 40;

/** What the end of an answer takes. */
export const endCostBytes = overheadBytes + endBytes;

/** Entries as the payload of one message or value, behind their lengths. */
export function framed(entries: readonly Uint8Array[]): readonly Uint8Array[] {
  const lengths = Buffer.alloc(entries.length * lengthBytes);
  entries.forEach((entry, at) => lengths.writeUInt32BE(entry.length, at * lengthBytes));
  return entries.flatMap((entry, at) => [lengths.subarray(at * lengthBytes, (at + 1) * lengthBytes), entry]);
}

/** What a store takes for entries of one append, about. */
export function costOf(entries: readonly Uint8Array[]): number {
  return entries.reduce((sum, entry) => sum + lengthBytes + entry.length, overheadBytes);
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
