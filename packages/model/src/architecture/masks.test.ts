import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { LayerAttention } from '../spec/spec.js';
import { type AttentionSpan, cachedOf } from './attention-layout.js';
import type { BatchShape } from './batch-shape.js';
import { fillMasks } from './masks.js';

type Window = LayerAttention['window'];
const hidden = -Infinity;

/** Numbers of F16 by their bits. */
function halves(bits: Uint16Array): number[] {
  return Array.from(bits, (half) => {
    const exponent = (half >> 10) & 31;
    const mantissa = half & 1023;
    const size =
      exponent === 31
        ? Infinity
        : exponent === 0
          ? mantissa * 2 ** -24
          : (1 + mantissa / 1024) * 2 ** (exponent - 15);
    return half & 0x8000 ? -size : size;
  });
}

function masksOf(
  spans: readonly AttentionSpan[],
  options: {
    positions: readonly number[];
    window?: Window;
    isBiased?: boolean;
    groupHeads?: number;
    isEncoder?: boolean;
  },
): number[] {
  const masks = new Uint16Array(
    spans.reduce((sum, span) => sum + span.queries * cachedOf(span, options.window ?? null).slots, 0),
  );
  const rows = spans.reduce((sum, span) => sum + span.rows, 0);
  const batch: BatchShape = { rows, paddedRows: rows, spans, logitRows: 0, paddedLogitRows: 0 };
  fillMasks(masks, batch, {
    window: null,
    isBiased: false,
    groupHeads: 1,
    ...options,
    positions: Int32Array.from(options.positions),
  });
  return halves(masks);
}

const span = (change: Partial<AttentionSpan>): AttentionSpan => ({
  rows: 1,
  layout: 'rows',
  queries: change.rows ?? 1,
  cached: { start: 0, slots: 8, first: 0 },
  room: null,
  ...change,
});
const cachedIn = (slots: number): Partial<AttentionSpan> => ({ cached: { start: 0, slots, first: 0 } });

/** The mask of one row, as letters: what it sees is 1. */
const seenBy = (position: number, window: Window): string =>
  masksOf([span({})], { positions: [position], window })
    .map((value) => (value === 0 ? '1' : '.'))
    .join('');

describe('fillMasks', () => {
  it.each<readonly [string, number, Window, string]>([
    ['all that came before', 5, null, '111111..'],
    ['itself alone at first', 0, null, '1.......'],
    ['a window that ends with it', 5, { kind: 'sliding', tokens: 3 }, '...111..'],
    ['less than its window at first', 1, { kind: 'sliding', tokens: 3 }, '11......'],
    ['its own chunk', 6, { kind: 'chunked', tokens: 4 }, '....111.'],
    ['no more than itself where a chunk begins', 4, { kind: 'chunked', tokens: 4 }, '....1...'],
    ['the whole chunk at its end', 3, { kind: 'chunked', tokens: 4 }, '1111....'],
  ])('lets a row see %s', (_, position, window, expected) => {
    expect(seenBy(position, window)).toBe(expected);
  });

  it('lets the tokens of an encoder see those behind them, half of the window to each side', () => {
    const text = span({ rows: 4, ...cachedIn(4) });
    const seen = (window: Window): string =>
      masksOf([text], { positions: [0, 1, 2, 3], window, isEncoder: true })
        .map((value) => (value === 0 ? '1' : '.'))
        .join('');
    expect(seen(null)).toBe('1'.repeat(16));
    expect(seen({ kind: 'symmetric', tokens: 3 })).toBe('11..111..111..11');
    expect(masksOf([text], { positions: [0, 1, 2, 3], isBiased: true, isEncoder: true }).slice(4, 8)).toEqual(
      [-1, 0, -1, -2],
    );
  });

  it('counts what is seen the less the farther it is, where attention wants that', () => {
    expect(masksOf([span({})], { positions: [3], isBiased: true })).toEqual([
      -3,
      -2,
      -1,
      0,
      hidden,
      hidden,
      hidden,
      hidden,
    ]);
  });

  it('rounds distances as F16 does, to the nearest and of two to the even one', () => {
    const last = 69_999;
    const mask = masksOf([span(cachedIn(last + 1))], { positions: [last], isBiased: true });
    const rounded = (distance: number): number | undefined => mask[last - distance];
    expect([1, 2047, 2048].map(rounded)).toEqual([-1, -2047, -2048]);
    // Above 2,048 every second number is one of F16, above 4,096 every fourth.
    expect([2049, 2050, 2051].map(rounded)).toEqual([-2048, -2050, -2052]);
    expect([4097, 4098, 4099, 4102].map(rounded)).toEqual([-4096, -4096, -4100, -4104]);
    expect([65_519, 65_520].map(rounded)).toEqual([-65_504, hidden]);
    for (let distance = 1; distance < 65_520; distance += 13) {
      const step = 2 ** Math.max(0, Math.floor(Math.log2(distance)) - 10);
      expect(Math.abs((rounded(distance) ?? NaN) + distance)).toBeLessThanOrEqual(step / 2);
    }
  });

  it('does as the definition of llama.cpp, for spans of every layout', () => {
    fc.assert(
      fc.property(anyBatch, ({ spans, positions, window, isBiased, groupHeads }) => {
        const actual = masksOf(spans, { positions, window, isBiased, groupHeads });
        expect(actual).toEqual(naiveMasks(spans, { positions, window, isBiased, groupHeads }));
      }),
    );
  });
});

/** As `llm_graph_input_attn_kv::set_input` and `is_masked_swa` have it, element by element. */
function naiveMasks(
  spans: readonly AttentionSpan[],
  options: { positions: readonly number[]; window: Window; isBiased: boolean; groupHeads: number },
): number[] {
  const { positions, window, isBiased, groupHeads } = options;
  const isMasked = (cached: number, position: number): boolean => {
    if (cached > position) return true;
    if (window?.kind === 'sliding') return position - cached >= window.tokens;
    return window?.kind === 'chunked' && cached < position - (position % window.tokens);
  };
  const values: number[] = [];
  let before = 0;
  for (const each of spans) {
    const { rows, layout, queries } = each;
    const { slots, first } = cachedOf(each, window);
    for (let query = 0; query < queries; query++)
      for (let cached = first; cached < first + slots; cached++) {
        const row = layout === 'groups' ? Math.floor(query / groupHeads) : query;
        const position = row < rows ? (positions[before + row] ?? NaN) : -1;
        const distance = isBiased ? position - cached : 0;
        values.push(isMasked(cached, position) ? hidden : distance === 0 ? 0 : -distance);
      }
    before += rows;
  }
  return values;
}

const anyBatch = fc
  .record({
    groupHeads: fc.integer({ min: 1, max: 4 }),
    isBiased: fc.boolean(),
    window: fc.option(
      fc.record({
        kind: fc.constantFrom('sliding' as const, 'chunked' as const),
        tokens: fc.integer({ min: 1, max: 20 }),
      }),
    ),
    parts: fc.array(
      fc.record({
        rows: fc.integer({ min: 1, max: 5 }),
        start: fc.nat({ max: 20 }),
        layout: fc.constantFrom('rows' as const, 'heads' as const, 'groups' as const),
        spare: fc.nat({ max: 3 }),
        isInRoom: fc.boolean(),
      }),
      { minLength: 1, maxLength: 3 },
    ),
  })
  .map(({ parts, ...options }) => ({
    ...options,
    positions: parts.flatMap(({ rows, start, layout }) =>
      Array.from({ length: layout === 'heads' ? 1 : rows }, (_, row) => start + row),
    ),
    spans: parts.map(({ rows, start, layout, spare, isInRoom }) => {
      const count = layout === 'heads' ? 1 : rows;
      const queries = layout === 'groups' ? count * options.groupHeads + spare : count;
      const end = start + count + spare;
      // From the first token on that the first row sees.
      const first = Math.max(0, start - (options.window?.tokens ?? 0) + 1);
      const room = isInRoom ? { start: 0, slots: end - first, first } : null;
      return span({ rows: count, layout, queries, ...cachedIn(end), room });
    }),
  }));
