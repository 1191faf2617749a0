import type { LayerAttention } from '../spec/spec.js';
import { cachedOf } from './attention-layout.js';
import type { BatchShape } from './batch-shape.js';

/** Bits of 0 and of minus infinity in F16. */
const visible = 0;
const hidden = 0xfc00;

/** The first cached position that a row sees (llama-hparams.h, is_masked_swa). */
function firstSeen(position: number, window: LayerAttention['window']): number {
  switch (window?.kind) {
    case undefined:
      return 0;
    case 'sliding':
      return Math.max(0, position - window.tokens + 1);
    case 'chunked':
      return Math.floor(position / window.tokens) * window.tokens;
    case 'symmetric':
      return Math.max(0, position - Math.floor(window.tokens / 2));
    default:
      return window satisfies never;
  }
}

/** The last position that a row sees whose text goes on to `end`, where tokens see those that come later. */
function lastSeen(position: number, end: number, window: LayerAttention['window']): number {
  return window?.kind === 'symmetric' ? Math.min(end, position + Math.floor(window.tokens / 2)) : end;
}

/**
 * Fills the masks of all spans: each row sees the cached tokens before it and itself, as far as the window goes, in each of
 * its queries; queries without a row see nothing. In an encoder it sees the tokens behind it, too, and a span is a whole text.
 * @param masks F16 [slots, queries] of each span, one after the other.
 * @param groupHeads heads that share a key.
 * @param positions of the rows.
 */
export function fillMasks(
  masks: Uint16Array,
  { spans }: BatchShape,
  options: {
    readonly groupHeads: number;
    readonly positions: Int32Array;
    readonly window: LayerAttention['window'];
    readonly isBiased: boolean;
    readonly isEncoder?: boolean;
  },
): void {
  const { groupHeads, positions, window, isBiased, isEncoder = false } = options;
  let row = 0;
  let start = 0;
  for (const span of spans) {
    const { rows, layout, queries } = span;
    const { slots, first: base } = cachedOf(span, window);
    const queriesOfRow = layout === 'groups' ? groupHeads : 1;
    for (let query = 0; query < queries; query++) {
      const r = Math.floor(query / queriesOfRow);
      const position = r < rows ? (positions[row + r] ?? 0) : -1;
      const first = position < 0 ? 0 : firstSeen(position, window) - base;
      const last = isEncoder ? lastSeen(position, rows - 1, window) : position;
      const end = position < 0 ? 0 : last + 1 - base;
      masks.fill(hidden, start, start + first);
      masks.fill(visible, start + first, start + end);
      masks.fill(hidden, start + end, start + slots);
      if (isBiased)
        for (let seen = first; seen < end; seen++) {
          const distance = Math.abs(position - base - seen);
          if (distance > 0) masks[start + seen] = negativeHalf(distance);
        }
      start += slots;
    }
    row += rows;
  }
}

/** Bits of the negative of a whole number above 0 in F16, rounded to the nearest, of two as near to the even one. */
function negativeHalf(value: number): number {
  if (value >= 65_520) return hidden;
  const exponent = Math.floor(Math.log2(value));
  const scaled = (value / 2 ** exponent - 1) * 1024;
  const below = Math.floor(scaled);
  const rest = scaled - below;
  const mantissa = below + (rest > 0.5 || (rest === 0.5 && below % 2 === 1) ? 1 : 0);
  // A mantissa that overflows carries into the exponent.
  return 0x8000 | (((exponent + 15) << 10) + mantissa);
}
