import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { IncrementalDetokenizer, StopMatcher } from './detokenizer.js';

/** Token `n` is the n-th piece. */
const vocabularyOf = (pieces: readonly Uint8Array[]) => ({
  tokenToBytes: (token: number) => pieces[token] ?? new Uint8Array(),
});

/** Cuts a sequence at the given places, which may repeat and exceed it. */
function cutAt<T extends { slice(from: number, to: number): T; length: number }>(
  whole: T,
  cuts: number[],
): T[] {
  const places = [0, ...cuts.map((cut) => cut % (whole.length + 1)).sort((a, b) => a - b), whole.length];
  return places.slice(1).map((end, index) => whole.slice(places[index] ?? 0, end));
}

function detokenize(pieces: readonly Uint8Array[]): string[] {
  const detokenizer = new IncrementalDetokenizer(vocabularyOf(pieces));
  return [...pieces.map((_, token) => detokenizer.push(token)), detokenizer.flush()];
}

const cuts = fc.array(fc.nat(), { maxLength: 12 });
/** Bytes that are often almost UTF-8. */
const bytes = fc
  .array(
    fc.oneof(
      fc.string({ unit: 'binary', maxLength: 4 }).map((text) => Buffer.from(text)),
      fc.uint8Array({ maxLength: 3 }).map((raw) => Buffer.from(raw)),
    ),
    { maxLength: 12 },
  )
  .map((parts) => new Uint8Array(Buffer.concat(parts)));

describe('IncrementalDetokenizer', () => {
  it('gives the same text for every cut, and never half a code point', () => {
    fc.assert(
      fc.property(bytes, cuts, (whole, places) => {
        const texts = detokenize(cutAt(whole, places));
        expect(texts.join('')).toBe(new TextDecoder('utf-8', { ignoreBOM: true }).decode(whole));
        for (const text of texts) expect(text).not.toMatch(/\p{Surrogate}/u);
      }),
    );
  });

  it('waits for the rest of a code point', () => {
    const pieces = [...Buffer.from('é👋')].map((byte) => Uint8Array.of(byte));
    expect(detokenize(pieces)).toEqual(['', 'é', '', '', '', '👋', '']);
  });

  it('replaces invalid bytes, also at the end', () => {
    expect(detokenize([Uint8Array.of(0xff, 0x41), Uint8Array.of(0xe2, 0x82)])).toEqual([
      '\ufffdA',
      '',
      '\ufffd',
    ]);
  });

  it('keeps leading spaces and byte order marks', () => {
    expect(detokenize([Buffer.from(' Once'), Buffer.from('\ufeff')]).join('')).toBe(' Once\ufeff');
    expect(detokenize([Buffer.from('\ufeffa')]).join('')).toBe('\ufeffa');
  });
});

function matchAll(
  stops: readonly string[],
  pieces: readonly string[],
): { text: string; stop: string | null } {
  const matcher = new StopMatcher(stops);
  const matches = pieces.map((piece) => matcher.push(piece));
  const stop = matches.at(-1)?.stop ?? null;
  return { text: matches.map((match) => match.text).join('') + matcher.flush(), stop };
}

/** The definition: the shortest beginning of the text that ends with a stop string, less the longest such string. */
function expected(stops: readonly string[], text: string): { text: string; stop: string | null } {
  for (let end = 1; end <= text.length; end++) {
    const found = stops.filter((stop) => text.slice(0, end).endsWith(stop));
    const [longest] = found.toSorted((a, b) => b.length - a.length);
    if (longest !== undefined) return { text: text.slice(0, end - longest.length), stop: longest };
  }
  return { text, stop: null };
}

const few = (maxLength: number, minLength = 0) =>
  fc.string({ unit: fc.constantFrom('a', 'b', 'c'), minLength, maxLength });

describe('StopMatcher', () => {
  it('gives the same result for every cut of the text', () => {
    fc.assert(
      fc.property(fc.array(few(5, 1), { maxLength: 4 }), few(30), cuts, (stops, text, places) => {
        expect(matchAll(stops, cutAt(text, places))).toEqual(expected(stops, text));
      }),
      { numRuns: 500 },
    );
  });

  it('holds back only what could begin a stop string', () => {
    const matcher = new StopMatcher(['\n\nUser:']);
    expect(matcher.push('Hello\n')).toEqual({ text: 'Hello', stop: null });
    expect(matcher.push('World')).toEqual({ text: '\nWorld', stop: null });
    expect(matcher.push('!\n\nUse')).toEqual({ text: '!', stop: null });
    expect(matcher.push('r: no')).toEqual({ text: '', stop: '\n\nUser:' });
    expect(matcher.push('more')).toEqual({ text: '', stop: '\n\nUser:' });
    expect(matcher.flush()).toBe('');
  });

  it('gives out the held tail when the text ends', () => {
    const matcher = new StopMatcher(['END']);
    expect(matcher.push('the EN').text).toBe('the ');
    expect(matcher.flush()).toBe('EN');
  });
});
