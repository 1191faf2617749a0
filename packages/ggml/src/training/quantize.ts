import { ensure, silentLogger } from '@butterfly/common';
import { isWeightType, rowBytes } from '../graph/dtype.js';
import { loadGgml, type Ggml } from '../library/library.js';

/** Converts rows of F32 to the ggml type with this number. */
export type Quantize = (typeId: number, source: Float32Array, rows: number, columns: number) => Uint8Array;

/**
 * Converts rows of F32 to a ggml type, as llama.cpp's quantizer does.
 * @param source `rows * columns` elements, row by row
 * @throws ButterflyError COMPUTE_INVALID for a type that cannot be written so, or rows that are no whole blocks
 */
export function quantizeRows(
  ggml: Ggml,
  typeId: number,
  source: Float32Array,
  rows: number,
  columns: number,
): Uint8Array {
  const { base } = ggml;
  ensure(
    Number.isSafeInteger(rows) && rows > 0 && rows * columns === source.length,
    () => `${source.length} elements are not ${rows} rows of ${columns}.`,
  );
  const bytes = rows * rowBytes(ggml, typeId, columns);
  ensure(
    isWeightType(typeId) && !base.ggml_quantize_requires_imatrix(typeId),
    () => `ggml type ${typeId} cannot be quantised to.`,
  );
  const target = new Uint8Array(bytes);
  const written = base.ggml_quantize_chunk(typeId, source, target, 0, rows, columns, null);
  ensure(written === bytes, () => `ggml wrote ${written} bytes instead of ${bytes}.`);
  return target;
}

/**
 * `quantizeRows` over the libraries of this process, loaded from `directory` unless they are already.
 * @throws ButterflyError LIBRARY_MISSING, LIBRARY_MISMATCH
 */
export function loadQuantizer(directory?: string): Quantize {
  const ggml = loadGgml({ directory, log: silentLogger });
  return (typeId, source, rows, columns) => quantizeRows(ggml, typeId, source, rows, columns);
}
