import { describe, expect, it } from 'vitest';
import { memberOf, Story } from './testing/controller.js';
import { SharedByControllers } from './shared-by-controllers.js';

describe('a controller among others', () => {
  it('plans once for all who come together from another replica, however many were expected', () => {
    const story = new Story({ workersExpected: 9 });
    expect(story.join('a')).toEqual([]);
    expect(story.after(60_000)).toEqual([]);
    const joining = ['b', 'c'].map((id) => ({ member: memberOf(id), heldShards: ['4-8'] }));
    expect(story.handle({ kind: 'gathered', joining })).toEqual([
      'release c 4-8',
      'prepare a 0-4',
      'prepare b 4-8',
      'prepare c 8-12',
    ]);
    expect(story.controller.size).toBe(3);
  });

  it('tells whom a plan in force or the next one has a part for', () => {
    const story = Story.live(['a', 'b'], { spares: 0 });
    story.stagesMax = 2;
    story.join('c');
    const using = (): string[] => ['a', 'b', 'c'].filter((id) => story.controller.isUsing(id));
    expect(using()).toEqual(['a', 'b']);
    story.stagesMax = 3;
    story.tokensPerSecond = (stages) => 100 * stages;
    story.handle({ kind: 'linksChanged' });
    expect(story.after(100)).toContain('prepare c 8-12');
    expect(using()).toEqual(['a', 'b', 'c']);
  });

  it('never numbers an epoch as another one does', () => {
    const shared = new SharedByControllers();
    const [one, other] = [new Story({ shared }), new Story({ shared })];
    one.join('a');
    other.join('b');
    expect(one.settle()).toContain('live 1');
    expect(other.settle()).toContain('live 2');
    one.fail('a', 1, true);
    expect(one.settle()).toContain('live 3');
  });

  it('leaves out a worker that was lost again and again by another one', () => {
    const shared = new SharedByControllers();
    const one = new Story({ shared });
    for (let times = 0; times < 2; times += 1) {
      one.join('a');
      one.settle();
      one.leave('a');
    }
    const other = new Story({ shared });
    other.join('b');
    other.settle();
    expect(other.join('a')).toEqual([]);
    expect(other.controller.stateOf('a', other.nowMs)).toBe('leftOut');
    expect(other.after(10_000).join()).toMatch('prepare a');
  });
});
