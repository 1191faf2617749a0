import type { Percentiles, SeriesBucket } from '@butterfly/telemetry';
import type { Line } from '../parts/chart-shape.js';

type Words = 'count' | 'duration' | 'share' | 'rate';

/** A chart before it is drawn. */
export interface ChartOfSeries {
  readonly title: string;
  readonly unit: Words;
  readonly lines: readonly Line[];
}

/** What the last hour was like, as charts. Pure. */
export function chartsOf(buckets: readonly SeriesBucket[]): ChartOfSeries[] {
  const of = (name: string, value: (bucket: SeriesBucket) => number | null): Line => ({
    name,
    values: buckets.map(value),
  });
  const perSecond = (count: (bucket: SeriesBucket) => number) => (bucket: SeriesBucket) =>
    bucket.lengthMs > 0 ? (count(bucket) * 1_000) / bucket.lengthMs : null;
  const percentiles = (of_: (bucket: SeriesBucket) => Percentiles | null): Line[] =>
    (['p50', 'p95', 'p99'] as const).map((name) => of(name, (bucket) => of_(bucket)?.[name] ?? null));
  return [
    {
      title: 'Tokens per second',
      unit: 'rate',
      lines: [
        of(
          'answers',
          perSecond(({ outputTokens }) => outputTokens),
        ),
        of(
          'prompts',
          perSecond(({ promptTokens }) => promptTokens),
        ),
        of(
          'prompts, cached',
          perSecond(({ cachedTokens }) => cachedTokens),
        ),
      ],
    },
    {
      title: 'Time to first token',
      unit: 'duration',
      lines: percentiles(({ firstTokenMs }) => firstTokenMs),
    },
    { title: 'Time between tokens', unit: 'duration', lines: percentiles(({ tokenMs }) => tokenMs) },
    { title: 'Time of a request', unit: 'duration', lines: percentiles(({ requestMs }) => requestMs) },
    {
      title: 'Requests',
      unit: 'count',
      lines: [of('running', ({ running }) => running), of('queued', ({ queued }) => queued)],
    },
    {
      title: 'Began, ended, failed, replayed',
      unit: 'count',
      lines: [
        of('began', ({ requestsStarted }) => requestsStarted),
        of('ended', ({ requestsEnded }) => requestsEnded),
        of('failed', ({ requestsFailed }) => requestsFailed),
        of('replays', ({ replays }) => replays),
      ],
    },
    {
      title: 'Rows per step',
      unit: 'count',
      lines: [of('rows', ({ rows, steps }) => (steps > 0 ? rows / steps : null))],
    },
    {
      title: 'Cache',
      unit: 'share',
      lines: [
        of('found of prompts', ({ promptTokens, cachedTokens }) =>
          promptTokens + cachedTokens > 0 ? cachedTokens / (promptTokens + cachedTokens) : null,
        ),
        of('arena in use', ({ arenaShare }) => arenaShare),
      ],
    },
  ];
}

/** How busy a worker was. */
export interface Occupancy {
  readonly workerId: string;
  /** From 0 to 1, of the whole time that is shown, and of the last bucket. */
  readonly meanShare: number;
  readonly lastShare: number;
  readonly shares: readonly number[];
}

/** Of each worker that computed at all, the busiest first. */
export function occupancyOf(buckets: readonly SeriesBucket[]): Occupancy[] {
  const ids = new Set(buckets.flatMap(({ busyShares }) => Object.keys(busyShares)));
  const totalMs = buckets.reduce((sum, { lengthMs }) => sum + lengthMs, 0);
  return [...ids]
    .map((workerId) => {
      const shares = buckets.map(({ busyShares }) => busyShares[workerId] ?? 0);
      const busyMs = buckets.reduce(
        (sum, { lengthMs, busyShares }) => sum + lengthMs * (busyShares[workerId] ?? 0),
        0,
      );
      return {
        workerId,
        meanShare: totalMs > 0 ? busyMs / totalMs : 0,
        lastShare: shares.at(-1) ?? 0,
        shares,
      };
    })
    .sort((a, b) => b.meanShare - a.meanShare || (a.workerId < b.workerId ? -1 : 1));
}
