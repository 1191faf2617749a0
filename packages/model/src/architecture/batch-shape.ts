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
  /** Rows of each sequence in turn, where layers keep states and a sequence has several spans; absent where each span is one. */
  readonly sequenceRows?: readonly number[];
  /** Texts whose embeddings are wanted, in place of logits; absent or empty where logits are. */
  readonly pooled?: readonly PooledRows[];
}

/** Rows of a text of which an embedding is made. */
export interface PooledRows {
  /** Of the rows of outputs. */
  readonly rowStart: number;
  readonly rows: number;
  /** What of them is taken. */
  readonly takes: 'mean' | 'first' | 'last';
  /** Whether the model's own head scores what is taken. */
  readonly isScored: boolean;
}

/** Neighbouring sequences with as many rows each. */
export interface RowGroup {
  readonly rows: number;
  readonly sequences: number;
  /** Of its first row in the step. */
  readonly rowStart: number;
}

/** The rows of a step by sequences with as many rows; what pads is one more. */
export function rowGroups({ spans, sequenceRows, rows, paddedRows }: BatchShape): RowGroup[] {
  const groups: { rows: number; sequences: number; rowStart: number }[] = [];
  let rowStart = 0;
  for (const count of [
    ...(sequenceRows ?? spans.map((span) => span.rows)),
    ...(paddedRows > rows ? [paddedRows - rows] : []),
  ]) {
    const last = groups.at(-1);
    if (last?.rows === count) last.sequences += 1;
    else groups.push({ rows: count, sequences: 1, rowStart });
    rowStart += count;
  }
  return groups;
}

export function batchKey(batch: BatchShape): string {
  const { paddedRows, paddedLogitRows, logitRows, spans, sequenceRows = [], pooled = [] } = batch;
  let key = `${paddedRows},${logitRows},${paddedLogitRows},${sequenceRows.join('+')}`;
  for (const { rows, layout, cached, room } of spans)
    key += `|${rows},${layout},${cached.start},${cached.slots},${room ? `${room.start},${room.slots},${room.first}` : ''}`;
  for (const { rowStart, rows, takes, isScored } of pooled)
    key += `|${takes},${rowStart},${rows},${isScored}`;
  return key;
}
