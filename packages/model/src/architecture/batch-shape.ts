import type { AttentionSpan } from './attention-layout.js';

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
  for (const { rows, layout, regionStart, cachedSlots } of spans)
    key += `|${rows},${layout},${regionStart},${cachedSlots}`;
  return key;
}
