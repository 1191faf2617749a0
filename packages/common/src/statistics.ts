/** The value below which so many percent lie, in a straight line between the two nearest. NaN of none. */
export function percentile(values: readonly number[], percent: number): number {
  return percentiles(values, [percent])[0] ?? NaN;
}

/** Several of them at the price of one. */
export function percentiles(values: readonly number[], percents: readonly number[]): number[] {
  const sorted = Float64Array.from(values).sort();
  return percents.map((percent) => {
    const place = ((sorted.length - 1) * percent) / 100;
    const below = sorted[Math.floor(place)] ?? NaN;
    const above = sorted[Math.ceil(place)] ?? NaN;
    return below + (above - below) * (place - Math.floor(place));
  });
}

/**
 * When requests arrive, in milliseconds from the start, if they come at random and independently at this rate.
 * @param uniform numbers from 0 up to, but not including, 1
 */
export function poissonArrivals(uniform: () => number, requests: number, perSecond: number): number[] {
  let atMs = 0;
  return Array.from({ length: requests }, () => (atMs -= (Math.log(1 - uniform()) * 1000) / perSecond));
}
