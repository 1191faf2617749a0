import { ButterflyError } from '@butterfly/common';

const twoTo32 = 2 ** 32;

/** Reads a little-endian layout in order; what is missing or left over is PROTOCOL_INVALID. */
export class ByteReader {
  readonly #bytes: Buffer;
  readonly #what: string;
  #at = 0;

  /** @param what names the layout in errors, such as "step" */
  constructor(bytes: Uint8Array, what: string) {
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#what = what;
  }

  u8(): number {
    return this.#bytes.readUInt8(this.#advance(1));
  }
  u16(): number {
    return this.#bytes.readUInt16LE(this.#advance(2));
  }
  u32(): number {
    return this.#bytes.readUInt32LE(this.#advance(4));
  }
  f64(): number {
    return this.#bytes.readDoubleLE(this.#advance(8));
  }

  /** An unsigned integer of 64 bits, of which JavaScript can hold 53. */
  u64(): number {
    const value = this.u32() + this.u32() * twoTo32;
    if (!Number.isSafeInteger(value)) throw this.fail('a number exceeds 53 bits');
    return value;
  }

  /** A 16-bit count of items, refused before anything is allocated for them. */
  count(max: number, items: string): number {
    const count = this.u16();
    if (count > max) throw this.fail(`${count} ${items}, at most ${max} are allowed`);
    return count;
  }

  /** A copy, because the bytes may lie at any alignment. Hosts are little-endian, as the wire is. */
  int32s(count: number): Int32Array {
    const source = this.bytes(count * 4);
    const values = new Int32Array(count);
    new Uint8Array(values.buffer).set(source);
    return values;
  }

  /** A copy of F32 numbers, for the same reason. */
  floats(count: number): Float32Array {
    return new Float32Array(this.int32s(count).buffer);
  }

  /** A view. */
  bytes(count: number): Uint8Array {
    const start = this.#advance(count);
    return this.#bytes.subarray(start, start + count);
  }

  end(): void {
    const left = this.#bytes.length - this.#at;
    if (left > 0) throw this.fail(`${left} bytes too many`);
  }

  fail(reason: string): ButterflyError {
    return new ButterflyError('PROTOCOL_INVALID', `A ${this.#what} frame is malformed: ${reason}.`);
  }

  #need(bytes: number): void {
    const missing = this.#at + bytes - this.#bytes.length;
    if (missing > 0) throw this.fail(`${missing} bytes too few`);
  }

  #advance(bytes: number): number {
    this.#need(bytes);
    const start = this.#at;
    this.#at += bytes;
    return start;
  }
}

/** Writes the same layout into a buffer of known size. Values must have been checked to fit. */
export class ByteWriter {
  readonly bytes: Buffer;
  #at = 0;

  constructor(sizeBytes: number) {
    this.bytes = Buffer.allocUnsafe(sizeBytes);
  }

  u8(value: number): void {
    this.#at = this.bytes.writeUInt8(value, this.#at);
  }
  u16(value: number): void {
    this.#at = this.bytes.writeUInt16LE(value, this.#at);
  }
  u32(value: number): void {
    this.#at = this.bytes.writeUInt32LE(value, this.#at);
  }
  f64(value: number): void {
    this.#at = this.bytes.writeDoubleLE(value, this.#at);
  }
  u64(value: number): void {
    this.u32(value % twoTo32);
    this.u32(Math.floor(value / twoTo32));
  }
  u32s(values: readonly number[]): void {
    for (const value of values) this.u32(value);
  }
  int32s(values: Int32Array): void {
    this.put(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
  }
  put(bytes: Uint8Array): void {
    this.bytes.set(bytes, this.#at);
    this.#at += bytes.length;
  }
}
