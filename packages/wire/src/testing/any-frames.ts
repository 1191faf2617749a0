import { limits } from '@butterfly/common';
import fc from 'fast-check';
import { poolings } from '../frames/pooling.js';
import type {
  Logprobs,
  SamplingParams,
  SequenceWindow,
  StageTime,
  Step,
  StepOutput,
  StepResult,
  StepSequence,
} from '../frames/types.js';

export const u32 = fc.nat({ max: 0xffff_ffff });
const id = fc.maxSafeNat();
const unit = fc.double({ min: 0, max: 1, noNaN: true });
const finite = fc.double({ noNaN: true, noDefaultInfinity: true });
const tokens = (minLength: number, maxLength: number): fc.Arbitrary<Int32Array> =>
  fc.int32Array({ min: 0, minLength, maxLength });

const bias = fc.float({ min: -100, max: 100, noNaN: true });

const sampling: fc.Arbitrary<SamplingParams> = fc.record({
  temperature: fc.double({ min: 0, max: 1e9, noNaN: true }),
  topK: u32,
  topP: unit,
  minP: unit,
  typicalP: unit,
  xtcProbability: unit,
  xtcThreshold: unit,
  penaltyLastN: fc.nat({ max: limits.recentTokensMax }),
  dry: fc.option(
    fc.record({
      multiplier: fc.double({ min: 0.01, max: 10, noNaN: true }),
      base: fc.double({ min: 1, max: 10, noNaN: true }),
      allowedLength: fc.nat({ max: 20 }),
      lastN: fc.integer({ min: 1, max: limits.recentTokensMax }),
      breakers: fc.array(tokens(1, limits.dryBreakerTokensMax), { maxLength: 8 }),
    }),
  ),
  logitBias: fc.option(
    fc.array(fc.tuple(fc.nat({ max: 2 ** 31 - 1 }), bias), { minLength: 1, maxLength: 20 }).map((pairs) => ({
      tokens: Int32Array.from(pairs, ([token]) => token),
      values: Float32Array.from(pairs, ([, value]) => value),
    })),
  ),
  repeatPenalty: fc.double({ min: 0.01, max: 10, noNaN: true }),
  frequencyPenalty: finite,
  presencePenalty: finite,
  seed: u32,
});

const sequence: fc.Arbitrary<StepSequence> = fc
  .record({
    sequenceId: id,
    regionStart: fc.nat({ max: 2 ** 30 }),
    slotsToSpare: fc.nat({ max: 1000 }),
    positionStart: fc.nat(),
    rows: fc.integer({ min: 1, max: 64 }),
    sampling: fc.option(sampling),
    recentTokens: tokens(0, 70),
    state: fc.option(fc.record({ from: u32, to: fc.integer({ min: 1, max: 2 ** 32 - 1 }) })),
    window: fc.option(fc.record({ from: u32, to: u32, firstShare: unit, fromShare: unit })),
    logitShare: unit,
    guesses: tokens(0, limits.draftTokensMax),
    logprobs: fc.option(fc.nat({ max: limits.logprobsMax })),
    targets: tokens(0, 10),
    alternatives: fc.nat({ max: limits.logprobsMax }),
    pooling: fc.option(fc.constantFrom(...poolings)),
    wasDecoded: fc.boolean(),
  })
  .map(({ slotsToSpare, logitShare, guesses, logprobs, alternatives, window, pooling, ...all }) => {
    const { targets, wasDecoded, ...others } = all;
    // One that is pooled gives nothing else.
    const rest = { ...others, sampling: pooling === null ? others.sampling : null };
    const draftTokens = rest.sampling === null ? new Int32Array(0) : guesses.slice(0, rest.rows - 1);
    const sampledRows = rest.sampling === null ? 0 : draftTokens.length + 1;
    const scoredTokens = targets.slice(0, pooling === null ? rest.rows - sampledRows : 0);
    const wanted = sampledRows + scoredTokens.length;
    return {
      ...rest,
      window: window && windowIn(window, rest.positionStart),
      regionSlots: rest.positionStart + rest.rows + slotsToSpare,
      draftTokens,
      logprobs: rest.sampling === null ? null : logprobs,
      scored: scoredTokens.length === 0 ? null : { tokens: scoredTokens, alternatives },
      logitRows: wanted > 0 ? wanted : pooling === null ? Math.floor(rest.rows * logitShare) : rest.rows,
      ...(pooling && { pooling }),
      ...(wasDecoded && rest.sampling !== null && scoredTokens.length === 0 && { isDecoded: true }),
    };
  });

function windowIn(
  { from, to, firstShare, fromShare }: Readonly<Record<'from' | 'to' | 'firstShare' | 'fromShare', number>>,
  positionStart: number,
): SequenceWindow {
  const toFirst = Math.floor(positionStart * firstShare);
  return { from, fromFirst: Math.floor(toFirst * fromShare), to, toFirst };
}

const stageTimes: fc.Arbitrary<StageTime[]> = fc.array(fc.record({ computeMicros: u32, hostMicros: u32 }));

export const step: fc.Arbitrary<Step> = fc.record({
  epoch: u32,
  stepId: id,
  copies: fc.array(fc.record({ fromSlot: fc.nat(), toSlot: fc.nat(), slots: fc.integer({ min: 1 }) })),
  sequences: fc.array(sequence, { maxLength: 12 }),
  stageTimes,
  payload: fc.uint8Array({ maxLength: 100 }),
});

/** Of so many tokens. */
const logprobs = (count: number): fc.Arbitrary<Logprobs> =>
  fc.nat({ max: limits.logprobsMax }).chain((alternatives) => {
    const values = (length: number): fc.Arbitrary<Float32Array> =>
      fc.float32Array({ max: 0, noNaN: true, minLength: length, maxLength: length });
    const top = count * alternatives;
    return fc.record({
      alternatives: fc.constant(alternatives),
      chosen: values(count),
      topTokens: tokens(top, top),
      topValues: values(top),
    });
  });

const vector = fc.float32Array({ minLength: 1, maxLength: 40 });

const answer: fc.Arbitrary<StepOutput> = fc
  .record({
    sequenceId: id,
    tokens: tokens(0, 5),
    scoredCount: fc.nat({ max: 5 }),
    hasLogprobs: fc.boolean(),
  })
  .chain(({ scoredCount, hasLogprobs, ...fixed }) =>
    fc
      .record({ own: logprobs(fixed.tokens.length), scored: logprobs(scoredCount) })
      .map(({ own, scored }) => ({
        ...fixed,
        ...(hasLogprobs && { logprobs: own }),
        ...(scoredCount > 0 && { scored }),
      })),
  );

const output = fc.oneof(
  { weight: 3, arbitrary: answer },
  fc.record({ sequenceId: id, tokens: tokens(0, 0), vector }),
);

export const result: fc.Arbitrary<StepResult> = fc.record({
  epoch: u32,
  stepId: id,
  outputs: fc.array(output, { maxLength: 20 }),
  stageTimes,
});
