import type { SamplingParams } from './types.js';

/**
 * Takes the likeliest token; every other parameter is neutral, or of no effect until another one is set. What others are
 * made of, so that nobody need spell all out.
 */
export const greedySampling: SamplingParams = Object.freeze({
  temperature: 0,
  topK: 0,
  topP: 1,
  minP: 0,
  typicalP: 1,
  xtcProbability: 0,
  xtcThreshold: 0.1,
  repeatPenalty: 1,
  frequencyPenalty: 0,
  presencePenalty: 0,
  penaltyLastN: 64,
  dry: null,
  logitBias: null,
  seed: 0,
});
