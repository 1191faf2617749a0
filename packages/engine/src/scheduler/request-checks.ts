import { ButterflyError, limits } from '@butterfly/common';
import type { DrySampling, LogitBias, Pooling, SamplingParams } from '@butterfly/wire';
import type { GenerateRequest } from '../types.js';
import { takesWhole } from './scheduler-sequence.js';
import type { SchedulerConfig, SchedulerRequest } from './scheduler-types.js';

/** What is checked of a request. */
type Checked = Pick<
  GenerateRequest,
  'promptTokens' | 'outputTokensMax' | 'knownOutput' | 'sampling' | 'logprobs' | 'promptLogprobs'
>;

/** What it is checked against. */
type Bounds = Required<Pick<SchedulerConfig, 'contextTokensMax' | 'stepRowsMax' | 'model'>>;

const u32Max = 0xffff_ffff;
const { MIN_VALUE: above0, MAX_VALUE: most } = Number;

/** Least and largest value of each number, and whether it is a whole one; the same as on the wire. */
const numbers = {
  temperature: [0, most, false],
  topP: [0, 1, false],
  minP: [0, 1, false],
  typicalP: [0, 1, false],
  xtcProbability: [0, 1, false],
  xtcThreshold: [0, 1, false],
  repeatPenalty: [above0, most, false],
  frequencyPenalty: [-most, most, false],
  presencePenalty: [-most, most, false],
  topK: [0, u32Max, true],
  seed: [0, u32Max, true],
  penaltyLastN: [0, limits.recentTokensMax, true],
} as const satisfies Partial<Record<keyof SamplingParams, readonly [number, number, boolean]>>;

const dryNumbers = {
  multiplier: [above0, most, false],
  base: [1, most, false],
  allowedLength: [0, limits.recentTokensMax, true],
  lastN: [1, limits.recentTokensMax, true],
} as const satisfies Partial<Record<keyof DrySampling, readonly [number, number, boolean]>>;

/** @throws ButterflyError CONTEXT_EXCEEDED, REQUEST_UNSUPPORTED, or REQUEST_INVALID that names the parameter */
export function checkSubmission(request: Checked & Pick<SchedulerRequest, 'pooling'>, bounds: Bounds): void {
  const { promptTokens, pooling = null } = request;
  const { contextTokensMax, model } = bounds;
  if (pooling !== null) {
    checkText(promptTokens, pooling, bounds);
    return;
  }
  if (!model.generates)
    throw new ButterflyError(
      'REQUEST_UNSUPPORTED',
      `This model gives ${model.poolings.includes('rank') ? 'scores of texts' : 'embeddings'} and continues none; ` +
        'ask it for those, or serve a model that generates text.',
    );
  checkRequest(request, contextTokensMax);
}

/** Tokens of the longest text whose embedding is pooled so. */
export function textTokensMax(pooling: Pooling, { contextTokensMax, stepRowsMax, model }: Bounds): number {
  return takesWhole(pooling, model.isEncoder) ? Math.min(contextTokensMax, stepRowsMax) : contextTokensMax;
}

function checkText({ length }: Int32Array, pooling: Pooling, bounds: Bounds): void {
  const { poolings } = bounds.model;
  if (poolings.length === 0)
    throw new ButterflyError(
      'REQUEST_UNSUPPORTED',
      'No embeddings can be had of this model; serve one that is made for them.',
    );
  if (!poolings.includes(pooling))
    throw new ButterflyError(
      'REQUEST_UNSUPPORTED',
      pooling === 'rank'
        ? 'This model has no head that scores texts; serve a reranker.'
        : `Embeddings of this model cannot be pooled by "${pooling}", but by ${poolings.join(', ')}.`,
      { param: 'pooling' },
    );
  if (length === 0)
    throw new ButterflyError('CONTEXT_EXCEEDED', 'The text is empty; send at least one token.');
  if (length > bounds.contextTokensMax)
    throw new ButterflyError(
      'CONTEXT_EXCEEDED',
      `A text of ${length} tokens exceeds the context of ${bounds.contextTokensMax}; shorten it or serve with a larger --ctx.`,
    );
  if (length > textTokensMax(pooling, bounds))
    throw new ButterflyError(
      'CONTEXT_EXCEEDED',
      `A text of ${length} tokens exceeds the ${bounds.stepRowsMax} rows of one step, which must hold it as a whole; shorten it` +
        (bounds.model.isEncoder ? '.' : ', or pool by its last token.'),
    );
}

/** @throws ButterflyError CONTEXT_EXCEEDED, or REQUEST_INVALID that names the parameter */
export function checkRequest(request: Checked, contextTokensMax: number): void {
  const { promptTokens, outputTokensMax, knownOutput, sampling, logprobs, promptLogprobs } = request;
  if (!Number.isSafeInteger(outputTokensMax) || outputTokensMax < 0)
    throw invalid('max_tokens', `must be a whole number from 0, not ${outputTokensMax}`);
  if (promptTokens.length === 0)
    throw new ButterflyError('CONTEXT_EXCEEDED', 'The prompt is empty; send at least one token.');
  if (promptTokens.length + outputTokensMax > contextTokensMax)
    throw new ButterflyError(
      'CONTEXT_EXCEEDED',
      `${promptTokens.length} tokens of prompt and ${outputTokensMax} of output exceed the context of ` +
        `${contextTokensMax}; shorten either or serve with a larger --ctx.`,
    );
  if (knownOutput && knownOutput.length >= outputTokensMax)
    throw invalid(
      'knownOutput',
      `must leave room for more: it has ${knownOutput.length} of at most ${outputTokensMax} tokens`,
    );
  for (const [param, wanted] of Object.entries({ logprobs, promptLogprobs }))
    if (wanted !== null) checkNumber(param, wanted, [0, limits.logprobsMax, true]);
  for (const [param, bounds] of Object.entries(numbers))
    checkNumber(param, sampling[param as keyof typeof numbers], bounds);
  if (sampling.logitBias) checkBias(sampling.logitBias);
  if (sampling.dry) checkDry(sampling.dry);
}

function checkBias({ tokens, values }: LogitBias): void {
  checkNumber('number of biased tokens', tokens.length, [1, limits.logitBiasTokensMax, true]);
  if (values.length !== tokens.length || new Set(tokens).size < tokens.length)
    throw invalid('logitBias', 'must have one value for each token, and no token twice');
  for (const token of tokens) checkNumber('biased token', token, [0, u32Max, true]);
  for (const value of values)
    checkNumber('logitBias', value, [-limits.logitBiasMax, limits.logitBiasMax, false]);
}

function checkDry(dry: DrySampling): void {
  for (const [param, bounds] of Object.entries(dryNumbers))
    checkNumber(`dry.${param}`, dry[param as keyof typeof dryNumbers], bounds);
  checkNumber('number of DRY breakers', dry.breakers.length, [0, limits.dryBreakersMax, true]);
  let longTokens = 0;
  for (const breaker of dry.breakers) {
    checkNumber('length of a DRY breaker', breaker.length, [1, limits.dryBreakerTokensMax, true]);
    for (const token of breaker) checkNumber('token of a DRY breaker', token, [0, u32Max, true]);
    if (breaker.length > 1) longTokens += breaker.length;
  }
  checkNumber('number of tokens in DRY breakers of several', longTokens, [
    0,
    limits.dryLongBreakerTokensMax,
    true,
  ]);
}

function checkNumber(
  param: string,
  value: number,
  [min, max, isWhole]: readonly [number, number, boolean],
): void {
  if (value >= min && value <= max && (!isWhole || Number.isInteger(value))) return;
  throw invalid(
    param,
    `must be ${isWhole ? 'a whole number' : 'a number'} from ${min} to ${max}, not ${value}`,
  );
}

function invalid(param: string, reason: string): ButterflyError {
  return new ButterflyError('REQUEST_INVALID', `The ${param} of a request ${reason}.`, { param });
}
