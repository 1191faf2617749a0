import type { KeptRequest } from '@butterfly/journal';

/** What an earlier process left, by what is to become of it. */
export interface EarlierRequests {
  /** Under way: their answers go on. */
  readonly unfinished: readonly KeptRequest[];
  /** Over: told again to clients that come late. */
  readonly over: readonly KeptRequest[];
  /** Ids of those that nobody can ask for any more. */
  readonly forgotten: readonly string[];
}

/**
 * Of requests with one handle the last one counts.
 * @param kept in the order in which they began
 * @param nowMs since 1970
 * @param keptMs how long an answer stays when it is over
 */
export function earlierRequests(
  kept: readonly KeptRequest[],
  nowMs: number,
  keptMs: number,
): EarlierRequests {
  const latest = new Map(kept.map((each) => [each.record.handle, each]));
  const isWanted = (each: KeptRequest): boolean =>
    latest.get(each.record.handle) === each &&
    (each.endedMs === null ? each.record.deadlineMs > nowMs : each.endedMs > nowMs - keptMs);
  const wanted = kept.filter(isWanted);
  return {
    unfinished: wanted.filter(({ endedMs }) => endedMs === null),
    over: wanted.filter(({ endedMs }) => endedMs !== null),
    forgotten: kept.filter((each) => !isWanted(each)).map(({ record }) => record.id),
  };
}
