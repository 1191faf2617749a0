import type { PlannerMember } from './types.js';

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
  /** What those on cards would take at most beside them. */
  readonly besideCards: number[];
  /** What those would take whose memory it is that they compute in. */
  wantedBytes: number;
}

/** How a pool is given out: all of a claim up to `wholeBytes`, and such a part of a larger one. */
interface Division {
  readonly wholeBytes: number;
  readonly part: number;
}

/**
 * How the workers of a machine share its memory: together they count on the largest of their offers. A worker on a card takes
 * of the memory of the machine at most what it could use, and where that is no more than an even share, all of it; the others
 * have parts in proportion to their offers.
 * @param usableBytes what a worker on a card could use at most of the memory beside it
 */
export function shareMemory(
  members: readonly PlannerMember[],
  usableBytes: number,
): (member: PlannerMember) => Share {
  const pools = new Map<string, Pool>();
  const poolOf = (name: string): Pool => {
    const pool = pools.get(name) ?? { bytes: 0, besideCards: [], wantedBytes: 0 };
    pools.set(name, pool);
    return pool;
  };
  const wantedBeside = ({ host }: PlannerMember): number => Math.min(host?.memoryBytes ?? 0, usableBytes);
  for (const member of members) {
    const { memoryOf, memoryBytes, host } = member;
    if (memoryOf !== undefined) {
      const pool = poolOf(memoryOf);
      pool.bytes = Math.max(pool.bytes, memoryBytes);
      pool.wantedBytes += memoryBytes;
    }
    if (host?.memoryOf !== undefined) {
      const pool = poolOf(host.memoryOf);
      pool.bytes = Math.max(pool.bytes, host.memoryBytes);
      pool.besideCards.push(wantedBeside(member));
    }
  }
  const divisions = new Map([...pools].map(([name, pool]) => [name, divide(pool)]));
  const shareOf = (name: string | undefined, bytes: number, isBesideCard: boolean): number => {
    const { wholeBytes, part } = divisions.get(name ?? '') ?? { wholeBytes: 0, part: 1 };
    return isBesideCard && bytes <= wholeBytes ? bytes : Math.floor(bytes * part);
  };
  return (member) => ({
    memoryBytes: shareOf(member.memoryOf, member.memoryBytes, false),
    hostBytes: shareOf(member.host?.memoryOf, wantedBeside(member), true),
  });
}

function divide({ bytes, besideCards, wantedBytes }: Pool): Division {
  const claims = [...besideCards].sort((a, b) => a - b);
  let left = bytes;
  let wholeBytes = 0;
  let others = claims.length + (wantedBytes > 0 ? 1 : 0);
  let wanted = claims.reduce((sum, claim) => sum + claim, wantedBytes);
  for (const claim of claims) {
    if (claim > left / others) break;
    wholeBytes = claim;
    left -= claim;
    wanted -= claim;
    others -= 1;
  }
  return { wholeBytes, part: wanted <= left ? 1 : left / wanted };
}
