import { describe, expect, it } from 'vitest';
import { isSameTarget, missingStages, shardOf, targetOf, uses } from './target.js';
import { memberOf, planOf, shardIdOf } from './testing/controller.js';
import { membersOf, targetOn } from './testing/targets.js';

describe('a target', () => {
  it('knows the shard of each of its workers', () => {
    const both = targetOn('a', 'b');
    expect(both.shardIds).toEqual(['0-6', '6-12']);
    expect([uses(both, 'a'), uses(both, 'c')]).toEqual([true, false]);
    expect([shardOf(both, 'b'), shardOf(both, 'c')]).toEqual(['6-12', null]);
  });

  it('misses what is not loaded', () => {
    const members = membersOf(memberOf('a'), memberOf('b'), memberOf('c'));
    members.hold('a', '0-4', 'held');
    members.hold('b', '4-8', 'loading');
    members.hold('c', '4-8', 'held');
    expect(missingStages(targetOn('a', 'b', 'c'), members)).toEqual([1, 2]);
  });

  it('is the same on the same workers, in the same order, linked in the same ways', () => {
    const both = targetOn('a', 'b');
    expect(isSameTarget(both, targetOn('a', 'b'))).toBe(true);
    expect(isSameTarget(both, targetOn('b', 'a'))).toBe(false);
    expect(isSameTarget(both, targetOn('a', 'b', 'c'))).toBe(false);
    expect(isSameTarget(targetOn('a', 'b', 'c'), both)).toBe(false);
    expect(isSameTarget(both, targetOf(planOf(['a', 'b'], { relayed: 'b' }), shardIdOf))).toBe(false);
  });
});
