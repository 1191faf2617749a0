import type { PlannerMember } from './model-planner.js';

/** What a worker can count on. */
interface Share {
  readonly memoryBytes: number;
  /** Beside its card. */
  readonly hostBytes: number;
}

/** Memory of one machine or card that several workers offer each as if it were theirs alone. */
interface Pool {
  /** The largest offer, which is what there is. */
  bytes: number;
  /** What all of them together would take. */
  wantedBytes: number;
}

/**
 * How the workers of a machine share its memory: together they count on the largest of their offers. A worker on a card takes
 * of the memory of the machine at most what it could use; where that is more than there is, each has a part in proportion.
 * @param usableBytes what a worker on a card could use at most of the memory beside it
 */
export function shareMemory(
  members: readonly PlannerMember[],
  usableBytes: number,
): (member: PlannerMember) => Share {
  const pools = new Map<string, Pool>();
  const offer = (pool: string | undefined, bytes: number, wantedBytes: number): void => {
    if (pool === undefined) return;
    const known = pools.get(pool) ?? { bytes: 0, wantedBytes: 0 };
    pools.set(pool, {
      bytes: Math.max(known.bytes, bytes),
      wantedBytes: known.wantedBytes + wantedBytes,
    });
  };
  const wantedBeside = ({ host }: PlannerMember): number => Math.min(host?.memoryBytes ?? 0, usableBytes);
  for (const member of members) {
    offer(member.memoryOf, member.memoryBytes, member.memoryBytes);
    offer(member.host?.memoryOf, member.host?.memoryBytes ?? 0, wantedBeside(member));
  }
  const shareOf = (pool: string | undefined, wantedBytes: number): number => {
    const { bytes, wantedBytes: all } = pools.get(pool ?? '') ?? { bytes: 0, wantedBytes: 0 };
    return pool === undefined || all <= bytes ? wantedBytes : Math.floor((wantedBytes * bytes) / all);
  };
  return (member) => ({
    memoryBytes: shareOf(member.memoryOf, member.memoryBytes),
    hostBytes: shareOf(member.host?.memoryOf, wantedBeside(member)),
  });
}
