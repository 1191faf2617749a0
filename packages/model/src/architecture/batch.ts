import type { CacheType } from '@butterfly/common';

/** Cached slots are read in whole blocks of this many, so that a graph serves many steps; as llama.cpp pads its cache. */
export const cacheBlockSlots = 256;

/** Consecutive rows of one sequence that are attended by one call. */
export interface AttentionSpan {
  readonly rows: number;
  /** First slot of the region of the sequence. */
  readonly regionStart: number;
  /** Slots that attention reads, a multiple of `cacheBlockSlots` within the region. */
  readonly cachedSlots: number;
}

/**
 * The shape of one step: what a graph depends on. The contents of its inputs are not part of it. Matrix products may
 * have more rows than there are tokens, because kernels take rows in groups; what pads is neither cached nor attended.
 */
export interface BatchShape {
  readonly rows: number;
  /** Rows of the matrix products. */
  readonly paddedRows: number;
  readonly spans: readonly AttentionSpan[];
  /** Rows whose logits are wanted. */
  readonly logitRows: number;
  /** Rows of the matrix products behind the last attention; 0 exactly when no logits are wanted. */
  readonly paddedLogitRows: number;
}

export function batchKey({ paddedRows, paddedLogitRows, logitRows, spans }: BatchShape): string {
  let key = `${paddedRows},${logitRows},${paddedLogitRows}`;
  for (const { rows, regionStart, cachedSlots } of spans) key += `|${rows},${regionStart},${cachedSlots}`;
  return key;
}

/** Bytes of so many cached elements; Q8_0 has a scale in F16 for each 32. */
const bytesPerElement: Readonly<Record<CacheType, number>> = { f16: 2, bf16: 2, q8_0: 34 / 32 };

/** Bytes that one cached token takes in one layer: keys and values. */
export function cacheBytesPerSlot(
  spec: { readonly kvHeads: number; readonly headSize: number },
  type: CacheType,
): number {
  return spec.kvHeads * spec.headSize * 2 * bytesPerElement[type];
}
