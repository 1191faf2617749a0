import type { TimedStep } from './local-cluster.js';

/** What a token of one stream took, and how much of that outside native computation. */
export interface TokenTime {
  readonly totalMs: number;
  readonly overheadMs: number;
}

/** The time between the ends of steps, since a step may go ahead and wait for the one before it. */
export function timesOf(steps: readonly TimedStep[]): readonly TokenTime[] {
  return steps.slice(1).map(({ endedMs, stageTimes }, index) => {
    const totalMs = endedMs - (steps[index]?.endedMs ?? endedMs);
    const computeMs = stageTimes.reduce((sum, { computeMicros }) => sum + computeMicros, 0) / 1000;
    return { totalMs, overheadMs: totalMs - computeMs };
  });
}
