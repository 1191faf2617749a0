import type { SamplingParams } from './types.js';

/** Takes the likeliest token; every other parameter is neutral. What others are made of. */
export const greedySampling: SamplingParams = Object.freeze({
  temperature: 0,
  topK: 0,
  topP: 1,
  minP: 0,
  repeatPenalty: 1,
  frequencyPenalty: 0,
  presencePenalty: 0,
  seed: 0,
});
