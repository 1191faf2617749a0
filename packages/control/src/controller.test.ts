import { deadlines } from '@butterfly/common';
import { describe, expect, it } from 'vitest';
import { broken, Story } from './testing/controller.js';

describe('the first plan', () => {
  it('waits for as many workers as are expected', () => {
    const story = new Story({ workersExpected: 2 });
    expect(story.join('a')).toEqual([]);
    expect(story.after(60_000)).toEqual([]);
    expect(story.controller.describe()).toBe('1 of 2 expected workers have joined');
    expect(story.join('b')).toEqual(['prepare a 0-6', 'prepare b 6-12']);
    expect(story.controller.describe()).toBe('loading: 0 of 2 stages are ready');
  });

  it('waits for more as long as workers keep joining', () => {
    const story = new Story({ gatherMs: 500 });
    expect(story.join('a')).toEqual([]);
    expect(story.after(499)).toEqual([]);
    expect(story.join('b')).toEqual([]);
    expect(story.after(499)).toEqual([]);
    expect(story.after(1)).toEqual(['prepare a 0-6', 'prepare b 6-12']);
  });

  it('is loaded, linked and tried before it is live', () => {
    const story = new Story({ workersExpected: 2 });
    story.join('a', 'b');
    expect(story.controller.phase).toBe('preparing');
    expect(story.of('prepared', 'b', '6-12')).toEqual([]);
    expect(story.of('prepared', 'b', '6-12')).toEqual([]);
    expect(story.controller.describe()).toBe('loading: 1 of 2 stages are ready');
    expect(story.controller.stateOf('a', story.nowMs)).toBe('loading');
    expect(story.controller.current).toBeNull();
    expect(story.of('prepared', 'a', '0-6')).toEqual(['assign 1 a,b']);
    expect(story.controller.describe()).toBe('linking the stages');
    expect(story.ready('b', 1)).toEqual([]);
    expect(story.ready('b', 1)).toEqual([]);
    expect(story.ready('a', 1)).toEqual(['canary 1']);
    expect(story.controller.describe()).toMatch('first token');
    expect(story.end('canaryPassed', 1)).toEqual(['live 1']);
    expect(story.controller.describe()).toBe('ready');
    expect(story.controller.current?.epoch).toBe(1);
    expect(story.controller.stateOf('a', story.nowMs)).toBe('serving');
  });

  it('ignores what belongs to another epoch, worker, shard or phase', () => {
    const story = new Story({ workersExpected: 2 });
    expect([...story.ready('a', 0), ...story.end('stalled', 0), ...story.leave('nobody')]).toEqual([]);
    story.join('a', 'b');
    expect([
      ...story.of('prepared', 'nobody', '0-6'),
      ...story.unprepared('a', '6-12'),
      ...story.unprepared('nobody', '0-6'),
      ...story.ready('a', 1),
      ...story.fail('a', 0),
      ...story.fail('nobody', 1),
      ...story.end('canaryPassed', 1),
      ...story.end('stalled', 7),
      ...story.drain('nobody'),
    ]).toEqual([]);
    expect(story.controller.describe()).toBe('loading: 0 of 2 stages are ready');
  });

  it('has a worker let go of what nobody wants from it', () => {
    const story = new Story();
    story.join('a');
    // Asked for over a connection that was lost.
    expect(story.of('prepared', 'a', '6-12')).toEqual(['release a 6-12']);
  });

  it('asks a worker that comes back for what it still holds, and has it let go of the rest', () => {
    const story = new Story({ workersExpected: 2 });
    story.join('a');
    // It answers at once with what it measured of the shard, which its last connection took along.
    expect(story.joinHolding('b', '6-12', '0-9')).toEqual([
      'release b 0-9',
      'prepare a 0-6',
      'prepare b 6-12',
    ]);
    expect(story.settle()).toEqual(['assign 1 a,b', 'canary 1', 'live 1']);
  });
});

describe('a worker that dies', () => {
  it.each([
    ['preparing', 0],
    ['starting', 1],
    ['canary', 2],
    ['live', 3],
  ] as const)('while %s is replaced at once by those who are left', (phase, steps) => {
    const story = new Story({ workersExpected: 3 });
    story.join('a', 'b', 'c');
    if (steps > 0)
      for (const [id, shard] of [
        ['a', '0-4'],
        ['b', '4-8'],
        ['c', '8-12'],
      ] as const)
        story.of('prepared', id, shard);
    if (steps > 1) for (const id of ['a', 'b', 'c']) story.ready(id, 1);
    if (steps > 2) story.end('canaryPassed', 1);
    expect(story.controller.phase).toBe(phase);
    expect(story.leave('b')).toEqual([
      ...(steps > 0 ? ['retire 1'] : []),
      'release a 0-4',
      'release c 8-12',
      'prepare a 0-6',
      'prepare c 6-12',
    ]);
    expect(story.of('prepared', 'a', '0-6')).toEqual([]);
    expect(story.of('prepared', 'c', '6-12')).toEqual([`assign ${steps > 0 ? 2 : 1} a,c`]);
  });

  it('and takes the last one with it leaves the cluster waiting for another one', () => {
    const story = Story.live(['a', 'b']);
    story.leave('a');
    expect(story.leave('b')).toEqual([]);
    expect(story.controller.describe()).toBe('0 of 2 expected workers have joined');
    expect(story.controller.current).toBeNull();
    // A first plan waits for all that are expected, a later one does not.
    expect(story.join('c')).toEqual(['prepare c 0-12']);
  });

  it('without a part in the plan changes nothing', () => {
    const story = Story.live(['a', 'b'], { workersExpected: 2 });
    story.stagesMax = 2;
    expect(story.join('c')).toEqual([]);
    expect(story.controller.stateOf('c', story.nowMs)).toBe('idle');
    expect([...story.leave('c'), ...story.after(100), ...story.after(deadlines.loadStallMs * 2)]).toEqual([]);
    expect(story.controller.describe()).toBe('ready');
  });

  it('again and again is left out ever longer', () => {
    const story = Story.live(['a', 'b']);
    story.isIdle = true;
    for (const [losses, pauseMs] of [0, 10_000, 60_000, 300_000, 300_000].entries()) {
      const [lost, back] = [losses === 0 ? 'a' : `a${losses}`, `a${losses + 1}`];
      expect(story.leave(lost)).toContain('prepare b 0-12');
      story.settle();
      let told = story.join(back);
      if (pauseMs > 0) {
        expect(story.controller.stateOf(back, story.nowMs)).toBe('leftOut');
        expect([...told, ...story.after(pauseMs - 1)]).toEqual([]);
        told = story.after(1);
      }
      expect(told).toEqual(['prepare b 0-6', `prepare ${back} 6-12`]);
      story.settle();
      story.after(0);
      expect(story.settle()).toContain(`live ${2 * losses + 3}`);
    }
  });

  it('again and again is taken all the same where nobody else can hold the model', () => {
    const story = Story.live(['a', 'b'], {}, 6);
    for (let losses = 1; losses < 6; losses++) {
      const [lost, back] = [losses === 1 ? 'a' : `a${losses}`, `a${losses + 1}`];
      story.leave(lost);
      expect(story.controller.describe()).toMatch('The model needs');
      expect(story.join(back).join()).toMatch(`prepare ${back}`);
      expect(story.settle().join()).toMatch('live');
    }
    // That the others would not do is no trouble of a cluster that serves.
    story.stagesMax = 2;
    story.memoryBytes = 1;
    story.join('c');
    expect(story.controller.trouble).toBeNull();
  });

  it('is no loss when it said goodbye', () => {
    const story = Story.live(['a', 'b']);
    story.isIdle = true;
    for (const [lost, back] of [
      ['a', 'a2'],
      ['a2', 'a3'],
      ['a3', 'a4'],
    ] as const) {
      story.leave(lost, true);
      story.settle();
      expect(story.join(back)).toContain(`prepare ${back} 6-12`);
      story.settle();
      story.after(0);
      story.settle();
      expect(story.controller.stateOf(back, story.nowMs)).toBe('serving');
    }
  });
});

describe('a stage that fails', () => {
  it('is left out for a while', () => {
    const story = Story.live(['a', 'b']);
    expect(story.fail('b', 1)).toEqual(['retire 1', 'release a 0-6', 'prepare a 0-12']);
    expect(story.controller.trouble).toBe(broken);
    expect(story.controller.stateOf('b', story.nowMs)).toBe('leftOut');
    story.settle();
    expect(story.controller.trouble).toBeNull();
    expect(story.after(29_999)).toEqual([]);
    // What it still holds needs not be loaded again.
    expect(story.after(1)).toEqual(['prepare a 0-6']);
  });

  it('waits when there is nobody else, says why, and is tried again', () => {
    const story = Story.live(['a']);
    expect(story.fail('a', 1)).toEqual(['retire 1']);
    expect(story.controller.describe()).toBe('1 of 1 expected workers have joined; Memory is short.');
    expect(story.after(29_999)).toEqual([]);
    expect(story.after(1)).toEqual(['assign 2 a']);
    story.settle();
    // The old trouble is over.
    story.leave('a');
    expect(story.controller.describe()).toBe('0 of 1 expected workers have joined');
  });

  it('for want of a link goes on with the same workers, by another way', () => {
    const story = Story.live(['a', 'b']);
    story.relayed = 'b';
    expect(story.fail('a', 1, true)).toEqual(['retire 1', 'assign 2 a,b']);
    expect(story.controller.current?.plan.stages[1]?.isRelayed).toBe(true);
    expect(story.settle()).toEqual(['canary 2', 'live 2']);
    expect(story.controller.stateOf('a', story.nowMs)).toBe('serving');
  });
});

describe('a shard that cannot be loaded', () => {
  it('leaves its worker out, and the others load instead', () => {
    const story = new Story({ workersExpected: 2 });
    story.join('a', 'b');
    expect(story.unprepared('a', '0-6')).toEqual(['release b 6-12', 'prepare b 0-12']);
    expect(story.settle()).toEqual(['assign 1 b', 'canary 1', 'live 1']);
    expect(story.after(29_999)).toEqual([]);
    expect(story.after(1)).toEqual(['prepare a 0-6', 'prepare b 6-12']);
  });

  it('is explained and tried again when there is nobody else', () => {
    const story = new Story();
    story.join('a');
    expect(story.unprepared('a', '0-12')).toEqual([]);
    expect(story.controller.describe()).toMatch('Memory is short.');
    expect(story.after(29_999)).toEqual([]);
    expect(story.after(1)).toEqual(['prepare a 0-12']);
  });
});

describe('a step that stalls', () => {
  it('has the links measured and the plan begun anew', () => {
    const story = Story.live(['a', 'b']);
    expect(story.end('stalled', 1)).toEqual(['measureLinks a,b', 'retire 1', 'assign 2 a,b']);
    expect(story.end('stalled', 1)).toEqual([]);
  });

  it('for the second time leaves out one stage after the other', () => {
    const story = Story.live(['a', 'b']);
    story.end('stalled', 1);
    story.settle();
    expect(story.end('stalled', 2)).toEqual([
      'measureLinks a,b',
      'retire 2',
      'release b 6-12',
      'prepare b 0-12',
    ]);
    story.settle();
    story.isIdle = true;
    story.after(30_000);
    story.settle();
    story.after(0);
    story.settle();
    expect(story.controller.current?.plan.stages.map(({ workerId }) => workerId)).toEqual(['a', 'b']);
    expect(story.end('stalled', 4)).toContain('prepare a 0-12');
  });

  it('is forgiven once another one came through', () => {
    const story = Story.live(['a', 'b']);
    for (let epoch = 1; epoch < 5; epoch++) {
      expect(story.end('stalled', epoch)).toContain(`assign ${epoch + 1} a,b`);
      story.settle();
      story.controller.moved();
    }
    expect(story.controller.describe()).toBe('ready');
  });

  it('leaves a lone worker in, since there is no other', () => {
    const story = Story.live(['a']);
    for (let epoch = 1; epoch < 5; epoch++) {
      expect(story.end('stalled', epoch)).toEqual([
        'measureLinks a',
        `retire ${epoch}`,
        `assign ${epoch + 1} a`,
      ]);
      story.settle();
    }
    expect(story.controller.describe()).toBe('ready');
  });
});

describe('time', () => {
  it('drops those who load without any progress', () => {
    const story = new Story({ workersExpected: 3 });
    story.join('a', 'b', 'c');
    story.of('prepared', 'b', '4-8');
    expect(story.after(deadlines.loadStallMs)).toEqual([]);
    story.of('progress', 'a', '0-4');
    expect(story.after(deadlines.loadStallMs)).toEqual([]);
    expect(story.after(1)).toEqual(['drop a', 'drop c']);
    expect(story.leave('a')).toContain('prepare c 6-12');
    expect(story.leave('c')).toContain('prepare b 0-12');
  });

  it('begins anew when the canary does not come back', () => {
    const story = new Story();
    story.join('a');
    story.of('prepared', 'a', '0-12');
    expect(story.ready('a', 1)).toEqual(['canary 1']);
    expect(story.after(deadlines.canaryMs)).toEqual([]);
    expect(story.after(1)).toEqual(['measureLinks a', 'retire 1', 'assign 2 a']);
    expect(story.end('canaryPassed', 1)).toEqual([]);
  });

  it('leaves out one stage after the other when they do not become ready', () => {
    const story = new Story({ workersExpected: 2 });
    story.join('a', 'b');
    story.of('prepared', 'a', '0-6');
    story.of('prepared', 'b', '6-12');
    expect(story.after(2 * deadlines.handshakeMs)).toEqual([]);
    expect(story.after(1)).toEqual(['measureLinks a,b', 'retire 1', 'assign 2 a,b']);
    expect(story.after(2 * deadlines.handshakeMs + 1)).toContain('prepare b 0-12');
  });
});

describe('a model that does not fit', () => {
  it('is explained, and tried again only when the workers change', () => {
    const story = new Story();
    story.memoryBytes = 4;
    expect(story.join('a')).toEqual([]);
    for (let tick = 0; tick < 50; tick++) expect(story.after(100)).toEqual([]);
    expect(story.controller.describe()).toBe(
      '1 of 1 expected workers have joined; The model needs 12 bytes.',
    );
    expect(story.join('b')).toEqual([]);
    expect(story.after(100)).toEqual([]);
    expect(story.join('c')).toEqual(['prepare a 0-4', 'prepare b 4-8', 'prepare c 8-12']);
    expect(story.planned).toEqual(['a', 'a,b', 'a,b,c']);
    story.settle();
    // Without c it does not fit again.
    expect(story.fail('c', 1)).toEqual(['retire 1']);
    expect(story.after(29_999)).toEqual([]);
    expect(story.after(1)).toEqual(['assign 2 a,b,c']);
    expect(story.planned.slice(3)).toEqual(['a,b', 'a,b,c']);
  });

  it('is tried again when what is known of links changes', () => {
    const story = new Story();
    story.memoryBytes = 4;
    story.join('a');
    story.handle({ kind: 'linksChanged' });
    story.after(100);
    expect(story.planned).toEqual(['a', 'a']);
  });

  it('passes on what is no refusal', () => {
    const defect = new RangeError('a defect');
    const story = new Story({
      plan: () => {
        throw defect;
      },
    });
    expect(() => story.join('a')).toThrow(defect);
  });
});
