import { promptOf } from '../models.js';

/** Sequences that are computed together: a prompt of each in one step, then one token of each in every step. */
export interface BatchLoad {
  readonly sequences: number;
  readonly promptTokens: number;
  readonly decodeSteps: number;
  /** Room for one sequence. */
  readonly contextTokens: number;
}

/** What a part of a load took. */
export interface Lap {
  readonly ms: number;
  /** Of all threads of the process: of one thread that computes, a measure that other work on the machine moves little. */
  readonly cpuMs: number;
}

/** Tokens per second of all sequences together, of wall time and of processor time. */
export interface PhaseSpeed {
  readonly perSecond: number;
  readonly perCpuSecond: number;
}

export interface BatchSpeeds {
  readonly prefill: PhaseSpeed;
  readonly decode: PhaseSpeed;
}

/** Measures parts of a load that follow each other. */
export class LapTimer {
  #startedMs = performance.now();
  #cpu = process.cpuUsage();

  /** What passed since the last one. */
  lap(): Lap {
    const nowMs = performance.now();
    const { user, system } = process.cpuUsage(this.#cpu);
    const ms = nowMs - this.#startedMs;
    this.#startedMs = nowMs;
    this.#cpu = process.cpuUsage();
    return { ms, cpuMs: (user + system) / 1000 };
  }
}

const rowsOfStep = 256;

/** As many rows in the step of the prompts, however many there are. */
export const batchLoads: readonly BatchLoad[] = [
  { sequences: 1, promptTokens: rowsOfStep, decodeSteps: 32, contextTokens: 512 },
  { sequences: 8, promptTokens: rowsOfStep / 8, decodeSteps: 12, contextTokens: 256 },
  { sequences: 16, promptTokens: rowsOfStep / 16, decodeSteps: 8, contextTokens: 256 },
];

/** Prompts that differ, the same for both sides. */
export function promptsOf({ sequences, promptTokens }: BatchLoad): number[][] {
  return Array.from({ length: sequences }, (_, i) => promptOf(promptTokens + i).slice(i));
}

/** @param prefill until each sequence has its first token; @param decode from then on. */
export function speedsOf(
  { sequences, promptTokens, decodeSteps }: BatchLoad,
  prefill: Lap,
  decode: Lap,
): BatchSpeeds {
  return {
    prefill: phaseSpeed(sequences * promptTokens, prefill),
    decode: phaseSpeed(sequences * decodeSteps, decode),
  };
}

function phaseSpeed(tokens: number, { ms, cpuMs }: Lap): PhaseSpeed {
  return { perSecond: (tokens * 1000) / ms, perCpuSecond: (tokens * 1000) / cpuMs };
}
