import { LocalCluster, type WorkerMemory } from './local-cluster.js';
import { promptOf } from './models.js';
import { median } from './load/statistics.js';
import { timesOf } from './step-times.js';

const tokens = 64;

export interface StagesResult {
  readonly stages: number;
  /** How often a token goes from one process to another: round the ring, or not at all. */
  readonly hops: number;
  /** From having one token to having the next. */
  readonly msPerToken: number;
  /** The part of it outside native computation: codec, sockets, scheduling, sampling. */
  readonly overheadMs: number;
  /** More time per token than with one stage; null for that one. */
  readonly beyondOne: MoreTime | null;
  readonly memory: readonly WorkerMemory[];
}

/** What several stages take more, outside native computation where it is called overhead. */
export interface MoreTime {
  readonly ms: number;
  readonly overheadMs: number;
  readonly msPerHop: number;
  readonly overheadMsPerHop: number;
  readonly msPerFurtherStage: number;
  readonly overheadMsPerFurtherStage: number;
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
    return clusters.map((cluster, further) => ({
      stages: further + 1,
      hops: further === 0 ? 0 : further + 1,
      msPerToken: perToken[further] ?? NaN,
      overheadMs: overhead[further] ?? NaN,
      beyondOne: further === 0 ? null : beyondOne(perToken, overhead, further),
      memory: cluster.memory(),
    }));
  } finally {
    for (const cluster of clusters) await cluster[Symbol.asyncDispose]();
  }
}

function beyondOne(perToken: readonly number[], overhead: readonly number[], further: number): MoreTime {
  const more = (of: readonly number[]): number => (of[further] ?? NaN) - (of[0] ?? NaN);
  const [ms, overheadMs] = [more(perToken), more(overhead)];
  return {
    ms,
    overheadMs,
    msPerHop: ms / (further + 1),
    overheadMsPerHop: overheadMs / (further + 1),
    msPerFurtherStage: ms / further,
    overheadMsPerFurtherStage: overheadMs / further,
  };
}
