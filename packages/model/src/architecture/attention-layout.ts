import { fitsRooms } from '../spec/kv-cache-size.js';
import type { LayerAttention } from '../spec/spec.js';

/**
 * How the queries of a span are laid out for ggml's flash attention on the CPU, which chooses between code paths by that
 * layout, each with other last bits (decision 0027).
 *
 * - `rows`: [headSize, rows, heads], as llama.cpp has it.
 * - `heads`: one row, with the heads of a key's group side by side and the groups behind each other,
 *   [headSize, 1, heads / kvHeads, kvHeads]: the path for it takes each head in one go, on however many threads.
 * - `groups`: the heads that share a key are rows of one head, [headSize, queries, kvHeads], with as many queries as the
 *   path wants that is to be taken; those behind the last row see nothing.
 */
export type AttentionLayout = 'rows' | 'heads' | 'groups';

/** Cached tokens that one attention reads, one after the other. */
export interface CachedTokens {
  /** The slot of the first one. */
  readonly start: number;
  /** How many slots are read: a multiple of `cacheBlockSlots`, but of an encoder, which caches nothing, the rows themselves. */
  readonly slots: number;
  /** Position of the first one, a multiple of the same: so kernels take the same tokens together wherever these begin. */
  readonly first: number;
}

/** Consecutive rows of one sequence that are attended by one call. */
export interface AttentionSpan {
  readonly rows: number;
  readonly layout: AttentionLayout;
  /** Rows of the mask, which are the queries of one head of the layout. */
  readonly queries: number;
  /** In the region of the sequence. */
  readonly cached: CachedTokens;
  /** What window layers read instead, in the room of the sequence; null where they lie in the arena as others do. */
  readonly room: CachedTokens | null;
}

/** What layers that see so far read of a span. */
export function cachedOf(
  { cached, room }: Pick<AttentionSpan, 'cached' | 'room'>,
  window: LayerAttention['window'],
): CachedTokens {
  return room !== null && fitsRooms({ window }) ? room : cached;
}

/** ggml takes so many queries at least by tiles (ggml/src/ggml-cpu/common.h, GGML_FA_TILE_Q). */
const tileQueries = 64;
/** The layout of a span of so many rows, the last of which has so many tokens up to and with itself. */
export type SpanLayout = (rows: number, end: number) => Pick<AttentionSpan, 'layout' | 'queries'>;

/**
 * The layout with which a row has the same numbers however many are attended with it, for keys and values of F16; of
 * the other types, ggml has one path only. Prompts go by tiles, where a row's numbers depend on nothing but the row,
 * and single rows, which are decoded, one by one.
 */
export function evenLayout(
  rows: number,
  end: number,
  { heads, kvHeads }: { readonly heads: number; readonly kvHeads: number },
): ReturnType<SpanLayout> {
  const groupHeads = heads / kvHeads;
  if (rows >= tileQueries) return { layout: 'rows', queries: rows };
  // A prompt that is shorter than a tile goes row by row, as in llama.cpp.
  if (rows > 1 && end < tileQueries) return plainLayout(rows, end);
  if (rows > 1) return { layout: 'groups', queries: Math.max(tileQueries, rows * groupHeads) };
  if (kvHeads > 1) return { layout: 'heads', queries: 1 };
  // Two rows and more are not split over threads.
  return groupHeads < tileQueries ? { layout: 'groups', queries: groupHeads } : plainLayout(rows, end);
}

/** The layout that llama.cpp has. */
export const plainLayout: SpanLayout = (rows) => ({ layout: 'rows', queries: rows });

/** Queries of the largest span with the layout `groups`; 0 without any. */
export function groupedQueries(spans: readonly AttentionSpan[]): number {
  return Math.max(0, ...spans.map(({ layout, queries }) => (layout === 'groups' ? queries : 0)));
}
