import { limits } from '@butterfly/common';
import type { LogitBias, SamplingParams } from '@butterfly/wire';
import { applyDry } from './dry.js';

/** Whether sampling parameters change any logit before tokens are ruled out. */
export function isAdjusting(sampling: SamplingParams): boolean {
  return sampling.logitBias !== null || looksBack(sampling);
}

/**
 * Changes the logits of some tokens in place as llama.cpp's first samplers do, in its order: bias, penalties, DRY.
 * @param logits F32 of all tokens
 * @param recentTokens oldest first
 */
export function adjustLogits(logits: Float32Array, sampling: SamplingParams, recentTokens: Int32Array): void {
  if (sampling.logitBias !== null) addBias(logits, sampling.logitBias);
  if (isPenalising(sampling)) penalise(logits, sampling, recentTokens);
  if (sampling.dry !== null) applyDry(logits, sampling.dry, recentTokens);
}

function isPenalising({
  repeatPenalty,
  frequencyPenalty,
  presencePenalty,
  penaltyLastN,
}: SamplingParams): boolean {
  return penaltyLastN > 0 && (repeatPenalty !== 1 || frequencyPenalty !== 0 || presencePenalty !== 0);
}

/** Whether the recent tokens make a difference. */
export function looksBack(sampling: SamplingParams): boolean {
  return sampling.dry !== null || isPenalising(sampling);
}

/** The least bias bans a token, whatever its logit. */
function addBias(logits: Float32Array, { tokens, values }: LogitBias): void {
  for (const [i, token] of tokens.entries()) {
    const logit = logits[token];
    const value = values[i] ?? 0;
    if (logit !== undefined) logits[token] = value <= -limits.logitBiasMax ? -Infinity : logit + value;
  }
}

/** Makes recent tokens less likely. */
function penalise(logits: Float32Array, sampling: SamplingParams, recentTokens: Int32Array): void {
  const { repeatPenalty, frequencyPenalty, presencePenalty, penaltyLastN } = sampling;
  const counts = new Map<number, number>();
  for (const token of recentTokens.subarray(-penaltyLastN)) counts.set(token, (counts.get(token) ?? 0) + 1);
  for (const [token, count] of counts) {
    const logit = logits[token];
    if (logit === undefined) continue;
    const repeated = logit <= 0 ? logit * repeatPenalty : logit / repeatPenalty;
    logits[token] = repeated - count * frequencyPenalty - presencePenalty;
  }
}

/** The logits of all tokens that `adjustLogits` may change, to be read before it does. */
export function touchedLogits(
  logits: Float32Array,
  { logitBias }: SamplingParams,
  recentTokens: Int32Array,
): ReadonlyMap<number, number> {
  const touched = new Map<number, number>();
  for (const tokens of [logitBias?.tokens ?? [], recentTokens])
    for (const token of tokens) touched.set(token, logits[token] ?? -Infinity);
  return touched;
}
