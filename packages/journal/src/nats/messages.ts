import { createHash } from 'node:crypto';

const kinds = ['record', 'entries', 'end'] as const;

/** What a message is of: of a request's record, of what came of it, or that this is over. */
export type MessageKind = (typeof kinds)[number];

/** What one or several messages say together. */
export interface Said {
  readonly kind: MessageKind;
  readonly payload: Uint8Array;
}

/** Bits of a message's first byte, beside its kind. */
const goesOn = 4;
const continues = 8;

/** Where messages of a request lie: records apart from what follows them, so that they are found without that. */
export function subjectOf(pool: string, room: 'records' | 'answers', id: string): string {
  // Ids are secrets, and subjects are shown to whoever watches the server.
  return `journal.${pool}.${room}.${createHash('sha256').update(id).digest('hex')}`;
}

/** A payload as messages of at most so many bytes. */
export function piecesOf(said: Said, bytesMax: number): readonly Uint8Array[] {
  const { kind, payload } = said;
  const room = bytesMax - 1;
  const count = Math.max(1, Math.ceil(payload.length / room));
  return Array.from({ length: count }, (_, at) => {
    const head = kinds.indexOf(kind) | (at < count - 1 ? goesOn : 0) | (at > 0 ? continues : 0);
    return Buffer.concat([Uint8Array.of(head), payload.subarray(at * room, (at + 1) * room)]);
  });
}

/** Puts pieces of one subject together again, in their order; what was never finished is left out. */
export class Assembler {
  #pieces: Uint8Array[] = [];

  /** What is whole with this piece; null where that goes on; `damaged` for what no journal wrote. */
  add(message: Uint8Array): Said | null | 'damaged' {
    const head = message[0] ?? 0xff;
    const kind = kinds[head & 3];
    if (kind === undefined || head > 15) return 'damaged';
    if ((head & continues) === 0) this.#pieces = [];
    else if (this.#pieces.length === 0) return 'damaged';
    this.#pieces.push(message.subarray(1));
    if ((head & goesOn) !== 0) return null;
    const payload = Buffer.concat(this.#pieces);
    this.#pieces = [];
    return { kind, payload };
  }
}

/** Entries of appends as one payload, behind the number of the first. */
export function entriesPayload(first: number, frames: readonly Uint8Array[]): Uint8Array {
  const payload = Buffer.concat([Buffer.alloc(4), ...frames]);
  payload.writeUInt32BE(first);
  return payload;
}

/** Null for a payload that is none. */
export function entriesOf(
  payload: Uint8Array,
): { readonly first: number; readonly frames: Uint8Array } | null {
  if (payload.length < 4) return null;
  const view = Buffer.from(payload.buffer, payload.byteOffset, payload.byteLength);
  return { first: view.readUInt32BE(0), frames: view.subarray(4) };
}
