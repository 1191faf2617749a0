import { ButterflyError, limits } from '@butterfly/common';
import { type Pooling, firstOwnState } from '@butterfly/wire';
import type { EngineModel } from '../types.js';
import { takesWhole } from './scheduler-sequence.js';
import type { SchedulerConfig, SchedulerRequest } from './scheduler-types.js';

type Bounds = Required<Pick<SchedulerConfig, 'contextTokensMax' | 'stepRowsMax' | 'model'>>;

/** A model that continues texts, as most do. */
export const usualModel: EngineModel = {
  generates: true,
  isEncoder: false,
  poolings: ['mean', 'cls', 'last'],
  usualPooling: 'last',
};

/** @throws ButterflyError CONTEXT_EXCEEDED, REQUEST_INVALID or REQUEST_UNSUPPORTED */
export function checkSubmission(
  request: Pick<SchedulerRequest, 'promptTokens' | 'outputTokensMax' | 'pooling'>,
  bounds: Bounds,
): void {
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

/** @throws ButterflyError CONTEXT_EXCEEDED or REQUEST_INVALID */
export function checkRequest(
  { promptTokens, outputTokensMax }: Pick<SchedulerRequest, 'promptTokens' | 'outputTokensMax'>,
  contextTokensMax: number,
): void {
  if (!Number.isSafeInteger(outputTokensMax) || outputTokensMax < 1)
    throw new ButterflyError('REQUEST_INVALID', 'At least one token of output must be requested.', {
      param: 'max_tokens',
    });
  if (promptTokens.length === 0)
    throw new ButterflyError('CONTEXT_EXCEEDED', 'The prompt is empty; send at least one token.');
  if (promptTokens.length + outputTokensMax > contextTokensMax)
    throw new ButterflyError(
      'CONTEXT_EXCEEDED',
      `${promptTokens.length} tokens of prompt and ${outputTokensMax} of output exceed the context of ` +
        `${contextTokensMax}; shorten either or serve with a larger --ctx.`,
    );
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

/**
 * Fills in the defaults.
 * @throws ButterflyError CONFIG_INVALID that names the field at fault
 */
export function checkedConfig(config: SchedulerConfig): Required<SchedulerConfig> {
  const checked = {
    stepRowsMax: 512,
    arenaGranularity: 256,
    prefixBlockTokens: 32,
    guessesMax: 15,
    stateSlots: 0,
    checkpointTokens: 256,
    stepCurves: [],
    model: usualModel,
    goesAhead: config.stages === 1,
    ...config,
    // A state is that behind its last token: it can be gone on from, and nothing else.
    ...(config.stateSlots ? { guessesMax: 0 } : {}),
  };
  const { guessesMax, stateSlots } = checked;
  if (stateSlots > 0 && stateSlots < firstOwnState + 2)
    throw new ButterflyError('CONFIG_INVALID', `stateSlots is ${stateSlots}, too few for one sequence.`, {
      param: 'stateSlots',
    });
  const above = { guessesMax: guessesMax + 1, stateSlots: stateSlots + 1 };
  for (const [param, value] of Object.entries({ ...checked, ...above }))
    if (typeof value === 'number' && (!Number.isSafeInteger(value) || value < 1))
      throw new ButterflyError('CONFIG_INVALID', `${param} must be a positive integer, not ${value}.`, {
        param,
      });
  if (guessesMax > limits.draftTokensMax)
    throw new ButterflyError(
      'CONFIG_INVALID',
      `guessesMax is ${guessesMax}, over ${limits.draftTokensMax}.`,
      {
        param: 'guessesMax',
      },
    );
  const { stepRowsMax, arenaSlots, arenaGranularity, contextTokensMax } = checked;
  if (stepRowsMax > limits.stepRowsMax)
    throw new ButterflyError('CONFIG_INVALID', `stepRowsMax is ${stepRowsMax}, over ${limits.stepRowsMax}.`, {
      param: 'stepRowsMax',
    });
  const usableSlots = arenaSlots - (arenaSlots % arenaGranularity);
  if (usableSlots < contextTokensMax)
    throw new ButterflyError(
      'CONFIG_INVALID',
      `A KV arena of ${usableSlots} slots cannot hold one context of ${contextTokensMax} tokens; lower --ctx.`,
      { param: 'arenaSlots' },
    );
  if (usableSlots / arenaGranularity > limits.stepCopiesMax + 1)
    throw new ButterflyError(
      'CONFIG_INVALID',
      `A KV arena of ${usableSlots} slots is too large to be compacted in one step; lower --ctx or --parallel.`,
      { param: 'arenaSlots' },
    );
  return checked;
}
