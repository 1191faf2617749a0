import { type StepOutput, greedySampling } from '@butterfly/wire';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { rowsApart, tokensApart, toleranceOf } from './comparison.js';

const bytesOf = (...values: number[]): Uint8Array => new Uint8Array(Float32Array.from(values).buffer);

describe('rows of two workers', () => {
  it('are apart by the largest difference of a row in parts of its length', () => {
    expect(rowsApart(bytesOf(3, 4, 1, 0), bytesOf(3, 4, 1, 0), 2)).toBe(0);
    expect(rowsApart(bytesOf(3, 4, 1, 0.5), bytesOf(3, 4, 1, 0), 2)).toBeCloseTo(0.5);
    expect(rowsApart(bytesOf(6, 8, 1, 0.5), bytesOf(3, 4, 1, 0), 2)).toBeCloseTo(1);
  });

  it('are infinitely far apart where one is no number, or there are not as many', () => {
    expect(rowsApart(bytesOf(1, NaN), bytesOf(1, 2), 1)).toBe(Infinity);
    expect(rowsApart(bytesOf(1, 2), bytesOf(Infinity, 2), 1)).toBe(Infinity);
    expect(rowsApart(bytesOf(1), bytesOf(1, 2), 1)).toBe(Infinity);
    expect(rowsApart(bytesOf(1), bytesOf(0), 1)).toBe(Infinity);
    // A sequence whose numbers are none ends by itself.
    expect(rowsApart(bytesOf(NaN, 2), bytesOf(NaN, 3), 1)).toBe(0);
  });

  it('are the same at any alignment', () => {
    fc.assert(
      fc.property(fc.float32Array({ minLength: 1, maxLength: 20 }), fc.nat(7), (values, offset) => {
        const told = new Uint8Array(values.buffer, 0, values.byteLength);
        const shifted = new Uint8Array(offset + told.length);
        shifted.set(told, offset);
        expect(rowsApart(told, shifted.subarray(offset), 1)).toBe(0);
      }),
    );
  });
});

describe('tokens of two workers', () => {
  const output = (tokens: number[], logprobs?: StepOutput['logprobs']): StepOutput => ({
    sequenceId: 1,
    tokens: Int32Array.from(tokens),
    ...(logprobs && { logprobs }),
  });
  /** One token, that is the likeliest, and two more. */
  const computed = output([7], {
    chosen: Float32Array.of(-1),
    alternatives: 3,
    topTokens: Int32Array.of(7, 8, 9),
    topValues: Float32Array.of(-1, -1.1, -5),
  });
  const greedy = { sampling: greedySampling };
  const drawn = { sampling: { ...greedySampling, temperature: 1 } };

  it('are the same or not where kernels are alike to the bit', () => {
    const exact = toleranceOf('exact');
    expect(tokensApart(output([7]), computed, greedy, exact)).toEqual({ kind: 'same', tokens: 1 });
    expect(tokensApart(output([8]), computed, greedy, exact)).toMatchObject({ kind: 'apart' });
    expect(tokensApart(undefined, undefined, greedy, exact)).toEqual({ kind: 'same', tokens: 0 });
    expect(tokensApart(undefined, computed, greedy, exact)).toMatchObject({ kind: 'apart' });
  });

  it('may be another one that is as likely, or that could be drawn, where they are not', () => {
    const unlike = toleranceOf('unlike');
    expect(tokensApart(output([8]), computed, greedy, unlike)).toEqual({ kind: 'close', tokens: 1 });
    expect(tokensApart(output([9]), computed, greedy, unlike)).toMatchObject({ kind: 'apart' });
    expect(tokensApart(output([9]), computed, drawn, unlike)).toEqual({ kind: 'close', tokens: 1 });
    expect(tokensApart(output([10]), computed, drawn, unlike)).toMatchObject({
      kind: 'apart',
      words: 'token 10 instead of 7',
    });
    // One had a guess confirmed that the other had not.
    expect(tokensApart(output([7, 8]), computed, greedy, unlike)).toEqual({ kind: 'close', tokens: 1 });
  });
});
