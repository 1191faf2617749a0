import { silentLogger } from '@butterfly/common';
import { describe, expect, it } from 'vitest';
import { loadGgml } from '../library/library.js';
import { loadQuantizer, quantizeRows } from './quantize.js';

const quantize = loadQuantizer();
const ramp = (length: number): Float32Array => Float32Array.from({ length }, (_, index) => index / 8 - 16);

describe('quantizeRows', () => {
  it('keeps F32 as it is, and F16 where it is exact', () => {
    const source = ramp(64);
    expect(new Float32Array(quantize(0, source, 2, 32).buffer)).toEqual(source);
    expect([...quantize(1, Float32Array.of(1, -2, 0.5), 1, 3)]).toEqual([0x00, 0x3c, 0x00, 0xc0, 0x00, 0x38]);
  });

  it('writes Q8_0 blocks of a scale and 32 bytes', () => {
    const source = Float32Array.from({ length: 32 }, (_, index) => index * 4 + 3);
    const block = quantize(8, source, 1, 32);
    expect(block.byteLength).toBe(34);
    // The largest value, 127, takes the largest byte, so the scale is 1.
    expect([...block.subarray(0, 2)]).toEqual([0x00, 0x3c]);
    expect([...new Int8Array(block.buffer, 2)]).toEqual([...source]);
  });

  it.each([
    [2, 256, 18 * 8],
    [12, 256, 144],
    [14, 512, 420],
  ])('writes type %i in %i columns as %i bytes a row', (type, columns, bytes) => {
    expect(quantize(type, ramp(columns * 3), 3, columns).byteLength).toBe(bytes * 3);
  });

  it.each([
    ['an unknown type', 99, 1, 32],
    ['a retired type', 4, 1, 32],
    ['an integer type', 26, 1, 32],
    ['a type that needs an importance matrix', 16, 1, 256],
    ['rows that are no whole blocks', 2, 1, 33],
    ['too few elements', 2, 2, 32],
    ['no rows', 2, 0, 32],
  ])('refuses %s', (_, type, rows, columns) => {
    const source = ramp(type === 2 && rows === 2 ? 32 : rows * columns);
    expect(() => quantize(type, source, rows, columns)).toThrow(
      expect.objectContaining({ code: 'COMPUTE_INVALID' }),
    );
  });

  it('serves any bound library', () => {
    const ggml = loadGgml({ log: silentLogger });
    expect(quantizeRows(ggml, 2, ramp(32), 1, 32)).toEqual(quantize(2, ramp(32), 1, 32));
  });
});
