import { describe, expect, it } from 'vitest';
import type { NativeFunction } from '../library/symbols.js';
import { ggml } from '../testing/graphs.js';
import { checkTensorStruct } from './tensor-struct.js';

const { ggml_tensor_overhead: overhead, ggml_rms_norm: rmsNorm } = ggml.base;
/** The library's function with another around it. */
const like = <A extends readonly unknown[], R>(
  original: NativeFunction<A, R>,
  other: (...args: A) => R,
): NativeFunction<A, R> => Object.assign(other, { async: original.async });

describe('checkTensorStruct', () => {
  it('finds the structs of the shipped libraries as they are read', () => {
    expect(() => checkTensorStruct(ggml)).not.toThrow();
  });

  it.each<readonly [string, Partial<typeof ggml.base>, string]>([
    ['are larger', { ggml_tensor_overhead: like(overhead, () => overhead() + 8) }, 'takes 376 bytes'],
    // Another function of the library stands for one that would write elsewhere.
    ['hold another operation', { ggml_add: ggml.base.ggml_mul }, 'reads as MUL'],
    [
      'hold another parameter',
      { ggml_rms_norm: like(rmsNorm, (context, a) => rmsNorm(context, a, 0.5)) },
      'has 0.5 as a parameter',
    ],
  ])('refuses libraries whose structs %s', (_, other, words) => {
    expect(() => checkTensorStruct({ ...ggml, base: { ...ggml.base, ...other } })).toThrow(
      expect.objectContaining({
        code: 'LIBRARY_MISMATCH',
        message: expect.stringContaining(words) as unknown,
      }),
    );
  });
});
