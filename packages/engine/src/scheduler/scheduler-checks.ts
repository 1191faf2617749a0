import { ButterflyError, limits } from '@butterfly/common';
import { firstOwnState, roomFits } from '@butterfly/wire';
import type { EngineModel } from '../types.js';
import type { SchedulerConfig } from './scheduler-types.js';

/** A model that continues texts, as most do. */
export const usualModel: EngineModel = {
  generates: true,
  isEncoder: false,
  poolings: ['mean', 'cls', 'last'],
  usualPooling: 'last',
};

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
    draftTokensMax: 0,
    headGuessesMax: 0,
    stateSlots: 0,
    windows: null,
    checkpointTokens: 256,
    stepCurves: [],
    model: usualModel,
    goesAhead: config.stages === 1,
    ...config,
  };
  const { guessesMax, draftTokensMax, headGuessesMax, stateSlots } = checked;
  if (stateSlots > 0 && stateSlots < firstOwnState + 2)
    throw new ButterflyError('CONFIG_INVALID', `stateSlots is ${stateSlots}, too few for one sequence.`, {
      param: 'stateSlots',
    });
  if (checked.windows !== null && (stateSlots > 0 || !roomFits(checked.windows, checked.stepRowsMax)))
    throw new ButterflyError(
      'CONFIG_INVALID',
      'windows are rooms that are too small for steps, or of a model with states.',
      { param: 'windows' },
    );
  const above = {
    guessesMax: guessesMax + 1,
    draftTokensMax: draftTokensMax + 1,
    headGuessesMax: headGuessesMax + 1,
    stateSlots: stateSlots + 1,
  };
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
