import { ButterflyError } from '@butterfly/common';
import type { Member } from '@butterfly/control';
import { memberOf } from '@butterfly/control/testing';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LaneAssigner, type LaneState } from './lane-assigner.js';

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

/** Lanes whose plans follow at once from who is in them. */
class Lanes {
  nowMs = 0;
  readonly lanes: Member[][];
  readonly assigner: LaneAssigner;

  constructor(replicasMax: number, workersExpected = 1) {
    this.lanes = Array.from({ length: replicasMax }, () => []);
    this.assigner = new LaneAssigner({
      workersExpected,
      gatherMs: 300,
      stagesMin: 1,
      split: (members) => split(members, replicasMax),
      speedsOf: (groups) => groups.map(speedOf),
    });
  }

  get states(): LaneState[] {
    return this.lanes.map((members) => ({
      members,
      isPlanned: this.assigner.isGathered && speedOf(members) > 0,
    }));
  }

  /** Ids by lane. */
  get ids(): string[] {
    return this.lanes.map((members) =>
      members
        .map(({ workerId }) => workerId)
        .sort()
        .join(),
    );
  }

  join(workerId: string, memoryBytes: number): number {
    const member = memberOf(workerId, memoryBytes);
    const lane = this.assigner.laneOf(member, this.states, this.nowMs);
    this.lanes[lane]?.push(member);
    return lane;
  }

  leave(workerId: string): void {
    for (const members of this.lanes) {
      const at = members.findIndex((member) => member.workerId === workerId);
      if (at !== -1) members.splice(at, 1);
    }
  }

  /** Time passes, and whoever is to go somewhere goes there. How many went. */
  pass(ms: number): number {
    this.nowMs += ms;
    const all = this.lanes.flat();
    const moves = this.assigner.arrange(this.states, this.nowMs);
    for (const { workerId, lane } of moves) {
      const member = all.find((each) => each.workerId === workerId);
      this.leave(workerId);
      if (member) this.lanes[lane]?.push(member);
    }
    return moves.length;
  }
}

describe('LaneAssigner', () => {
  it('splits the workers once all that are expected are there, and then nobody more came for a while', () => {
    const lanes = new Lanes(2, 4);
    for (const id of ['a', 'b', 'c']) lanes.join(id, 6);
    expect(lanes.pass(5000)).toBe(0);
    lanes.join('d', 6);
    lanes.pass(299);
    expect(lanes.ids).toEqual(['a,b,c,d', '']);
    lanes.pass(1);
    expect(lanes.ids).toEqual(['a,b', 'c,d']);
    expect(lanes.assigner.isGathered).toBe(true);
    expect(lanes.pass(60_000)).toBe(0);
  });

  it('keeps everybody together where there is no memory for more', () => {
    const lanes = new Lanes(3, 2);
    lanes.join('a', 6);
    lanes.join('b', 6);
    lanes.pass(300);
    expect(lanes.ids).toEqual(['a,b', '', '']);
  });

  it('opens another replica as soon as there are workers for it', () => {
    const lanes = new Lanes(2, 2);
    for (const id of ['a', 'b']) lanes.join(id, 6);
    lanes.pass(300);
    lanes.join('c', 6);
    lanes.pass(300);
    expect(lanes.ids).toEqual(['a,b,c', '']);
    lanes.join('d', 12);
    lanes.pass(300);
    expect(lanes.ids.map((ids) => ids.length).sort()).not.toContain(0);
    expect(lanes.states.every(({ isPlanned }) => isPlanned)).toBe(true);
  });

  it('gives a newcomer to the replica that cannot go without it', () => {
    const lanes = new Lanes(2, 4);
    for (const id of ['a', 'b', 'c', 'd']) lanes.join(id, 6);
    lanes.pass(300);
    lanes.leave('c');
    expect(lanes.pass(1000)).toBe(0);
    expect(lanes.join('e', 6)).toBe(1);
    lanes.pass(60_000);
    expect(lanes.ids).toEqual(['a,b', 'd,e']);
  });

  it('dissolves a replica whose lost worker does not come back', () => {
    const lanes = new Lanes(2, 4);
    for (const id of ['a', 'b', 'c', 'd']) lanes.join(id, 6);
    lanes.pass(300);
    lanes.leave('a');
    lanes.pass(1000);
    expect(lanes.pass(8_999)).toBe(0);
    lanes.pass(1_001);
    expect(lanes.ids).toEqual(['', 'b,c,d']);
  });

  it('puts everybody together at once when no replica can go on', () => {
    const lanes = new Lanes(2, 4);
    for (const id of ['a', 'b', 'c', 'd']) lanes.join(id, 6);
    lanes.pass(300);
    lanes.leave('b');
    lanes.leave('d');
    lanes.pass(100);
    expect([...lanes.ids].sort()).toEqual(['', 'a,c']);
    lanes.leave('a');
    lanes.pass(100);
    lanes.join('e', 2);
    lanes.join('f', 2);
    lanes.pass(300);
    expect([...lanes.ids].sort()).toEqual(['', 'c,e,f']);
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
          const lanes = new Lanes(replicasMax, workersExpected);
          for (const [index, { what, number }] of happenings.entries()) {
            if (what === 'join') lanes.join(`w${index}`, 1 + number);
            if (what === 'leave') lanes.leave(lanes.lanes.flat().at(number)?.workerId ?? '');
            if (what === 'time') lanes.pass(number * 100);
          }
          const before = lanes.lanes.flat().length;
          for (let round = 0; round < 10; round += 1) lanes.pass(10_000);
          expect(lanes.pass(10_000)).toBe(0);
          expect(lanes.lanes.flat()).toHaveLength(before);
          if (!lanes.assigner.isGathered) return;
          const inUse = lanes.states.filter(({ members }) => members.length > 0);
          const able = inUse.filter(({ isPlanned }) => isPlanned);
          expect(able.length === inUse.length || inUse.length === 1).toBe(true);
          expect(able.length > 0).toBe(bytesOf(lanes.lanes.flat()) >= modelBytes);
        },
      ),
      { numRuns: 500 },
    );
  });
});
