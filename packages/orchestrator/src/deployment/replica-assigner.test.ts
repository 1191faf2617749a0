import { ButterflyError } from '@butterfly/common';
import type { Member } from '@butterfly/control';
import { memberOf } from '@butterfly/control/testing';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ReplicaAssigner, type ReplicaState } from './replica-assigner.js';

/** The model takes so much memory; a replica makes as many tokens per second as it has memory, up to a bound. */
const modelBytes = 10;
const speedMax = 25;

const bytesOf = (members: readonly Member[]): number =>
  members.reduce((sum, { memoryBytes }) => sum + memoryBytes, 0);
const speedOf = (members: readonly Member[]): number =>
  bytesOf(members) < modelBytes ? 0 : Math.min(speedMax, bytesOf(members));

/** Puts workers one after the other into groups that hold the model; the rest goes to the first group. */
function split(members: readonly Member[], replicasMax: number) {
  if (bytesOf(members) < modelBytes) throw new ButterflyError('MODEL_TOO_LARGE', 'The model needs 10 bytes.');
  const groups: Member[][] = [[]];
  for (const member of members) {
    const last = groups.at(-1) ?? [];
    if (speedOf(last) === 0) last.push(member);
    else if (groups.length < replicasMax) groups.push([member]);
    else groups[0]?.push(member);
  }
  const unable = groups.filter((group) => speedOf(group) === 0).flat();
  const able = groups.filter((group) => speedOf(group) > 0);
  const whole = able.map((group, index) => (index === 0 ? [...group, ...unable] : group));
  return {
    groups: whole.map((group) => group.map(({ workerId }) => workerId)),
    tokensPerSecond: whole.reduce((sum, group) => sum + speedOf(group), 0),
  };
}

/** Replicas whose plans follow at once from who is in them. */
class Replicas {
  nowMs = 0;
  readonly replicas: Member[][];
  readonly assigner: ReplicaAssigner;

  constructor(replicasMax: number, workersExpected = 1) {
    this.replicas = Array.from({ length: replicasMax }, () => []);
    this.assigner = new ReplicaAssigner({
      workersExpected,
      gatherMs: 300,
      stagesMin: 1,
      split: (members) => split(members, replicasMax),
      speedsOf: (groups) => groups.map(speedOf),
    });
  }

  get states(): ReplicaState[] {
    return this.replicas.map((members) => ({
      members,
      isPlanned: this.assigner.isGathered && speedOf(members) > 0,
    }));
  }

  /** Ids by replica. */
  get ids(): string[] {
    return this.replicas.map((members) =>
      members
        .map(({ workerId }) => workerId)
        .sort()
        .join(),
    );
  }

  join(workerId: string, memoryBytes: number): number {
    const member = memberOf(workerId, memoryBytes);
    const replica = this.assigner.replicaOf(member, this.states, this.nowMs);
    this.replicas[replica]?.push(member);
    return replica;
  }

  leave(workerId: string): void {
    for (const members of this.replicas) {
      const at = members.findIndex((member) => member.workerId === workerId);
      if (at !== -1) members.splice(at, 1);
    }
  }

  /** Time passes, and whoever is to go somewhere goes there. How many went. */
  pass(ms: number): number {
    this.nowMs += ms;
    const all = this.replicas.flat();
    const moves = this.assigner.arrange(this.states, this.nowMs);
    for (const { workerId, replica } of moves) {
      const member = all.find((each) => each.workerId === workerId);
      this.leave(workerId);
      if (member) this.replicas[replica]?.push(member);
    }
    return moves.length;
  }
}

describe('ReplicaAssigner', () => {
  it('splits the workers once all that are expected are there, and then nobody more came for a while', () => {
    const replicas = new Replicas(2, 4);
    for (const id of ['a', 'b', 'c']) replicas.join(id, 6);
    expect(replicas.pass(5000)).toBe(0);
    replicas.join('d', 6);
    replicas.pass(299);
    expect(replicas.ids).toEqual(['a,b,c,d', '']);
    replicas.pass(1);
    expect(replicas.ids).toEqual(['a,b', 'c,d']);
    expect(replicas.assigner.isGathered).toBe(true);
    expect(replicas.pass(60_000)).toBe(0);
  });

  it('keeps everybody together where there is no memory for more', () => {
    const replicas = new Replicas(3, 2);
    replicas.join('a', 6);
    replicas.join('b', 6);
    replicas.pass(300);
    expect(replicas.ids).toEqual(['a,b', '', '']);
  });

  it('opens another replica as soon as there are workers for it', () => {
    const replicas = new Replicas(2, 2);
    for (const id of ['a', 'b']) replicas.join(id, 6);
    replicas.pass(300);
    replicas.join('c', 6);
    replicas.pass(300);
    expect(replicas.ids).toEqual(['a,b,c', '']);
    replicas.join('d', 12);
    replicas.pass(300);
    expect(replicas.ids.map((ids) => ids.length).sort()).not.toContain(0);
    expect(replicas.states.every(({ isPlanned }) => isPlanned)).toBe(true);
  });

  it('gives a newcomer to the replica that cannot go without it', () => {
    const replicas = new Replicas(2, 4);
    for (const id of ['a', 'b', 'c', 'd']) replicas.join(id, 6);
    replicas.pass(300);
    replicas.leave('c');
    expect(replicas.pass(1000)).toBe(0);
    expect(replicas.join('e', 6)).toBe(1);
    replicas.pass(60_000);
    expect(replicas.ids).toEqual(['a,b', 'd,e']);
  });

  it('dissolves a replica whose lost worker does not come back', () => {
    const replicas = new Replicas(2, 4);
    for (const id of ['a', 'b', 'c', 'd']) replicas.join(id, 6);
    replicas.pass(300);
    replicas.leave('a');
    replicas.pass(1000);
    expect(replicas.pass(8_999)).toBe(0);
    replicas.pass(1_001);
    expect(replicas.ids).toEqual(['', 'b,c,d']);
  });

  it('puts everybody together at once when no replica can go on', () => {
    const replicas = new Replicas(2, 4);
    for (const id of ['a', 'b', 'c', 'd']) replicas.join(id, 6);
    replicas.pass(300);
    replicas.leave('b');
    replicas.leave('d');
    replicas.pass(100);
    expect([...replicas.ids].sort()).toEqual(['', 'a,c']);
    replicas.leave('a');
    replicas.pass(100);
    replicas.join('e', 2);
    replicas.join('f', 2);
    replicas.pass(300);
    expect([...replicas.ids].sort()).toEqual(['', 'c,e,f']);
  });

  it('comes to rest whatever happens, and leaves nobody in a replica that cannot go on while another one can', () => {
    const happening = fc.record({
      what: fc.constantFrom('join', 'join', 'leave', 'time'),
      number: fc.nat(20),
    });
    fc.assert(
      fc.property(
        fc.integer({ min: 2, max: 4 }),
        fc.integer({ min: 1, max: 4 }),
        fc.array(happening, { maxLength: 40, size: 'max' }),
        (replicasMax, workersExpected, happenings) => {
          const replicas = new Replicas(replicasMax, workersExpected);
          for (const [index, { what, number }] of happenings.entries()) {
            if (what === 'join') replicas.join(`w${index}`, 1 + number);
            if (what === 'leave') replicas.leave(replicas.replicas.flat().at(number)?.workerId ?? '');
            if (what === 'time') replicas.pass(number * 100);
          }
          const before = replicas.replicas.flat().length;
          for (let round = 0; round < 10; round += 1) replicas.pass(10_000);
          expect(replicas.pass(10_000)).toBe(0);
          expect(replicas.replicas.flat()).toHaveLength(before);
          if (!replicas.assigner.isGathered) return;
          const inUse = replicas.states.filter(({ members }) => members.length > 0);
          const able = inUse.filter(({ isPlanned }) => isPlanned);
          expect(able.length === inUse.length || inUse.length === 1).toBe(true);
          expect(able.length > 0).toBe(bytesOf(replicas.replicas.flat()) >= modelBytes);
        },
      ),
      { numRuns: 500 },
    );
  });
});
