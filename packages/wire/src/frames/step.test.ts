import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ButterflyError, limits } from '@butterfly/common';
import { FrameDecoder } from './frame.js';
import type { Frame } from './frame.js';
import { result, step, u32 } from '../testing/any-frames.js';
import { greedySampling } from './sampling.js';
import {
  decodeFileChunk,
  decodeStep,
  decodeStepResult,
  encodeFileChunk,
  encodeStep,
  encodeStepResult,
} from './step.js';
import type { FileChunk, SamplingParams, StageTime, Step, StepSequence } from './types.js';

function transfer(parts: Uint8Array[]): Frame {
  const decoder = new FrameDecoder();
  decoder.push(Buffer.concat(parts));
  const [frame] = decoder.frames();
  if (frame === undefined) throw new Error('no frame came out');
  return frame;
}

const plainBytes = (bytes: Uint8Array): number[] => [...bytes];
const plainStep = (step: Step): object => ({ ...step, payload: plainBytes(step.payload) });
const plainChunk = (chunk: FileChunk): object => ({
  ...chunk,
  bytes: plainBytes(chunk.bytes),
  sha256: plainBytes(chunk.sha256),
});

const chunk: fc.Arbitrary<FileChunk> = fc.record({
  requestId: u32,
  bytes: fc.uint8Array({ minLength: 1, maxLength: 300 }),
  sha256: fc.uint8Array({ minLength: 32, maxLength: 32 }),
});

const greedy: SamplingParams = { ...greedySampling, seed: 7 };
const oneSequence: StepSequence = {
  sequenceId: 5,
  regionStart: 128,
  regionSlots: 64,
  positionStart: 10,
  rows: 3,
  logitRows: 1,
  sampling: greedy,
  draftTokens: new Int32Array(0),
  recentTokens: Int32Array.of(1, 2),
  logprobs: null,
  scored: null,
  state: null,
  window: null,
};
const oneStep: Step = {
  epoch: 1,
  stepId: 2,
  copies: [{ fromSlot: 0, toSlot: 8, slots: 4 }],
  sequences: [oneSequence],
  stageTimes: [{ computeMicros: 120, hostMicros: 3 }],
  payload: new Uint8Array(12),
};

/** Runs a decoder and gives its ButterflyError, or null where it accepts; anything else thrown is a failure. */
function refusal(decode: () => unknown): ButterflyError | null {
  try {
    decode();
    return null;
  } catch (thrown) {
    if (thrown instanceof ButterflyError) return thrown;
    throw thrown;
  }
}

describe('roundtrip', () => {
  it('keeps every step', () => {
    fc.assert(
      fc.property(step, (sent) => {
        expect(plainStep(decodeStep(transfer(encodeStep(sent))))).toEqual(plainStep(sent));
      }),
    );
  });

  it('keeps every result', () => {
    fc.assert(
      fc.property(result, (sent) => {
        expect(decodeStepResult(transfer(encodeStepResult(sent)))).toEqual(sent);
      }),
    );
  });

  it('keeps every file chunk', () => {
    fc.assert(
      fc.property(chunk, (sent) => {
        expect(plainChunk(decodeFileChunk(transfer(encodeFileChunk(sent))))).toEqual(plainChunk(sent));
      }),
    );
  });

  it('does not copy payloads', () => {
    expect(encodeStep(oneStep)[1]).toBe(oneStep.payload);
    const frame = transfer(encodeStep(oneStep));
    expect(decodeStep(frame).payload).toBe(frame.payload);
  });

  it('rounds measured times and takes views of larger arrays', () => {
    const recentTokens = Int32Array.of(9, 8, 7, 6).subarray(1, 3);
    const draftTokens = Int32Array.of(4, 5, 6).subarray(1);
    const sequences = [{ ...oneSequence, logitRows: 3, draftTokens, recentTokens }];
    const sent = { ...oneStep, stageTimes: [{ computeMicros: 1.6, hostMicros: 0.2 }], sequences };
    const received = decodeStep(transfer(encodeStep(sent)));
    expect(received.stageTimes).toEqual([{ computeMicros: 2, hostMicros: 0 }]);
    expect(received.sequences[0]?.draftTokens).toEqual(Int32Array.of(5, 6));
    expect(received.sequences[0]?.recentTokens).toEqual(Int32Array.of(8, 7));
  });

  it('carries the largest step that the limits allow', () => {
    const single = Int32Array.of(5);
    const sampling: SamplingParams = {
      ...greedy,
      logitBias: {
        tokens: Int32Array.from({ length: limits.logitBiasTokensMax }, (_, token) => token),
        values: new Float32Array(limits.logitBiasTokensMax).fill(-1),
      },
      dry: {
        ...{ multiplier: 1, base: 2, allowedLength: 2, lastN: 1024 },
        breakers: [
          ...new Array<Int32Array>(limits.recentTokensMax + limits.draftTokensMax).fill(single),
          ...new Array<Int32Array>(limits.dryLongBreakerTokensMax / 2).fill(new Int32Array(2)),
        ],
      },
    };
    const largest = {
      ...oneSequence,
      sampling,
      logprobs: limits.logprobsMax,
      rows: 16,
      logitRows: 16,
      draftTokens: new Int32Array(15).fill(2),
      recentTokens: new Int32Array(1024).fill(3),
    };
    const sequences = Array.from({ length: limits.stepSequencesMax }, (_, sequenceId) => ({
      ...largest,
      sequenceId,
    }));
    const sent = encodeStep({ ...oneStep, sequences });
    const again = encodeStep(decodeStep(transfer(sent)));
    expect(Buffer.concat(again).equals(Buffer.concat(sent))).toBe(true);
  });
});

describe('rules', () => {
  const inSequence = (change: Partial<StepSequence>): Step => ({
    ...oneStep,
    sequences: [{ ...oneSequence, ...change }],
  });
  const guessing = (guesses: number, change: Partial<StepSequence>): Step =>
    inSequence({ draftTokens: new Int32Array(guesses), ...change });
  const biasOf = (count: number, value: number): SamplingParams['logitBias'] => ({
    tokens: Int32Array.from({ length: count }, (_, token) => token),
    values: new Float32Array(count).fill(value),
  });
  const aDry = { multiplier: 1, base: 1.75, allowedLength: 2, lastN: 64, breakers: [] };
  const aTime: StageTime = { computeMicros: 1, hostMicros: 1 };
  const inSampling = (change: Partial<SamplingParams>): Step =>
    inSequence({ sampling: { ...greedy, ...change } });

  it.each<[string, Step]>([
    ['a fractional epoch', { ...oneStep, epoch: 0.5 }],
    ['an unsafe stepId', { ...oneStep, stepId: 2 ** 53 }],
    [
      'too many copies',
      { ...oneStep, copies: Array.from({ length: 65_536 }, () => ({ fromSlot: 0, toSlot: 1, slots: 1 })) },
    ],
    ['an empty copy', { ...oneStep, copies: [{ fromSlot: 0, toSlot: 1, slots: 0 }] }],
    ['too many stages', { ...oneStep, stageTimes: new Array<StageTime>(1025).fill(aTime) }],
    ['compute time that is no number', { ...oneStep, stageTimes: [{ ...aTime, computeMicros: NaN }] }],
    ['host time beyond 32 bits', { ...oneStep, stageTimes: [{ ...aTime, hostMicros: 2 ** 32 }] }],
    ['too many sequences', { ...oneStep, sequences: new Array<StepSequence>(257).fill(oneSequence) }],
    [
      'too many rows in all',
      {
        ...oneStep,
        sequences: new Array<StepSequence>(2).fill({ ...oneSequence, regionSlots: 5000, rows: 2049 }),
      },
    ],
    ['no rows', inSequence({ rows: 0 })],
    ['more logit rows than rows', inSequence({ logitRows: 4 })],
    ['sampling without logits', inSequence({ logitRows: 0 })],
    ['sampling of more rows than there are guesses for', inSequence({ logitRows: 2 })],
    ['a region that is too small', inSequence({ regionSlots: 12 })],
    ['a region beyond 32 bits', inSequence({ regionStart: 0xffff_ffff })],
    ['too many recent tokens', inSequence({ recentTokens: new Int32Array(1025) })],
    ['fewer guesses than logit rows ask for', guessing(1, { logitRows: 3 })],
    ['more guesses than logit rows confirm', guessing(2, { logitRows: 2 })],
    ['guesses for every row', guessing(3, { logitRows: 3 })],
    ['guesses without sampling', guessing(2, { logitRows: 3, sampling: null })],
    [
      'too many guesses',
      guessing(limits.draftTokensMax + 1, {
        rows: limits.draftTokensMax + 2,
        logitRows: limits.draftTokensMax + 2,
      }),
    ],
    ['a negative guess', inSequence({ logitRows: 2, draftTokens: Int32Array.of(-1) })],
    ['a negative token', inSequence({ recentTokens: Int32Array.of(-1) })],
    ['a negative temperature', inSampling({ temperature: -1 })],
    ['an infinite temperature', inSampling({ temperature: Infinity })],
    ['topP above 1', inSampling({ topP: 1.01 })],
    ['typicalP above 1', inSampling({ typicalP: 2 })],
    ['a probability of XTC that is no number', inSampling({ xtcProbability: NaN })],
    ['a window of penalties that is too long', inSampling({ penaltyLastN: limits.recentTokensMax + 1 })],
    ['a bias that is too large', inSampling({ logitBias: biasOf(1, 101) })],
    ['a bias without tokens', inSampling({ logitBias: biasOf(0, 1) })],
    ['too many biased tokens', inSampling({ logitBias: biasOf(limits.logitBiasTokensMax + 1, 1) })],
    ['DRY without a multiplier', inSampling({ dry: { ...aDry, multiplier: 0 } })],
    ['DRY with a base below 1', inSampling({ dry: { ...aDry, base: 0.9 } })],
    ['a breaker that is too long', inSampling({ dry: { ...aDry, breakers: [new Int32Array(21)] } })],
    ['a breaker without tokens', inSampling({ dry: { ...aDry, breakers: [new Int32Array(0)] } })],
    [
      'too many tokens of long breakers',
      inSampling({ dry: { ...aDry, breakers: new Array<Int32Array>(52).fill(new Int32Array(20)) } }),
    ],
    ['too many alternatives', inSequence({ logprobs: limits.logprobsMax + 1 })],
    ['log probabilities of what is not sampled', inSequence({ sampling: null, logprobs: 1 })],
    ['scores without logits', inSequence({ scored: { tokens: Int32Array.of(1), alternatives: 0 } })],
    ['no scored tokens', inSequence({ scored: { tokens: new Int32Array(0), alternatives: 0 } })],
    [
      'too many scored rows in all',
      {
        ...oneStep,
        sequences: new Array<StepSequence>(2).fill({
          ...oneSequence,
          regionSlots: 500,
          rows: 70,
          logitRows: 70,
          sampling: null,
          scored: { tokens: new Int32Array(70), alternatives: 0 },
        }),
      },
    ],
    ['minP that is no number', inSampling({ minP: NaN })],
    ['a repeat penalty of 0', inSampling({ repeatPenalty: 0 })],
    ['an infinite presence penalty', inSampling({ presencePenalty: -Infinity })],
    ['a fractional seed', inSampling({ seed: 1.5 })],
  ])('refuses to send %s', (_, bad) => {
    expect(refusal(() => encodeStep(bad))?.code).toBe('PROTOCOL_INVALID');
  });

  it('refuses results and chunks out of bounds', () => {
    const outputs = [{ sequenceId: 1, tokens: Int32Array.of(-1) }];
    expect(
      refusal(() => encodeStepResult({ epoch: 1, stepId: 1, outputs, stageTimes: [] }))?.message,
    ).toMatch(/tokens/);
    const above = {
      alternatives: 0,
      chosen: Float32Array.of(0.1),
      topTokens: new Int32Array(0),
      topValues: new Float32Array(0),
    };
    const likely = [{ sequenceId: 1, tokens: Int32Array.of(1), logprobs: above }];
    expect(
      refusal(() => encodeStepResult({ epoch: 1, stepId: 1, outputs: likely, stageTimes: [] }))?.message,
    ).toMatch(/log probability/);
    const empty = { requestId: 1, bytes: new Uint8Array(0), sha256: new Uint8Array(32) };
    expect(refusal(() => encodeFileChunk(empty))?.message).toMatch(/bytes of a file chunk/);
    const short = { requestId: 1, bytes: new Uint8Array(1), sha256: new Uint8Array(31) };
    expect(refusal(() => encodeFileChunk(short))?.message).toMatch(/SHA-256/);
  });

  it('refuses a frame of another type', () => {
    const frame = transfer(encodeStep(oneStep));
    for (const decode of [decodeStepResult, decodeFileChunk])
      expect(refusal(() => decode(frame))?.message).toMatch(/step frame arrived/);
  });
});

describe('damaged headers', () => {
  const samples: readonly (readonly [Frame, (frame: Frame) => unknown])[] = [
    [transfer(encodeStep(oneStep)), decodeStep],
    [
      transfer(
        encodeStepResult({
          epoch: 1,
          stepId: 2,
          outputs: [{ sequenceId: 5, tokens: Int32Array.of(4) }],
          stageTimes: [{ computeMicros: 7, hostMicros: 1 }],
        }),
      ),
      decodeStepResult,
    ],
    [
      transfer(encodeFileChunk({ requestId: 1, bytes: Uint8Array.of(1), sha256: new Uint8Array(32) })),
      decodeFileChunk,
    ],
  ];

  it('refuses every truncation and every extension', () => {
    for (const [frame, decode] of samples) {
      for (let length = 0; length < frame.header.length; length++)
        expect(refusal(() => decode({ ...frame, header: frame.header.subarray(0, length) }))?.code).toBe(
          'PROTOCOL_INVALID',
        );
      const header = Buffer.concat([frame.header, Buffer.alloc(1)]);
      expect(refusal(() => decode({ ...frame, header }))?.message).toMatch(/1 bytes too many/);
    }
  });

  it('throws nothing but PROTOCOL_INVALID for changed bytes and for noise', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...samples),
        fc.array(fc.record({ at: fc.nat(), value: fc.nat({ max: 255 }) }), { minLength: 1, maxLength: 4 }),
        fc.uint8Array({ maxLength: 200 }),
        ([frame, decode], changes, noise) => {
          const header = Buffer.from(frame.header);
          for (const { at, value } of changes) header[at % header.length] = value;
          for (const damaged of [header, noise])
            expect(['PROTOCOL_INVALID', undefined]).toContain(
              refusal(() => decode({ ...frame, header: damaged }))?.code,
            );
        },
      ),
      { numRuns: 1000 },
    );
  });

  it('refuses guesses that do not match, also in what arrives', () => {
    const sequences = [{ ...oneSequence, logitRows: 3, draftTokens: Int32Array.of(7, 8) }];
    const frame = transfer(encodeStep({ ...oneStep, sequences }));
    const sequenceAt = 18 + 12 + 8;
    const changed = (at: number, change: (header: Buffer) => void): Frame => {
      const header = Buffer.from(frame.header);
      change(header.subarray(sequenceAt + at));
      return { ...frame, header };
    };
    const fewerLogits = changed(24, (at) => at.writeUInt32LE(2));
    expect(refusal(() => decodeStep(fewerLogits))?.message).toMatch(/logitRows 2/);
    const tooMany = changed(28, (at) => at.writeUInt16LE(limits.draftTokensMax + 1));
    expect(refusal(() => decodeStep(tooMany))?.message).toMatch(/33 draft tokens, at most 32/);
  });

  it('checks a count before it allocates', () => {
    const header = Buffer.alloc(18);
    header.writeUInt16LE(0xffff, 16);
    expect(refusal(() => decodeStep({ type: 'step', header, payload: header }))?.message).toMatch(
      /65535 sequences, at most 256/,
    );
  });
});
