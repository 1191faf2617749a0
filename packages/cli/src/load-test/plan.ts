import { ButterflyError, limits, poissonArrivals, uniforms } from '@butterfly/common';

/** How requests follow each other. */
export type LoadPattern =
  /** So many streams, each of which sends the next request when its last one is answered. */
  | { readonly kind: 'concurrency'; readonly streams: number }
  /** Each request at its time from the start, whatever became of those before. */
  | { readonly kind: 'rate'; readonly arrivalsMs: readonly number[] };

/** @param perSecond null for so many streams at once */
export function patternOf(
  seed: number,
  requests: number,
  perSecond: number | null,
  streams: number,
): LoadPattern {
  if (perSecond === null) return { kind: 'concurrency', streams: Math.min(streams, requests) };
  return { kind: 'rate', arrivalsMs: poissonArrivals(uniforms(`arrivals ${seed}`), requests, perSecond) };
}

/** @throws ButterflyError CONFIG_INVALID for more answers than times of them are kept */
export function checkSize(requests: number, maxTokens: number): void {
  if (requests * maxTokens > limits.loadTestTokensMax)
    throw new ButterflyError(
      'CONFIG_INVALID',
      `--requests times --max-tokens may be ${limits.loadTestTokensMax} at most; lower one of the two.`,
    );
}
