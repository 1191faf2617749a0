import { ButterflyError } from '@butterfly/common';
import { part } from '@butterfly/stage/testing';
import { type Step, greedySampling, tokenOfStepBefore } from '@butterfly/wire';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SampledTokens } from './sampled-tokens.js';

const result = (stepId: number, sampled: Readonly<Record<number, readonly number[]>>) => ({
  stepId,
  outputs: Object.entries(sampled).map(([id, tokens]) => ({
    sequenceId: Number(id),
    tokens: Int32Array.from(tokens),
  })),
});

/** A step with the given tokens for each of its sequences. */
function stepOf(stepId: number, rows: Readonly<Record<number, readonly number[]>>): Step {
  const tokens = Int32Array.from(Object.values(rows).flat());
  return {
    epoch: 1,
    stepId,
    copies: [],
    sequences: Object.entries(rows).map(([id, { length }]) =>
      part({ sequenceId: Number(id), rows: length, sampling: greedySampling }),
    ),
    stageTimes: [],
    // At an odd offset, as it may lie in a frame.
    payload: new Uint8Array([0, ...new Uint8Array(tokens.buffer)]).subarray(1),
  };
}

const tokensOf = (payload: Uint8Array | null): number[] | null =>
  payload && [...new Int32Array(Uint8Array.from(payload).buffer)];

describe('sampled tokens', () => {
  it('take the place of what a step does not know, and only that', () => {
    const sampled = new SampledTokens(3);
    sampled.came(result(4, { 7: [70], 8: [80, 81] }));
    sampled.came(result(5, { 9: [90] }));
    const step = stepOf(6, {
      1: [11, 12, 13],
      2: [21],
      8: [tokenOfStepBefore(2)],
      9: [tokenOfStepBefore(1)],
    });
    expect(tokensOf(sampled.resolve(step))).toEqual([11, 12, 13, 21, 81, 90]);
    // What came is the caller's.
    expect(tokensOf(step.payload)?.[4]).toBe(-2);
    const known = stepOf(7, { 1: [14] });
    expect(sampled.resolve(known)).toBe(known.payload);
  });

  it('are waited for while their step is under way', () => {
    const sampled = new SampledTokens(2);
    const step = stepOf(2, { 7: [tokenOfStepBefore(2)] });
    expect(sampled.resolve(step)).toBe(null);
    sampled.came(result(0, { 7: [70] }));
    expect(tokensOf(sampled.resolve(step))).toEqual([70]);
  });

  it.each<[string, Step]>([
    ['a sequence that was not sampled', stepOf(4, { 8: [tokenOfStepBefore(1)] })],
    ['a step that sampled nothing', stepOf(3, { 7: [tokenOfStepBefore(1)] })],
    ['a step that is forgotten', stepOf(4, { 7: [tokenOfStepBefore(4)] })],
    ['more steps back than there are stages', stepOf(9, { 7: [tokenOfStepBefore(3)] })],
    ['a step before the first', stepOf(1, { 7: [tokenOfStepBefore(2)] })],
    ['the least of all numbers', stepOf(4, { 7: [-(2 ** 31)] })],
  ])('are not made up for %s', (_, step) => {
    const sampled = new SampledTokens(2);
    for (const stepId of [0, 1, 3]) sampled.came(result(stepId, { 7: [70 + stepId] }));
    expect(() => sampled.resolve(step)).toThrow(expect.objectContaining({ code: 'PROTOCOL_INVALID' }));
  });

  it('come in order, and a step that samples nothing says nothing', () => {
    const sampled = new SampledTokens(2);
    sampled.came({ stepId: Number.MAX_SAFE_INTEGER, outputs: [] });
    sampled.came(result(3, { 7: [70] }));
    for (const stepId of [2, 3])
      expect(() => sampled.came(result(stepId, { 7: [1] }))).toThrow(ButterflyError);
  });

  it('leave a payload alone that is too short, for the stage to refuse', () => {
    const step = stepOf(1, { 7: [5], 8: [6] });
    const short = { ...step, payload: step.payload.subarray(0, 6) };
    expect(new SampledTokens(1).resolve(short)).toBe(short.payload);
  });

  it('are found as far back as there are stages, whatever came', () => {
    const history = fc.array(
      fc.dictionary(fc.constantFrom('1', '2', '3'), fc.array(fc.nat(99), { minLength: 1 })),
    );
    fc.assert(
      fc.property(history, fc.integer({ min: 1, max: 5 }), (steps, stages) => {
        const sampled = new SampledTokens(stages);
        for (const [stepId, outputs] of steps.entries()) {
          sampled.came(result(stepId, outputs));
          for (let back = 1; back <= stages && back <= stepId + 1; back += 1)
            for (const [id, tokens] of Object.entries(steps[stepId + 1 - back] ?? {})) {
              const step = stepOf(stepId + 1, { [id]: [tokenOfStepBefore(back)] });
              expect(tokensOf(sampled.resolve(step))).toEqual([tokens.at(-1)]);
            }
        }
      }),
    );
  });
});
