import { ButterflyError, limits } from '@butterfly/common';
import { Cursor, MoreBytesNeeded } from './cursor.js';

/** An array of the metadata. Long ones (vocabularies) are counted, not kept: libllama reads them itself. */
interface MetadataArray {
  readonly kind: 'array';
  readonly length: number;
  /** Null when there are more than `arrayElementsKeptMax` of them. */
  readonly values: readonly MetadataScalar[] | null;
}

/** 64-bit integers are numbers where those are exact. */
type MetadataScalar = string | number | bigint | boolean;
export type MetadataValue = MetadataScalar | MetadataArray;
export type Metadata = ReadonlyMap<string, MetadataValue>;

/** A row of the tensor table as written, its offset relative to the tensor data. */
interface TensorRow {
  readonly name: string;
  readonly type: number;
  readonly shape: readonly number[];
  readonly offset: number;
}

/** Where an array of the metadata lies. */
export interface ArrayPlace {
  readonly elementType: ValueType;
  readonly length: number;
  /** Of its first element in the file. */
  readonly offset: number;
}

export interface GgufHeader {
  readonly metadata: Metadata;
  /** Of all arrays, by key. */
  readonly arrays: ReadonlyMap<string, ArrayPlace>;
  /** Bytes of each key with its type and value as written, without those of long arrays. */
  readonly entries: ReadonlyMap<string, Uint8Array>;
  readonly tensors: readonly TensorRow[];
  /** Where the tensor table ends, before padding. */
  readonly endOffset: number;
  readonly alignment: number;
}

/** Above the layers of any model, whose per-layer values are needed, and far below a vocabulary. */
const arrayElementsKeptMax = 1024;
/** Some dozens in practice, and hundreds in the oddest file. */
const metadataKeysMax = 65_536;
const keyBytesMax = 65_535;
/** Above a value for each of a thousand layers. */
const entryBytesMax = 16_384;
/** GGML_MAX_NAME and GGML_MAX_DIMS of ggml.h. */
const tensorNameBytesMax = 63;
const tensorDimensionsMax = 4;
const defaultAlignment = 32;

const valueTypes = [
  'u8',
  'i8',
  'u16',
  'i16',
  'u32',
  'i32',
  'f32',
  'bool',
  'string',
  'array',
  'u64',
  'i64',
  'f64',
] as const;
type ValueType = (typeof valueTypes)[number];
type FixedType = Exclude<ValueType, 'string' | 'array'>;
const fixedBytes: Readonly<Record<FixedType, number>> = {
  u8: 1,
  i8: 1,
  bool: 1,
  u16: 2,
  i16: 2,
  u32: 4,
  i32: 4,
  f32: 4,
  u64: 8,
  i64: 8,
  f64: 8,
};

/**
 * Reads metadata and tensor table out of the first bytes of a file.
 * Gives the number of bytes that it needs at least when `prefix` ends too early.
 * @throws ButterflyError MODEL_NOT_GGUF, MODEL_TRUNCATED, MODEL_CORRUPT
 */
export function parseGgufHeader(prefix: Uint8Array, fileBytes: number, path: string): GgufHeader | number {
  try {
    return readHeader(new Cursor(prefix, fileBytes, path), prefix, path);
  } catch (thrown) {
    if (thrown instanceof MoreBytesNeeded) return thrown.bytes;
    throw thrown;
  }
}

function readHeader(cursor: Cursor, prefix: Uint8Array, path: string): GgufHeader {
  checkMagic(prefix, path);
  cursor.skip(4);
  checkVersion(cursor.u32(), path);
  const tensorCount = cursor.count('tensors', limits.ggufTensorsMax);
  const keyCount = cursor.count('metadata keys', metadataKeysMax);
  const metadata = new Map<string, MetadataValue>();
  const arrays = new Map<string, ArrayPlace>();
  const entries = new Map<string, Uint8Array>();
  for (let index = 0; index < keyCount; index++) {
    const start = cursor.position;
    const key = cursor.string(`metadata key ${index}`, keyBytesMax);
    if (key === '') throw cursor.corrupt(`metadata key ${index} is empty`);
    if (metadata.has(key)) throw cursor.corrupt(`metadata key "${key}" occurs twice`);
    metadata.set(key, readValue(cursor, key, arrays));
    if (cursor.position - start <= entryBytesMax) entries.set(key, prefix.slice(start, cursor.position));
  }
  const alignment = readAlignment(cursor, metadata);
  const tensors: TensorRow[] = [];
  for (let index = 0; index < tensorCount; index++) tensors.push(readTensorRow(cursor, index));
  return { metadata, arrays, entries, tensors, endOffset: cursor.position, alignment };
}

function checkMagic(prefix: Uint8Array, path: string): void {
  if (Buffer.from(prefix.subarray(0, 4)).toString('latin1') === 'GGUF') return;
  throw new ButterflyError(
    'MODEL_NOT_GGUF',
    `${path} is not a GGUF file (it does not start with "GGUF"). Convert the model with llama.cpp's convert_hf_to_gguf.py or download a .gguf file.`,
  );
}

function checkVersion(version: number, path: string): void {
  if (version === 2 || version === 3) return;
  const problem =
    (version & 0xffff) === 0 && version !== 0
      ? 'is a big-endian GGUF file'
      : `is GGUF version ${version}, and versions 2 and 3 are read`;
  throw new ButterflyError(
    'MODEL_NOT_GGUF',
    `${path} ${problem}. Convert the model again with a current llama.cpp.`,
  );
}

function readAlignment(cursor: Cursor, metadata: Metadata): number {
  const alignment = metadata.get('general.alignment') ?? defaultAlignment;
  if (
    typeof alignment === 'number' &&
    Number.isInteger(alignment) &&
    alignment > 0 &&
    Number.isInteger(Math.log2(alignment))
  )
    return alignment;
  throw cursor.corrupt('general.alignment is no power of two');
}

function readTensorRow(cursor: Cursor, index: number): TensorRow {
  const name = cursor.string(`name of tensor ${index}`, tensorNameBytesMax);
  const dimensions = cursor.u32();
  if (dimensions < 1 || dimensions > tensorDimensionsMax)
    throw cursor.corrupt(`tensor "${name}" has ${dimensions} dimensions`);
  const shape = Array.from({ length: dimensions }, () => cursor.size());
  if (
    shape.includes(0) ||
    !Number.isSafeInteger(shape.reduce((product, dimension) => product * dimension, 1))
  )
    throw cursor.corrupt(`tensor "${name}" has the impossible shape ${shape.join(' x ')}`);
  return { name, shape, type: cursor.u32(), offset: cursor.size() };
}

function readValueType(cursor: Cursor, key: string): ValueType {
  const id = cursor.u32();
  const type = valueTypes[id];
  if (type === undefined) throw cursor.corrupt(`metadata key "${key}" has the unknown type ${id}`);
  return type;
}

function readValue(cursor: Cursor, key: string, arrays: Map<string, ArrayPlace>): MetadataValue {
  const type = readValueType(cursor, key);
  if (type !== 'array') return readScalar(cursor, key, type);
  const elementType = readValueType(cursor, key);
  if (elementType === 'array') throw cursor.corrupt(`metadata key "${key}" is an array of arrays`);
  const length = cursor.count(`elements of "${key}"`, limits.ggufMetadataBytesMax);
  arrays.set(key, { elementType, length, offset: cursor.position });
  if (length <= arrayElementsKeptMax)
    return {
      kind: 'array',
      length,
      values: Array.from({ length }, () => readScalar(cursor, key, elementType)),
    };
  if (elementType === 'string')
    for (let index = 0; index < length; index++) cursor.skip(cursor.stringBytes(key));
  else cursor.skip(length * fixedBytes[elementType]);
  return { kind: 'array', length, values: null };
}

function readScalar(cursor: Cursor, key: string, type: Exclude<ValueType, 'array'>): MetadataScalar {
  if (type === 'string') return cursor.string(key, limits.ggufMetadataBytesMax);
  const { view } = cursor;
  const at = cursor.skip(fixedBytes[type]);
  switch (type) {
    case 'u8':
      return view.getUint8(at);
    case 'i8':
      return view.getInt8(at);
    case 'bool':
      return view.getUint8(at) !== 0;
    case 'u16':
      return view.getUint16(at, true);
    case 'i16':
      return view.getInt16(at, true);
    case 'u32':
      return view.getUint32(at, true);
    case 'i32':
      return view.getInt32(at, true);
    case 'f32':
      return view.getFloat32(at, true);
    case 'f64':
      return view.getFloat64(at, true);
    case 'u64':
      return exact(view.getBigUint64(at, true));
    case 'i64':
      return exact(view.getBigInt64(at, true));
    default:
      return type satisfies never;
  }
}

function exact(value: bigint): number | bigint {
  return Number.isSafeInteger(Number(value)) ? Number(value) : value;
}
