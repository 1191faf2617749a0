import { promptOf } from '../models.js';

/** Sequences that are computed together: a prompt of each in one step, then one token of each in every step. */
export interface BatchLoad {
  readonly sequences: number;
  readonly promptTokens: number;
  readonly decodeSteps: number;
  /** Room for one sequence. */
  readonly contextTokens: number;
}

/** Tokens per second of all sequences together. */
export interface BatchSpeeds {
  readonly prefillPerSecond: number;
  readonly decodePerSecond: number;
}

const rowsOfStep = 512;

/** As many rows in the step of the prompts, however many there are. */
export const batchLoads: readonly BatchLoad[] = [
  { sequences: 1, promptTokens: rowsOfStep, decodeSteps: 48, contextTokens: 768 },
  { sequences: 8, promptTokens: rowsOfStep / 8, decodeSteps: 24, contextTokens: 256 },
  { sequences: 16, promptTokens: rowsOfStep / 16, decodeSteps: 24, contextTokens: 256 },
];

/** Prompts that differ, the same for both sides. */
export function promptsOf({ sequences, promptTokens }: BatchLoad): number[][] {
  return Array.from({ length: sequences }, (_, i) => promptOf(promptTokens + i).slice(i));
}

/** @param prefillMs until each sequence has its first token; @param decodeMs from then on. */
export function speedsOf(
  { sequences, promptTokens, decodeSteps }: BatchLoad,
  prefillMs: number,
  decodeMs: number,
): BatchSpeeds {
  return {
    prefillPerSecond: (sequences * promptTokens * 1000) / prefillMs,
    decodePerSecond: (sequences * decodeSteps * 1000) / decodeMs,
  };
}
