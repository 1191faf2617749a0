import type { Claim, Member } from '@butterfly/control';

/** Memory of one machine or card by its name: a worker's own where it shares it with nobody. */
export type Taken = ReadonlyMap<string, number>;

/** What shards take of each memory. @param members of whom the claims are; those of others are of nobody here any more */
export function takenBy(members: Iterable<Member>, claims: Iterable<Claim>): Taken {
  const memberOf = new Map([...members].map((member) => [member.workerId, member]));
  const taken = new Map<string, number>();
  const add = (name: string, bytes: number): void => {
    if (bytes > 0) taken.set(name, (taken.get(name) ?? 0) + bytes);
  };
  for (const { workerId, bytes, hostBytes } of claims) {
    const member = memberOf.get(workerId);
    if (!member) continue;
    add(memoryName(member), bytes);
    // What a worker without a card has beside it lies in the same memory.
    add(hostName(member) ?? memoryName(member), hostBytes);
  }
  return taken;
}

/** The same member with what all of these leave of its memory. */
export function roomFor(member: Member, takenByOthers: readonly Taken[]): Member {
  const leftOf = (name: string, bytes: number): number =>
    Math.max(0, bytes - takenByOthers.reduce((sum, taken) => sum + (taken.get(name) ?? 0), 0));
  const memoryBytes = leftOf(memoryName(member), member.memoryBytes);
  const { host } = member;
  if (!host) return { ...member, memoryBytes };
  const hostBytes = leftOf(hostName(member) ?? '', host.memoryBytes);
  return { ...member, memoryBytes, host: { ...host, memoryBytes: hostBytes } };
}

function memoryName({ memoryOf, workerId }: Member): string {
  return memoryOf ?? `worker ${workerId}`;
}

function hostName({ host, workerId }: Member): string | null {
  return host ? (host.memoryOf ?? `host of ${workerId}`) : null;
}
