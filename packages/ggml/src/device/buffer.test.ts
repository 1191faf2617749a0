import { describe, expect, it } from 'vitest';
import { backend, computeInvalid } from '../testing/graphs.js';

const invalid = expect.objectContaining(computeInvalid) as Error;

describe('NativeBuffer', () => {
  it('gives views of one memory', () => {
    using buffer = backend.allocate(256);
    buffer.clear();
    buffer.view(16, 4).set([1, 2, 3, 4]);
    expect([...buffer.view(14, 8)]).toEqual([0, 0, 1, 2, 3, 4, 0, 0]);
    buffer.clear();
    expect(buffer.view(0, 256).every((byte) => byte === 0)).toBe(true);
  });

  it('starts at its alignment', () => {
    using buffer = backend.allocate(1);
    expect(buffer.address % BigInt(buffer.type.alignment)).toBe(0n);
    expect(buffer.bytes).toBe(1);
  });

  it.each([0, -1, 1.5, NaN, Infinity, 2 ** 53])('refuses a size of %d bytes', (bytes) => {
    expect(() => backend.allocate(bytes)).toThrow(invalid);
  });

  it('says so when memory is short', () => {
    expect(() => backend.allocate(2 ** 52)).toThrow(
      expect.objectContaining({
        code: 'COMPUTE_FAILED',
        message: expect.stringMatching(/could not be allocated/) as string,
      }),
    );
  });

  it.each([
    [-1, 4],
    [0, 0],
    [0, -4],
    [0, 65],
    [61, 4],
    [64, 1],
    [0.5, 4],
    [0, 1.5],
    [NaN, 4],
    [0, NaN],
  ])('refuses a view of %d+%d bytes of 64', (offset, bytes) => {
    using buffer = backend.allocate(64);
    expect(() => buffer.view(offset, bytes)).toThrow(invalid);
  });

  it('has no plain view of a layout of the kernels', () => {
    const [type] = backend.preferred;
    // Processors without such a layout have nothing to refuse.
    if (!type) {
      expect(backend.preferred).toEqual([]);
      return;
    }
    using buffer = backend.allocate(1024, type);
    expect(() => buffer.view(0, 8)).toThrow(invalid);
  });

  it('is freed once, and refuses all use afterwards', () => {
    const buffer = backend.allocate(64);
    buffer[Symbol.dispose]();
    buffer[Symbol.dispose]();
    const uses = [
      () => buffer.view(0, 4),
      () => buffer.clear(),
      () => buffer.markWeights(),
      () => buffer.address,
      () => buffer.pointer,
    ];
    for (const use of uses) expect(use).toThrow(invalid);
  });
});
