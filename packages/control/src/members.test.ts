import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { memberOf } from './testing/controller.js';
import { Members } from './members.js';

const minuteMs = 60_000;

/** How long the worker is left out after each of these losses. */
function pausesAfter(lossesMs: readonly number[]): number[] {
  const members = new Members();
  members.add(memberOf('a'));
  return lossesMs.map((atMs) => {
    members.lost(memberOf('a'), atMs);
    const returnMs = members.nextReturnMs(atMs);
    return returnMs === Infinity ? 0 : returnMs - atMs;
  });
}

describe('losses', () => {
  it('leave a worker out ever longer, the first one not at all', () => {
    const minute = (count: number): number => count * minuteMs;
    expect(pausesAfter([0, 1, 2, 3, 4].map(minute))).toEqual([0, 10_000, 60_000, 300_000, 300_000]);
  });

  it('are forgotten after ten minutes', () => {
    expect(pausesAfter([0, 1, 10 * minuteMs, 10 * minuteMs + 1])).toEqual([0, 10_000, 10_000, 10_000]);
    expect(pausesAfter([0, 10 * minuteMs, 20 * minuteMs, 40 * minuteMs])).toEqual([0, 0, 0, 0]);
  });

  it('never keep a worker out for longer than five minutes, nor others at all', () => {
    const gaps = fc.array(fc.integer({ min: 0, max: 5 * minuteMs }), { maxLength: 50 });
    fc.assert(
      fc.property(gaps, (gapsMs) => {
        const members = new Members();
        members.add(memberOf('a'));
        members.add(memberOf('b'));
        let nowMs = 0;
        for (const gapMs of gapsMs) {
          nowMs += gapMs;
          members.lost(memberOf('a'), nowMs);
          expect(members.available(nowMs)).toContainEqual(memberOf('b'));
          const returnMs = members.nextReturnMs(nowMs);
          expect(returnMs === Infinity || returnMs <= nowMs + 5 * minuteMs).toBe(true);
        }
        expect(members.available(nowMs + 5 * minuteMs)).toHaveLength(2);
        // Whoever was not lost for ten minutes begins anew.
        nowMs += 10 * minuteMs;
        members.lost(memberOf('a'), nowMs);
        expect(members.available(nowMs)).toHaveLength(2);
      }),
    );
  });

  it('count for a worker that comes back under another id', () => {
    const members = new Members();
    members.add(memberOf('a'));
    members.lost(memberOf('a'), 0);
    members.remove('a');
    members.add(memberOf('a2'));
    expect(members.available(0)).toHaveLength(1);
    members.lost(memberOf('a2'), 0);
    members.remove('a2');
    members.add(memberOf('a3'));
    expect(members.available(9_999)).toEqual([]);
    expect(members.available(10_000)).toEqual([memberOf('a3')]);
  });
});

describe('being left out', () => {
  it('ends, and is not shortened by a shorter time', () => {
    const members = new Members();
    members.add(memberOf('a'));
    members.leaveOut(memberOf('a').identity, 1000, 0);
    members.leaveOut(memberOf('a').identity, 500, 0);
    expect(members.available(999)).toEqual([]);
    expect(members.nextReturnMs(999)).toBe(1000);
    expect(members.available(1000)).toHaveLength(1);
    expect(members.nextReturnMs(1000)).toBe(Infinity);
  });

  it('of somebody who is gone is nothing to wait for', () => {
    const members = new Members();
    members.add(memberOf('a'));
    members.leaveOut(memberOf('a').identity, 1000, 0);
    members.remove('a');
    expect(members.nextReturnMs(0)).toBe(Infinity);
  });
});

describe('draining', () => {
  it('makes a worker unavailable, until it is taken back', () => {
    const members = new Members();
    members.add(memberOf('a'));
    members.drain('a', true);
    members.drain('nobody', true);
    expect([members.available(0), members.draining()]).toEqual([[], [memberOf('a')]]);
    members.drain('a', false);
    expect([members.available(0), members.draining()]).toEqual([[memberOf('a')], []]);
  });
});

describe('holdings', () => {
  it('are those of each worker alone, and gone with it', () => {
    const members = new Members();
    members.add(memberOf('a'));
    members.add(memberOf('b'));
    members.hold('a', 'x', 'loading');
    members.hold('b', 'x', 'held');
    members.hold('nobody', 'x', 'held');
    expect([members.holds('a', 'x'), members.holds('b', 'x'), members.holds('nobody', 'x')]).toEqual([
      'loading',
      'held',
      null,
    ]);
    members.unhold('b', 'x');
    expect([members.shardsOf('a'), members.shardsOf('b')]).toEqual([['x'], []]);
    members.remove('a');
    members.add(memberOf('a'));
    expect(members.shardsOf('a')).toEqual([]);
  });

  it('from before are told apart, because nothing is known of them but that they are there', () => {
    const members = new Members();
    members.add(memberOf('a'), ['x', 'y']);
    expect(members.shardsOf('a')).toEqual(['x', 'y']);
    expect(members.holds('a', 'x')).toBe('kept');
  });
});
