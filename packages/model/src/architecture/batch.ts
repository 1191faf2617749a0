/** Cached slots are read in whole blocks of this many, so that a graph serves many steps; as llama.cpp pads its cache. */
export const cacheBlockSlots = 256;

/** The shape of one step: what a graph depends on. The contents of its inputs are not part of it. */
export interface BatchShape {
  readonly rows: number;
  readonly sequences: readonly {
    readonly rows: number;
    readonly regionStart: number;
    /** Slots that attention reads, a multiple of `cacheBlockSlots` within the region. */
    readonly cachedSlots: number;
  }[];
  /** Rows whose logits are wanted. */
  readonly logitRows: number;
}

export function batchKey(batch: BatchShape): string {
  return `${batch.logitRows}|${batch.sequences.map((s) => `${s.rows},${s.regionStart},${s.cachedSlots}`).join('|')}`;
}

/** Bytes that one cached token takes in one layer: keys and values in F16. */
export function cacheBytesPerSlot(spec: { readonly kvHeads: number; readonly headSize: number }): number {
  return spec.kvHeads * spec.headSize * 2 * 2;
}
