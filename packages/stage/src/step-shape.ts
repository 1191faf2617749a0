import { ensure } from '@butterfly/common';
import {
  type AttentionSpan,
  type BatchShape,
  type ModelSpec,
  type PooledRows,
  type SpanLayout,
  cacheBlockSlots,
} from '@butterfly/model';
import type { Pooling, StepSequence } from '@butterfly/wire';

/**
 * The shape of a step. Several known rows of a sequence are a part of a prompt and attended together; a single one is
 * decoded, and each guess behind it is attended by itself and over as many slots as if it were decoded alone: attention
 * over several rows has another code path, whose last bits differ.
 * @param padded how many rows to compute for so many.
 * @param layout of the queries of a span of so many rows.
 * @param model what it makes of texts.
 */
export function batchShape(
  sequences: readonly StepSequence[],
  padded: (rows: number) => number,
  layout: SpanLayout,
  { isEncoder, embedding }: Pick<ModelSpec, 'isEncoder' | 'embedding'>,
): BatchShape {
  let rows = 0;
  let logitRows = 0;
  const spans: AttentionSpan[] = [];
  const pooled: PooledRows[] = [];
  for (const sequence of sequences) {
    const { rows: all, regionStart, positionStart, draftTokens, logitRows: wanted, pooling } = sequence;
    const span = (count: number, position: number): AttentionSpan => ({
      rows: count,
      ...layout(count, position + count),
      // An encoder attends to the rows of the step, whatever their region.
      regionStart: isEncoder ? 0 : regionStart,
      cachedSlots: isEncoder ? count : Math.ceil((position + count) / cacheBlockSlots) * cacheBlockSlots,
    });
    const known = all - draftTokens.length;
    spans.push(span(known, positionStart));
    for (let r = known; r < all; r++) spans.push(span(1, positionStart + r));
    if (pooling) pooled.push({ ...pooledBy(pooling, embedding), rowStart: logitRows, rows: wanted });
    rows += all;
    logitRows += wanted;
  }
  return { rows, paddedRows: padded(rows), spans, logitRows, paddedLogitRows: padded(logitRows), pooled };
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
