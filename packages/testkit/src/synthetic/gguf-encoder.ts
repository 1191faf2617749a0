/** A metadata value with the type that it is written as. */
export type MetadataEntry =
  | { readonly type: 'u16' | 'u32' | 'i32' | 'f32'; readonly value: number }
  | { readonly type: 'bool'; readonly value: boolean }
  | { readonly type: 'string'; readonly value: string }
  | { readonly type: 'strings'; readonly value: readonly string[] }
  | { readonly type: 'bools'; readonly value: readonly boolean[] }
  | { readonly type: 'u32s' | 'i32s' | 'f32s'; readonly value: readonly number[] };

export interface TensorEntry {
  readonly name: string;
  /** Number of the ggml type. */
  readonly type: number;
  /** The row first. */
  readonly shape: readonly number[];
  /** Relative to the tensor data. */
  readonly offset: number;
}

const ggufAlignment = 32;

/** Numbers of the value types in the file. */
const ids = { u16: 2, u32: 4, i32: 5, f32: 6, bool: 7, string: 8, array: 9 } as const;

export function alignGguf(offset: number): number {
  return Math.ceil(offset / ggufAlignment) * ggufAlignment;
}

/**
 * Metadata and tensor table of a GGUF file of version 3, padded to where the tensor data starts.
 * Checks nothing, so that tests can write faulty files with it.
 */
export function encodeGgufHeader(
  metadata: Readonly<Record<string, MetadataEntry>>,
  tensors: readonly TensorEntry[],
): Uint8Array {
  const writer = new ByteWriter();
  writer.text('GGUF');
  writer.u32(3);
  writer.u64(tensors.length);
  writer.u64(Object.keys(metadata).length);
  for (const [key, entry] of Object.entries(metadata)) {
    writer.string(key);
    writeEntry(writer, entry);
  }
  for (const { name, type, shape, offset } of tensors) {
    writer.string(name);
    writer.u32(shape.length);
    for (const dimension of shape) writer.u64(dimension);
    writer.u32(type);
    writer.u64(offset);
  }
  return writer.padded(ggufAlignment);
}

function writeEntry(writer: ByteWriter, entry: MetadataEntry): void {
  switch (entry.type) {
    case 'strings':
      writer.arrayHead(ids.string, entry.value.length);
      for (const value of entry.value) writer.string(value);
      return;
    case 'bools':
      writer.arrayHead(ids.bool, entry.value.length);
      for (const value of entry.value) writer.u8(value ? 1 : 0);
      return;
    case 'u32s':
      writer.arrayHead(ids.u32, entry.value.length);
      for (const value of entry.value) writer.u32(value);
      return;
    case 'i32s':
      writer.arrayHead(ids.i32, entry.value.length);
      for (const value of entry.value) writer.i32(value);
      return;
    case 'f32s':
      writer.arrayHead(ids.f32, entry.value.length);
      for (const value of entry.value) writer.f32(value);
      return;
    default:
      writer.u32(ids[entry.type]);
      writeScalar(writer, entry);
  }
}

function writeScalar(
  writer: ByteWriter,
  entry: Exclude<MetadataEntry, { readonly type: 'strings' | 'bools' | 'u32s' | 'i32s' | 'f32s' }>,
): void {
  switch (entry.type) {
    case 'u16':
      writer.u16(entry.value);
      return;
    case 'u32':
      writer.u32(entry.value);
      return;
    case 'i32':
      writer.i32(entry.value);
      return;
    case 'f32':
      writer.f32(entry.value);
      return;
    case 'bool':
      writer.u8(entry.value ? 1 : 0);
      return;
    case 'string':
      writer.string(entry.value);
      return;
    default:
      entry satisfies never;
  }
}

/** Little-endian values into a buffer that doubles when full. */
class ByteWriter {
  #buffer = Buffer.alloc(1 << 16);
  #length = 0;

  u8(value: number): void {
    const at = this.#reserve(1);
    this.#buffer.writeUInt8(value, at);
  }

  u16(value: number): void {
    const at = this.#reserve(2);
    this.#buffer.writeUInt16LE(value, at);
  }

  u32(value: number): void {
    const at = this.#reserve(4);
    this.#buffer.writeUInt32LE(value, at);
  }

  i32(value: number): void {
    const at = this.#reserve(4);
    this.#buffer.writeInt32LE(value, at);
  }

  f32(value: number): void {
    const at = this.#reserve(4);
    this.#buffer.writeFloatLE(value, at);
  }

  u64(value: number): void {
    const at = this.#reserve(8);
    this.#buffer.writeBigUInt64LE(BigInt(value), at);
  }

  text(value: string): void {
    const bytes = Buffer.byteLength(value);
    const at = this.#reserve(bytes);
    this.#buffer.write(value, at);
  }

  string(value: string): void {
    this.u64(Buffer.byteLength(value));
    this.text(value);
  }

  arrayHead(elementType: number, length: number): void {
    this.u32(ids.array);
    this.u32(elementType);
    this.u64(length);
  }

  padded(alignment: number): Uint8Array {
    this.#reserve(Math.ceil(this.#length / alignment) * alignment - this.#length);
    return this.#buffer.subarray(0, this.#length);
  }

  #reserve(bytes: number): number {
    const at = this.#length;
    this.#length += bytes;
    if (this.#length > this.#buffer.length) {
      const grown = Buffer.alloc(Math.max(this.#length, this.#buffer.length * 2));
      this.#buffer.copy(grown);
      this.#buffer = grown;
    }
    return at;
  }
}
