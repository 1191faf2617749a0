/** A metadata value in its bytes, so that a fuzzer can write what no honest writer would. */
export type RawValue =
  | { readonly kind: 'scalar'; readonly type: number; readonly bytes: Buffer }
  | { readonly kind: 'text'; readonly bytes: Buffer }
  /** Elements without their lengths; those of texts are written with them. */
  | { readonly kind: 'array'; readonly elementType: number; readonly items: readonly Buffer[] };

export type RawMetadata = ReadonlyMap<string, RawValue>;

/** Numbers of the value types in the file. */
export const types = { u8: 0, i8: 1, u32: 4, i32: 5, f32: 6, bool: 7, text: 8, array: 9, u64: 10 } as const;

export const text = (value: string | Buffer): RawValue => ({ kind: 'text', bytes: Buffer.from(value) });
export const u32 = (value: number): RawValue => ({ kind: 'scalar', type: types.u32, bytes: word(value) });
export const flag = (value: boolean): RawValue => ({
  kind: 'scalar',
  type: types.bool,
  bytes: Buffer.from([value ? 1 : 0]),
});
export const texts = (items: readonly (string | Buffer)[]): RawValue => ({
  kind: 'array',
  elementType: types.text,
  items: items.map((item) => Buffer.from(item)),
});
export const i32s = (items: readonly number[]): RawValue => ({
  kind: 'array',
  elementType: types.i32,
  items: items.map(word),
});
export const f32s = (items: readonly number[]): RawValue => ({
  kind: 'array',
  elementType: types.f32,
  items: items.map(float),
});
export const u8s = (bytes: Buffer): RawValue => ({
  kind: 'array',
  elementType: types.u8,
  items: Array.from(bytes, (byte) => Buffer.from([byte])),
});

/** 32 bits, of a signed or unsigned number. */
export function word(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value >>> 0);
  return bytes;
}

export function float(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeFloatLE(value);
  return bytes;
}

/** A GGUF file of version 3 without tensors. */
export function encodeRaw(metadata: RawMetadata): Buffer {
  const parts = [Buffer.from('GGUF'), word(3), long(0), long(metadata.size)];
  for (const [key, value] of metadata) {
    parts.push(...counted(Buffer.from(key)));
    switch (value.kind) {
      case 'scalar':
        parts.push(word(value.type), value.bytes);
        break;
      case 'text':
        parts.push(word(types.text), ...counted(value.bytes));
        break;
      case 'array': {
        const isText = value.elementType === types.text;
        parts.push(word(types.array), word(value.elementType), long(value.items.length));
        parts.push(...(isText ? value.items.flatMap(counted) : value.items));
        break;
      }
      default:
        value satisfies never;
    }
  }
  return Buffer.concat(parts);
}

function counted(bytes: Buffer): Buffer[] {
  return [long(bytes.length), bytes];
}

function long(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}
