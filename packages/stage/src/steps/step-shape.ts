import { ensure } from '@butterfly/common';
import {
  type AttentionSpan,
  type BatchShape,
  type CachedTokens,
  type ModelSpec,
  type PooledRows,
  type SpanLayout,
  type WindowsOfModel,
  cacheBlockSlots,
  stateSlotsOf,
  windowsOf,
} from '@butterfly/model';
import type { Pooling, SequenceWindow, StepSequence } from '@butterfly/wire';

/**
 * The shape of a step. Several known rows of a sequence are a part of a prompt and attended together, unless the step says
 * that they were decoded; a single one is decoded. What is decoded, and each guess behind it, is attended by itself and over
 * as many slots as if it came alone: attention over several rows has another code path, whose last bits differ.
 * @param padded how many rows to compute for so many.
 * @param layout of the queries of a span of so many rows.
 * @param model what it makes of texts, and what its window layers keep.
 */
export function batchShape(
  sequences: readonly StepSequence[],
  padded: (rows: number) => number,
  layout: SpanLayout,
  model: Pick<ModelSpec, 'isEncoder' | 'embedding' | 'graph'>,
): BatchShape {
  const { isEncoder, embedding } = model;
  const windows = windowsOf(model);
  let rows = 0;
  let logitRows = 0;
  const spans: AttentionSpan[] = [];
  const pooled: PooledRows[] = [];
  for (const sequence of sequences) {
    const { rows: all, positionStart, logitRows: wanted, window, pooling } = sequence;
    const span = (count: number, position: number): AttentionSpan => ({
      rows: count,
      ...layout(count, position + count),
      // An encoder attends to the rows of the step, whatever their region.
      cached: isEncoder
        ? { start: 0, slots: count, first: 0 }
        : { start: sequence.regionStart, slots: wholeBlocks(position + count), first: 0 },
      room: window && windows && cachedInRoom(window, { start: position, end: position + count }, windows),
    });
    const together = promptRows(sequence);
    if (together > 0) spans.push(span(together, positionStart));
    for (let r = together; r < all; r++) spans.push(span(1, positionStart + r));
    if (pooling) pooled.push({ ...pooledBy(pooling, embedding), rowStart: logitRows, rows: wanted });
    rows += all;
    logitRows += wanted;
  }
  // As spans are sequences in most steps, these have one shape whether there are states or not.
  const isSplit = stateSlotsOf(model) > 0 && spans.length > sequences.length;
  return {
    rows,
    paddedRows: padded(rows),
    spans,
    ...(isSplit ? { sequenceRows: sequences.map((sequence) => sequence.rows) } : {}),
    logitRows,
    paddedLogitRows: padded(logitRows),
    pooled,
  };
}

/** How many of its first rows a sequence computes together, as a part of a prompt; one alone is computed as what is decoded. */
export function promptRows({ rows, draftTokens, isDecoded = false }: StepSequence): number {
  return isDecoded ? 0 : rows - draftTokens.length;
}

/** @throws ButterflyError COMPUTE_INVALID for scores of a model that gives none */
function pooledBy(
  pooling: Pooling,
  embedding: ModelSpec['embedding'],
): Pick<PooledRows, 'takes' | 'isScored'> {
  switch (pooling) {
    case 'mean':
      return { takes: 'mean', isScored: false };
    case 'cls':
      return { takes: 'first', isScored: false };
    case 'last':
      return { takes: 'last', isScored: false };
    case 'rank': {
      const ranks = embedding?.ranks ?? null;
      ensure(ranks !== null, () => 'A step wants scores of a model that gives none.');
      return { takes: ranks.takes, isScored: true };
    }
    default:
      return pooling satisfies never;
  }
}

/** What rows at these positions see in their room, from the block on in which the first one's window begins. */
function cachedInRoom(
  { to, toFirst }: SequenceWindow,
  rows: { readonly start: number; readonly end: number },
  { windowTokens, roomSlots }: WindowsOfModel,
): CachedTokens {
  const seen = Math.max(0, rows.start - windowTokens + 1);
  const first = seen - (seen % cacheBlockSlots);
  return { start: to * roomSlots + first - toFirst, slots: wholeBlocks(rows.end) - first, first };
}

function wholeBlocks(slots: number): number {
  return Math.ceil(slots / cacheBlockSlots) * cacheBlockSlots;
}
