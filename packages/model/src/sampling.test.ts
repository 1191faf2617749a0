import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { drawFraction } from './sampling.js';

/** Sum of squared deviations from even counts, in units of what chance allows. */
function chiSquare(counts: readonly number[]): number {
  const expected = counts.reduce((sum, count) => sum + count, 0) / counts.length;
  return counts.reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0);
}

/** A bound that chance exceeds once in ten thousand tries (Wilson and Hilferty's approximation). */
function bound(degrees: number): number {
  const spread = 2 / (9 * degrees);
  return degrees * (1 - spread + 3.72 * Math.sqrt(spread)) ** 3;
}

function histogram(values: Iterable<number>, bins: number): number[] {
  const counts = Array<number>(bins).fill(0);
  for (const value of values) counts[value] = (counts[value] ?? 0) + 1;
  return counts;
}

const draws = 100_000;
const bins = 100;
const binOf = (fraction: number): number => Math.floor(fraction * bins);
const seeds = [0, 1, 2, 42, 0x7fffffff, 0x80000000, 0xdeadbeef, 0xffffffff];
const sequence = (draw: (i: number) => number, count = draws): number[] =>
  Array.from({ length: count }, (_, i) => draw(i));

describe('drawFraction', () => {
  it('gives fractions in [0, 1), the same for the same seed and position', () => {
    const uint32 = fc.integer({ min: 0, max: 0xffffffff });
    fc.assert(
      fc.property(uint32, uint32, (seed, position) => {
        const fraction = drawFraction(seed, position);
        expect(fraction).toBeGreaterThanOrEqual(0);
        expect(fraction).toBeLessThan(1);
        expect(drawFraction(seed, position)).toBe(fraction);
      }),
      { numRuns: 2000 },
    );
  });

  it('never changes, since sequences go on with it after an update', () => {
    const golden = [
      [0, 0],
      [0, 1],
      [42, 0],
      [42, 1000],
      [0xffffffff, 0xffffffff],
    ] as const;
    expect(golden.map(([seed, position]) => drawFraction(seed, position))).toMatchInlineSnapshot(`
      [
        0.6813889122592865,
        0.626899394857905,
        0.5661213823855935,
        0.5158309873893885,
        0.24844386307065325,
      ]
    `);
  });

  it.each(seeds)('is even over positions: seed %i', (seed) => {
    const fractions = sequence((position) => drawFraction(seed, position));
    expect(chiSquare(histogram(fractions.map(binOf), bins))).toBeLessThan(bound(bins - 1));
    // The low bits as well: the fraction has 53 of them.
    const low = fractions.map((fraction) => binOf((fraction * 2 ** 20) % 1));
    expect(chiSquare(histogram(low, bins))).toBeLessThan(bound(bins - 1));
  });

  it.each([0, 1, 511, 2 ** 31])('is even over seeds: position %i', (position) => {
    const fractions = sequence((seed) => drawFraction(seed, position));
    expect(chiSquare(histogram(fractions.map(binOf), bins))).toBeLessThan(bound(bins - 1));
  });

  it.each([1, 2, 7, 256])('is independent of the position %i before it', (lag) => {
    for (const seed of seeds) {
      const pairs = sequence((i) => {
        const [a, b] = [drawFraction(seed, i), drawFraction(seed, i + lag)];
        return Math.floor(a * 10) * 10 + Math.floor(b * 10);
      });
      expect(chiSquare(histogram(pairs, 100))).toBeLessThan(bound(99));
    }
  });

  it('is even in a second stream, which is independent of the first', () => {
    for (const seed of seeds) {
      const pairs = sequence((i) => {
        const [a, b] = [drawFraction(seed, i), drawFraction(seed, i, 1)];
        return Math.floor(a * 10) * 10 + Math.floor(b * 10);
      });
      expect(chiSquare(histogram(pairs, 100))).toBeLessThan(bound(99));
    }
  });

  it('is independent of neighbouring seeds', () => {
    const pairs = sequence((i) => {
      const [seed, position] = [i % 317, Math.floor(i / 317)];
      const [a, b] = [drawFraction(seed, position), drawFraction(seed + 1, position)];
      return Math.floor(a * 10) * 10 + Math.floor(b * 10);
    });
    expect(chiSquare(histogram(pairs, 100))).toBeLessThan(bound(99));
  });

  it('gives no fraction twice', () => {
    expect(new Set(sequence((position) => drawFraction(7, position))).size).toBe(draws);
  });

  it('changes about half of the bits when one bit of the input changes', () => {
    const bitsOf = (fraction: number): bigint => BigInt(fraction * 2 ** 53);
    const flipped = (a: number, b: number): number =>
      (bitsOf(a) ^ bitsOf(b)).toString(2).replaceAll('0', '').length;
    for (let bit = 0; bit < 32; bit++) {
      let changes = 0;
      for (let i = 0; i < 200; i++) {
        const other = (i ^ (1 << bit)) >>> 0;
        changes += flipped(drawFraction(i, 5), drawFraction(other, 5)) / 400;
        changes += flipped(drawFraction(5, i), drawFraction(5, other)) / 400;
      }
      expect(Math.abs(changes - 26.5)).toBeLessThan(1.5);
    }
  });
});
