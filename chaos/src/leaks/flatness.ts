import type { Sample } from './sample.js';

const mib = 2 ** 20;

/** A sample, and how much had happened by then. */
export interface SampleAt extends Sample {
  readonly events: number;
}

export type Metric = Exclude<keyof Sample, 'stages'>;

/**
 * What may seem to grow in the second half of a phase, in which thousands of requests, or hundreds of joins or failures
 * come. Resident memory moves by what allocators keep for the next time, a heap by compiled code. Of the things that are
 * counted a worker has now more and now less, since stages are linked one way or the other, and each keeps up to sixteen
 * graphs, of two objects each; but none of them by the hundred.
 */
export const growthMax: Readonly<Record<Metric, number>> = {
  rss: 12 * mib,
  room: 12 * mib,
  heap: mib,
  external: 4 * mib,
  allocated: 12 * mib,
  files: 8,
  sockets: 8,
  threads: 2,
  timers: 8,
  natives: 40,
};

/** The same where there is no stage, as in the orchestrator: all that is allocated there is to be given back. */
const stagelessMax: Readonly<Partial<Record<Metric, number>>> = { allocated: mib, natives: 0.5 };

export const metrics = Object.keys(growthMax) as Metric[];

/** How one metric of one process went through a phase. */
export interface Course {
  readonly metric: Metric;
  readonly first: number;
  readonly middle: number;
  readonly last: number;
  /** Through the second half, by the slope. */
  readonly growth: number;
  readonly isFlat: boolean;
}

type Point = readonly [x: number, y: number];

/**
 * The slope that half of all pairs of points exceed: some points far off do not move it (Theil 1950, Sen 1968). Points of
 * one group are held against each other alone. 0 where there are no two.
 */
export function theilSen(groups: readonly (readonly Point[])[]): number {
  const slopes = groups.flatMap((points) =>
    points.flatMap(([x1, y1], i) =>
      points
        .slice(i + 1)
        .filter(([x2]) => x2 !== x1)
        .map(([x2, y2]) => (y2 - y1) / (x2 - x1)),
    ),
  );
  slopes.sort((a, b) => a - b);
  const half = slopes.length / 2;
  const [below, above] = [slopes[Math.ceil(half) - 1] ?? 0, slopes[Math.floor(half)] ?? 0];
  return (below + above) / 2;
}

/**
 * Judges all metrics of a process over the second half of its samples, since in the first caches may fill. What a worker
 * holds with a stage in memory is not held against what it holds without.
 */
export function coursesOf(samples: readonly SampleAt[]): Course[] {
  const half = samples.slice(Math.floor(samples.length / 2));
  const [start, end] = [half[0], half.at(-1)];
  const [first] = samples;
  if (!first || !start || !end) return [];
  const alike = [...new Set(half.map(({ stages }) => stages))].map((stages) =>
    half.filter((sample) => sample.stages === stages),
  );
  const isStageless = samples.every(({ stages }) => stages === 0);
  return metrics.map((metric) => {
    const slope = theilSen(
      alike.map((group) => group.map((sample) => [sample.events, sample[metric]] as const)),
    );
    const growth = slope * (end.events - start.events);
    return {
      metric,
      first: first[metric],
      middle: start[metric],
      last: end[metric],
      growth,
      isFlat: growth <= ((isStageless ? stagelessMax[metric] : undefined) ?? growthMax[metric]),
    };
  });
}
