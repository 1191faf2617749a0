import { ensure } from '@butterfly/common';
import koffi, { type LibraryHandle } from 'koffi';
import { findLibraries } from './platform.js';

/** GGML_TYPE_COUNT of ggml.h: above it the native table ends. */
const typeCount = 43;

/** What `ggml_quantize_chunk` writes nothing for: integers, F64 and the types of intermediate results. */
const unwritableTypes = new Set([9, 15, 24, 25, 26, 27, 28]);

type Native = ReturnType<typeof bind>;
const bound = new WeakMap<LibraryHandle, Native>();

function bind(library: LibraryHandle) {
  return {
    blockSize: library.func('int64_t ggml_blck_size(int)') as (type: number) => number,
    blockBytes: library.func('size_t ggml_type_size(int)') as (type: number) => number,
    needsImportance: library.func('bool ggml_quantize_requires_imatrix(int)') as (type: number) => boolean,
    quantize: library.func(
      'size_t ggml_quantize_chunk(int, const float *, void *, int64_t, int64_t, int64_t, const float *)',
    ) as (
      type: number,
      source: Float32Array,
      target: Uint8Array,
      start: number,
      rows: number,
      columns: number,
      importance: null,
    ) => number,
  };
}

function nativeOf(library: LibraryHandle): Native {
  const known = bound.get(library);
  if (known) return known;
  const native = bind(library);
  bound.set(library, native);
  return native;
}

/**
 * Converts rows of F32 to a ggml type, as llama.cpp's quantizer does.
 * @param library libggml-base
 * @param source `rows * columns` elements, row by row
 * @throws ButterflyError COMPUTE_INVALID for a type that cannot be written so, or rows that are no whole blocks
 */
export function quantizeRows(
  library: LibraryHandle,
  typeId: number,
  source: Float32Array,
  rows: number,
  columns: number,
): Uint8Array {
  const known = Number.isInteger(typeId) && typeId >= 0 && typeId < typeCount && !unwritableTypes.has(typeId);
  ensure(known, () => `ggml type ${typeId} cannot be quantised to.`);
  const native = nativeOf(library);
  const blockSize = native.blockSize(typeId);
  ensure(
    blockSize > 0 && !native.needsImportance(typeId),
    () => `ggml type ${typeId} cannot be quantised to.`,
  );
  ensure(
    Number.isSafeInteger(rows) &&
      rows > 0 &&
      Number.isSafeInteger(columns) &&
      columns > 0 &&
      rows * columns === source.length,
    () => `${source.length} elements are not ${rows} rows of ${columns}.`,
  );
  ensure(
    columns % blockSize === 0,
    () => `A row of ${columns} elements is not whole blocks of ${blockSize}.`,
  );
  const target = new Uint8Array((source.length / blockSize) * native.blockBytes(typeId));
  const written = native.quantize(typeId, source, target, 0, rows, columns, null);
  ensure(written === target.byteLength, () => `ggml wrote ${written} bytes instead of ${target.byteLength}.`);
  return target;
}

/** Converts rows of F32 to the ggml type with this number. */
export type Quantize = (typeId: number, source: Float32Array, rows: number, columns: number) => Uint8Array;

/**
 * `quantizeRows` over the libraries of this platform, or of `directory`; needs no backend.
 * @throws ButterflyError LIBRARY_MISSING
 */
export function loadQuantizer(directory?: string): Quantize {
  const library = koffi.load(findLibraries(directory).base);
  return (typeId, source, rows, columns) => quantizeRows(library, typeId, source, rows, columns);
}
