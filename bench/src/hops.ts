import { LocalCluster, type TimedStep, type WorkerMemory } from './local-cluster.js';
import { promptOf } from './models.js';
import { median } from './load/statistics.js';

const tokens = 64;

export interface StagesResult {
  readonly stages: number;
  /** From having one token to having the next. */
  readonly msPerToken: number;
  /** The part of it outside native computation: codec, sockets, scheduling, sampling. */
  readonly overheadMs: number;
  /** More time per token than with one stage less. */
  readonly msPerHop: number | null;
  readonly overheadMsPerHop: number | null;
  readonly memory: readonly WorkerMemory[];
}

/** Time per token of one, two and three local stages of one thread each, turn by turn, over real processes and sockets. */
export async function measureHops(path: string, repeats: number): Promise<StagesResult[]> {
  const clusters: LocalCluster[] = [];
  const totals: number[][] = [];
  const overheads: number[][] = [];
  try {
    for (const workers of [1, 2, 3])
      clusters.push(
        await LocalCluster.start(path, {
          workers,
          threads: 1,
          contextTokens: 512,
          parallel: 1,
          speculation: 'off',
        }),
      );
    for (let round = 0; round <= repeats; round++)
      for (const [index, cluster] of clusters.entries()) {
        const steps = timesOf(await cluster.decode(promptOf(8), tokens));
        if (round === 0) continue;
        (totals[index] ??= []).push(median(steps.map(({ totalMs }) => totalMs)));
        (overheads[index] ??= []).push(median(steps.map(({ overheadMs }) => overheadMs)));
      }
    const perToken = totals.map(median);
    const overhead = overheads.map(median);
    return clusters.map((cluster, hops) => ({
      stages: hops + 1,
      msPerToken: perToken[hops] ?? NaN,
      overheadMs: overhead[hops] ?? NaN,
      msPerHop: hops === 0 ? null : (perToken[hops] ?? NaN) - (perToken[hops - 1] ?? NaN),
      overheadMsPerHop: hops === 0 ? null : (overhead[hops] ?? NaN) - (overhead[hops - 1] ?? NaN),
      memory: cluster.memory(),
    }));
  } finally {
    for (const cluster of clusters) await cluster[Symbol.asyncDispose]();
  }
}

/** The time between the ends of steps, since a step may go ahead and wait for the one before it. */
function timesOf(steps: readonly TimedStep[]): { readonly totalMs: number; readonly overheadMs: number }[] {
  return steps.slice(1).map(({ endedMs, stageTimes }, index) => {
    const totalMs = endedMs - (steps[index]?.endedMs ?? endedMs);
    const computeMs = stageTimes.reduce((sum, { computeMicros }) => sum + computeMicros, 0) / 1000;
    return { totalMs, overheadMs: totalMs - computeMs };
  });
}
