import { percentile, percentiles } from '@butterfly/common';

/** The middle of the values, or the mean of the two in the middle. NaN of none. */
export function median(values: readonly number[]): number {
  return percentile(values, 50);
}

/** What most, nearly all and all but the unluckiest see. */
export interface Spread {
  readonly p50: number;
  readonly p95: number;
  readonly p99: number;
}

export function spreadOf(values: readonly number[]): Spread {
  const [p50 = NaN, p95 = NaN, p99 = NaN] = percentiles(values, [50, 95, 99]);
  return { p50, p95, p99 };
}

/** The medians of several spreads, percentile by percentile. */
export function medianSpread(spreads: readonly Spread[]): Spread {
  const of = (key: keyof Spread): number => median(spreads.map((spread) => spread[key]));
  return { p50: of('p50'), p95: of('p95'), p99: of('p99') };
}

/** Slope of the straight line through points (x, y) with the least squares. NaN of fewer than two. */
export function slope(points: readonly (readonly [x: number, y: number])[]): number {
  const mean = (index: 0 | 1): number => points.reduce((sum, point) => sum + point[index], 0) / points.length;
  const [meanX, meanY] = [mean(0), mean(1)];
  let covariance = 0;
  let variance = 0;
  for (const [x, y] of points) {
    covariance += (x - meanX) * (y - meanY);
    variance += (x - meanX) ** 2;
  }
  return covariance / variance;
}
