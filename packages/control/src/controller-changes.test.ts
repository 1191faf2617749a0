import { deadlines } from '@butterfly/common';
import { describe, expect, it } from 'vitest';
import { broken, Story } from './testing/controller.js';

describe('a better plan', () => {
  it('is loaded beside the live one and cut in when no request runs', () => {
    const story = Story.live(['a']);
    expect(story.join('b')).toEqual(['prepare a 0-6', 'prepare b 6-12']);
    expect(story.controller.describe()).toBe('ready');
    expect(story.controller.stateOf('b', story.nowMs)).toBe('loading');
    expect([...story.of('prepared', 'b', '6-12'), ...story.of('prepared', 'a', '0-6')]).toEqual([]);
    expect(story.after(100)).toEqual([]);
    story.isIdle = true;
    expect(story.after(100)).toEqual(['retire 1', 'assign 2 a,b']);
    // What the old plan needs is kept until the new one has shown that it works.
    expect(story.settle()).toEqual(['canary 2', 'live 2', 'release a 0-12']);
  });

  it('is cut in between two steps when requests never pause', () => {
    const story = Story.live(['a']);
    story.join('b');
    story.settle();
    expect(story.after(4_999)).toEqual([]);
    expect(story.after(1)).toEqual(['retire 1', 'assign 2 a,b']);
  });

  it('that is hardly better is left alone, until it is better', () => {
    const story = Story.live(['a']);
    story.tokensPerSecond = (stages) => 10 + 0.9 * (stages - 1);
    expect([...story.join('b'), ...story.after(100)]).toEqual([]);
    expect(story.controller.stateOf('b', story.nowMs)).toBe('idle');
    story.tokensPerSecond = (stages) => 10 + 1.1 * (stages - 1);
    expect(story.handle({ kind: 'linksChanged' })).toEqual([]);
    expect(story.after(100)).toEqual(['prepare a 0-6', 'prepare b 6-12']);
  });

  it('stops the cluster where there is no memory beside, if it is so much better', () => {
    const story = Story.live(['a'], {}, 12);
    story.tokensPerSecond = (stages) => (stages === 1 ? 10 : 14.9);
    expect([...story.join('b'), ...story.after(100)]).toEqual([]);
    story.tokensPerSecond = (stages) => (stages === 1 ? 10 : 15);
    story.handle({ kind: 'linksChanged' });
    expect(story.after(100)).toEqual(['retire 1', 'release a 0-12', 'prepare a 0-6', 'prepare b 6-12']);
    expect(story.settle()).toEqual(['assign 2 a,b', 'canary 2', 'live 2']);
  });

  it('is wanted at once where it has as many stages as were asked for', () => {
    const story = Story.live(['a'], { stagesMin: 2 });
    story.tokensPerSecond = () => 10;
    expect(story.join('b')).toEqual(['prepare a 0-6', 'prepare b 6-12']);
    story.settle();
    expect(story.after(0)).toEqual(['retire 1', 'assign 2 a,b']);
    story.settle();
    expect([...story.join('c'), ...story.after(100)]).toEqual([]);
  });
});

describe('while a better plan loads', () => {
  it('nothing of it stays when one of its workers dies', () => {
    const story = Story.live(['a']);
    story.join('b');
    story.of('prepared', 'a', '0-6');
    expect([...story.leave('b'), ...story.after(100)]).toEqual(['release a 0-6']);
    expect(story.controller.describe()).toBe('ready');
  });

  it('the live one may die', () => {
    const story = Story.live(['a']);
    story.join('b');
    expect(story.leave('a')).toEqual(['retire 1', 'release b 6-12', 'prepare b 0-12']);
    expect(story.settle()).toEqual(['assign 2 b', 'canary 2', 'live 2']);
  });

  it('it is at hand when the live one dies and all of it is loaded', () => {
    const story = Story.live(['a', 'b']);
    story.drain('b');
    story.of('prepared', 'a', '0-12');
    expect(story.leave('b')).toEqual(['retire 1', 'release a 0-6', 'assign 2 a']);
  });

  it('a worker that cannot load its part is left out for a while', () => {
    const story = Story.live(['a']);
    story.join('b');
    expect(story.unprepared('b', '6-12')).toEqual(['release a 0-6']);
    expect(story.controller.trouble).toBe(broken);
    expect([...story.after(100), ...story.after(29_899)]).toEqual([]);
    expect(story.controller.describe()).toBe('ready');
    expect(story.after(1)).toEqual(['prepare a 0-6', 'prepare b 6-12']);
  });

  it('a worker that hangs is left out for a while', () => {
    const story = Story.live(['a']);
    story.join('b');
    story.of('prepared', 'a', '0-6');
    expect(story.after(deadlines.loadStallMs)).toEqual([]);
    expect(story.after(1)).toEqual(['release a 0-6', 'release b 6-12']);
    expect(story.controller.trouble).toMatchObject({ code: 'TIMEOUT' });
    expect(story.after(29_999)).toEqual([]);
    expect(story.after(1)).toEqual(['prepare a 0-6', 'prepare b 6-12']);
  });

  it('a worker that dies at it again and again is left out ever longer', () => {
    const story = Story.live(['a']);
    for (const [losses, pauseMs] of [0, 10_000, 60_000, 300_000].entries()) {
      const [lost, back] = [`b${losses}`, `b${losses + 1}`];
      if (losses === 0) expect(story.join(lost)).toEqual(['prepare a 0-6', `prepare ${lost} 6-12`]);
      story.leave(lost);
      expect(story.join(back)).toEqual(pauseMs === 0 ? ['prepare a 0-6', `prepare ${back} 6-12`] : []);
      if (pauseMs === 0) continue;
      expect(story.controller.stateOf(back, story.nowMs)).toBe('leftOut');
      expect(story.after(pauseMs - 1)).toEqual([]);
      expect(story.after(1)).toEqual(['prepare a 0-6', `prepare ${back} 6-12`]);
    }
  });

  it('another worker may join, and is planned with once it is live', () => {
    const story = Story.live(['a']);
    story.isIdle = true;
    story.join('b');
    expect(story.join('c')).toEqual([]);
    story.settle();
    story.after(100);
    expect(story.settle()).toEqual([
      'canary 2',
      'live 2',
      'release a 0-12',
      'prepare a 0-4',
      'prepare b 4-8',
      'prepare c 8-12',
    ]);
  });
});

describe('draining', () => {
  it('empties a worker without a pause, and then says goodbye to it', () => {
    const story = Story.live(['a', 'b']);
    expect(story.drain('b')).toEqual(['prepare a 0-12']);
    expect(story.drain('b')).toEqual([]);
    expect(story.controller.stateOf('b', story.nowMs)).toBe('draining');
    expect(story.of('prepared', 'a', '0-12')).toEqual([]);
    // It is urgent: no moment without requests is waited for.
    expect(story.after(0)).toEqual(['retire 1', 'assign 2 a']);
    expect(story.settle()).toEqual(['canary 2', 'live 2', 'release a 0-6', 'dismiss b']);
    expect(story.after(60_000)).toEqual([]);
    expect(story.leave('b', true)).toEqual([]);
  });

  it('is refused when the others cannot hold the model, and nothing changes', () => {
    const story = Story.live(['a', 'b'], {}, 6);
    expect(story.drain('b')).toEqual(['drainRefused b']);
    expect([...story.after(100), ...story.after(60_000)]).toEqual([]);
    expect(story.controller.stateOf('b', story.nowMs)).toBe('serving');
    story.memoryBytes = 12;
    story.stagesMax = 2;
    story.join('c');
    expect(story.drain('b')).toEqual(['prepare c 6-12']);
  });

  it('stops the cluster where there is no memory beside', () => {
    const story = Story.live(['a', 'b'], {}, 12);
    expect(story.drain('b')).toEqual(['retire 1', 'release a 0-6', 'prepare a 0-12']);
  });

  it('says goodbye at once to a worker without work', () => {
    const story = Story.live(['a']);
    story.tokensPerSecond = () => 10;
    story.join('b');
    expect(story.drain('b')).toEqual(['dismiss b']);
    expect(story.after(100)).toEqual([]);
  });

  it('says goodbye at once before there is any plan', () => {
    const story = new Story({ workersExpected: 2 });
    story.join('a');
    expect(story.drain('a')).toEqual(['dismiss a']);
  });

  it('takes a worker out of a plan that is being loaded', () => {
    const story = Story.live(['a']);
    story.join('b');
    const told = story.drain('b');
    expect([...told].sort()).toEqual(['dismiss b', 'release a 0-6', 'release b 6-12']);
    expect(story.controller.describe()).toBe('ready');
  });

  it('is taken back when the others can hold the model no more', () => {
    const story = Story.live(['a', 'b'], {}, 12);
    story.stagesMax = 1;
    story.drain('b');
    expect(story.leave('a')).toEqual(['drainRefused b', 'release b 6-12', 'prepare b 0-12']);
    expect(story.settle()).toEqual(['assign 2 b', 'canary 2', 'live 2']);
    expect(story.controller.stateOf('b', story.nowMs)).toBe('serving');
  });

  it('keeps the worker out of every plan as long as there is another', () => {
    const story = Story.live(['a', 'b', 'c']);
    story.drain('b');
    expect(story.leave('a')).not.toContain('prepare b 0-12');
    story.settle();
    for (let tick = 0; tick < 10; tick++) expect(story.after(1000).join()).not.toMatch('prepare b');
  });
});

describe('spares', () => {
  /** Live on a and b, with room for no more stages. */
  function spared(spares: number, ...idle: string[]): Story {
    const story = Story.live(['a', 'b'], { spares });
    story.stagesMax = 2;
    story.join(...idle);
    return story;
  }

  it('are copies of shards on idle workers, which take over without loading', () => {
    const story = spared(1);
    expect(story.join('c')).toEqual(['prepare c 0-6']);
    expect(story.settle()).toEqual([]);
    expect(story.controller.stateOf('c', story.nowMs)).toBe('spare');
    expect(story.leave('a')).toEqual(['retire 1', 'assign 2 c,b']);
    expect(story.settle()).toEqual(['canary 2', 'live 2']);
  });

  it('are used anew by a worker that failed, once it may take part again', () => {
    const story = spared(1, 'c');
    story.settle();
    expect(story.fail('a', 1)).toEqual(['retire 1', 'assign 2 c,b']);
    story.settle();
    expect(story.controller.stateOf('a', story.nowMs)).toBe('leftOut');
    // It still has what it served with.
    story.after(30_000);
    expect(story.controller.stateOf('a', story.nowMs)).toBe('spare');
    expect([...story.leave('c')]).toEqual(['retire 2', 'assign 3 a,b']);
  });

  it('that took over are no reason to forget who may take part again', () => {
    const story = spared(1, 'c');
    story.settle();
    story.stagesMax = 3;
    story.fail('a', 1);
    expect(story.settle()).toEqual(['canary 2', 'live 2']);
    expect(story.after(30_000)).toContain('prepare a 0-4');
  });

  it('of another shard do not help', () => {
    const story = spared(1, 'c');
    story.settle();
    expect(story.leave('b')).toEqual(['retire 1', 'release c 0-6', 'prepare c 6-12']);
  });

  it('that are not loaded yet do not help at once', () => {
    const story = spared(1, 'c');
    expect(story.leave('a')).toEqual([
      'retire 1',
      'release b 6-12',
      'release c 0-6',
      'prepare b 0-6',
      'prepare c 6-12',
    ]);
  });

  it('are as many as asked for, of one stage after the other', () => {
    const story = spared(2);
    expect(story.join('c', 'd', 'e')).toEqual(['prepare c 0-6', 'prepare d 6-12']);
    story.settle();
    expect(story.leave('b')).toEqual(['retire 1', 'assign 2 a,d']);
    // The one that has nothing yet makes up for the one that is a stage now.
    expect([...story.settle(), ...story.after(100)]).toEqual(['canary 2', 'live 2', 'prepare e 6-12']);
  });

  it('are let go of when the plan changes', () => {
    const story = spared(1, 'c');
    story.settle();
    story.stagesMax = 3;
    story.handle({ kind: 'linksChanged' });
    expect(story.after(100)).toEqual(['release c 0-6', 'prepare a 0-4', 'prepare b 4-8', 'prepare c 8-12']);
  });

  it('are held by another one when the one that holds them goes', () => {
    const story = spared(1, 'c', 'd');
    story.settle();
    expect([...story.leave('c'), ...story.after(100)]).toEqual(['prepare d 0-6']);
  });

  it('are held by another one when the first cannot load them', () => {
    const story = spared(1, 'c', 'd');
    expect([...story.unprepared('c', '0-6'), ...story.after(100)]).toEqual(['prepare d 0-6']);
  });

  it('are kept by one who comes back with them, and nothing else is', () => {
    const story = spared(1);
    expect(story.joinHolding('c', '0-6', '3-9')).toEqual(['release c 3-9', 'prepare c 0-6']);
  });

  it('stay where they are loaded when a larger worker joins', () => {
    const story = spared(1, 'c');
    story.settle();
    story.memoryBytes = 200;
    expect([...story.join('d'), ...story.after(100)]).toEqual([]);
  });
});
