import { describe, expect, it } from 'vitest';
import { limits } from '@butterfly/common';
import { type Frame, FrameDecoder } from './frame.js';
import { poolings } from './pooling.js';
import { greedySampling } from './sampling.js';
import { decodeStep, decodeStepResult, encodeStep, encodeStepResult } from './step.js';
import type { Step, StepResult, StepSequence } from './types.js';

function transfer(parts: Uint8Array[]): Frame {
  const decoder = new FrameDecoder();
  decoder.push(Buffer.concat(parts));
  const [frame] = decoder.frames();
  if (frame === undefined) throw new Error('no frame came out');
  return frame;
}

const noTokens = new Int32Array(0);
const text: StepSequence = {
  sequenceId: 3,
  regionStart: 256,
  regionSlots: 256,
  positionStart: 0,
  rows: 5,
  logitRows: 5,
  sampling: null,
  draftTokens: noTokens,
  recentTokens: noTokens,
  logprobs: null,
  scored: null,
  state: null,
  window: null,
  pooling: 'mean',
};
const stepOf = (change: Partial<StepSequence>): Step => ({
  epoch: 1,
  stepId: 2,
  copies: [],
  sequences: [{ ...text, ...change }],
  stageTimes: [],
  payload: new Uint8Array(20),
});
const resultOf = (outputs: StepResult['outputs']): StepResult => ({
  epoch: 1,
  stepId: 2,
  outputs,
  stageTimes: [],
});

describe('a step that wants embeddings', () => {
  it.each(poolings)('comes back as it was sent: by %s, with a state and without', (pooling) => {
    for (const state of [null, { from: 0, to: 4 }]) {
      const decoded = decodeStep(transfer(encodeStep(stepOf({ pooling, state }))));
      expect(decoded.sequences).toEqual([{ ...text, pooling, state }]);
    }
  });

  it.each<[string, Partial<StepSequence>, RegExp]>([
    ['not of all of its rows', { logitRows: 4 }, /logitRows of an embedding 4/u],
    [
      'beside a token',
      { sampling: greedySampling, rows: 1, logitRows: 1 },
      /tokens or scores and an embedding at once/u,
    ],
    [
      'beside scores',
      { scored: { tokens: Int32Array.of(1, 2, 3, 4, 5), alternatives: 0 } },
      /tokens or scores and an embedding at once/u,
    ],
  ])('is refused where it wants them %s', (_, change, words) => {
    expect(() => encodeStep(stepOf(change))).toThrow(words);
  });

  it('is refused with a way of pooling that there is not', () => {
    const parts = encodeStep(stepOf({}));
    const frame = transfer(parts);
    const header = Uint8Array.from(frame.header);
    header[header.length - 1] = poolings.length;
    expect(() => decodeStep({ ...frame, header })).toThrow(/pooling of a sequence is 4/u);
  });
});

describe('a result with embeddings', () => {
  const outputs = [
    { sequenceId: 3, tokens: noTokens, vector: Float32Array.of(0.1, -2, 3e-40) },
    { sequenceId: 4, tokens: noTokens },
    { sequenceId: 9, tokens: noTokens, vector: Float32Array.of(7) },
  ];

  it('comes back as it was sent, to the last bit', () => {
    expect(decodeStepResult(transfer(encodeStepResult(resultOf(outputs))))).toEqual(resultOf(outputs));
  });

  it.each([
    ['too few', 12, /too few/u],
    ['too many', 20, /too many/u],
  ])('is refused with %s bytes of numbers', (_, bytes, words) => {
    const frame = transfer(encodeStepResult(resultOf(outputs)));
    expect(() => decodeStepResult({ ...frame, payload: new Uint8Array(bytes) })).toThrow(words);
  });

  it('is refused with more numbers than an embedding may have, and with tokens beside one', () => {
    const vector = new Float32Array(limits.embeddingNumbersMax + 1);
    expect(() => encodeStepResult(resultOf([{ sequenceId: 1, tokens: noTokens, vector }]))).toThrow(
      /numbers of an embedding/u,
    );
    const both = [{ sequenceId: 1, tokens: Int32Array.of(1), vector: Float32Array.of(1) }];
    expect(() => encodeStepResult(resultOf(both))).toThrow(/tokens beside an embedding/u);
  });
});
