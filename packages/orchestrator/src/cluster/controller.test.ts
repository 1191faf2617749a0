import { ButterflyError, deadlines } from '@butterfly/common';
import { describe, expect, it } from 'vitest';
import { Controller, type ControllerAction, type ControllerConfig, type Member } from './controller.js';
import type { Plan } from './planner.js';

const member = (workerId: string): Member => ({
  workerId,
  name: workerId.toUpperCase(),
  memoryBytes: 100,
  weightBytesPerSecond: 1e9,
  attentionMicros: { f16: 1, bf16: 1, q8_0: 1 },
});

/** One layer for each member, in order. */
const planAll = (members: readonly Member[]): Plan => ({
  stages: members.map(({ workerId }, i) => ({
    workerId,
    layerStart: i,
    layerEnd: i + 1,
    bytes: 1,
    predictedMs: 1,
  })),
  cacheType: 'f16',
  predictedStepMs: members.length,
  leftOut: [],
});

const tooLarge = new ButterflyError('MODEL_TOO_LARGE', 'The model needs 9 GiB.');
const broken = new ButterflyError('COMPUTE_FAILED', 'Memory is short.');

/** A controller with a clock, whose actions read as text: `assign 1 a,b`. */
class Story {
  nowMs = 1000;
  readonly controller: Controller;

  constructor(config: Partial<ControllerConfig> = {}) {
    const defaults = { workersExpected: 1, gatherMs: 0, cooldownMs: 5000, plan: planAll };
    this.controller = new Controller({ ...defaults, ...config });
  }

  join(...ids: string[]): string[] {
    return ids.flatMap((id) =>
      this.tell(this.controller.handle({ kind: 'joined', member: member(id) }, this.nowMs)),
    );
  }

  leave(workerId: string): string[] {
    return this.tell(this.controller.handle({ kind: 'left', workerId }, this.nowMs));
  }

  of(kind: 'ready' | 'progress', workerId: string, epoch: number): string[] {
    return this.tell(this.controller.handle({ kind, workerId, epoch }, this.nowMs));
  }

  fail(workerId: string, epoch: number): string[] {
    return this.tell(this.controller.handle({ kind: 'failed', workerId, epoch, error: broken }, this.nowMs));
  }

  end(kind: 'canaryPassed' | 'stalled', epoch: number): string[] {
    return this.tell(this.controller.handle({ kind, epoch }, this.nowMs));
  }

  after(ms: number): string[] {
    this.nowMs += ms;
    return this.tell(this.controller.handle({ kind: 'tick' }, this.nowMs));
  }

  /** From nothing to a live epoch 1 of these workers. */
  live(...ids: string[]): this {
    expect(this.join(...ids)).toEqual([`assign 1 ${ids.join()}`]);
    for (const id of ids.slice(0, -1)) expect(this.of('ready', id, 1)).toEqual([]);
    expect(this.of('ready', ids.at(-1) ?? '', 1)).toEqual(['canary 1']);
    expect(this.end('canaryPassed', 1)).toEqual(['live 1']);
    return this;
  }

  private tell(actions: readonly ControllerAction[]): string[] {
    return actions.map((action) => {
      if (action.kind === 'drop') return `drop ${action.workerId}`;
      const { epoch, plan } = action.current;
      const ids = plan.stages.map(({ workerId }) => workerId).join();
      return action.kind === 'assign' ? `assign ${epoch} ${ids}` : `${action.kind} ${epoch}`;
    });
  }
}

describe('the first plan', () => {
  it('waits for as many workers as are expected', () => {
    const story = new Story({ workersExpected: 2 });
    expect(story.join('a')).toEqual([]);
    expect(story.after(60_000)).toEqual([]);
    expect(story.controller.describe()).toBe('1 of 2 expected workers have joined');
    expect(story.join('b')).toEqual(['assign 1 a,b']);
    expect(story.controller.describe()).toBe('loading: 0 of 2 stages are ready');
  });

  it('waits for more as long as workers keep joining', () => {
    const story = new Story({ gatherMs: 500 });
    expect(story.join('a')).toEqual([]);
    expect(story.after(499)).toEqual([]);
    expect(story.join('b')).toEqual([]);
    expect(story.after(499)).toEqual([]);
    expect(story.after(1)).toEqual(['assign 1 a,b']);
  });

  it('goes through loading and a canary to live', () => {
    const story = new Story({ workersExpected: 2 });
    story.join('a', 'b');
    expect(story.controller.phase).toBe('loading');
    expect(story.of('ready', 'b', 1)).toEqual([]);
    expect(story.of('ready', 'b', 1)).toEqual([]);
    expect(story.controller.describe()).toBe('loading: 1 of 2 stages are ready');
    expect(story.of('ready', 'a', 1)).toEqual(['canary 1']);
    expect(story.controller.describe()).toMatch('first token');
    expect(story.end('canaryPassed', 1)).toEqual(['live 1']);
    expect(story.controller.describe()).toBe('ready');
    expect(story.controller.current?.epoch).toBe(1);
  });

  it('ignores what belongs to another epoch, worker or phase', () => {
    const story = new Story({ workersExpected: 2 });
    expect([...story.of('ready', 'a', 0), ...story.end('stalled', 0), ...story.leave('nobody')]).toEqual([]);
    story.join('a', 'b');
    expect([
      ...story.of('ready', 'a', 2),
      ...story.of('ready', 'nobody', 1),
      ...story.fail('a', 0),
      ...story.fail('nobody', 1),
      ...story.end('canaryPassed', 1),
      ...story.end('stalled', 7),
    ]).toEqual([]);
    expect(story.controller.phase).toBe('loading');
  });
});

describe('a live plan', () => {
  it('is left alone by those who join, and by those who leave without a part in it', () => {
    const story = new Story().live('a');
    expect(story.join('b')).toEqual([]);
    expect(story.leave('b')).toEqual([]);
    expect(story.after(deadlines.loadStallMs * 2)).toEqual([]);
    expect(story.controller.describe()).toBe('ready');
  });

  it('is replaced by one of those who are left, at once', () => {
    const story = new Story({ workersExpected: 3 });
    story.live('a', 'b', 'c');
    expect(story.leave('b')).toEqual(['retire 1', 'assign 2 a,c']);
    expect(story.leave('a')).toEqual(['retire 2', 'assign 3 c']);
    expect(story.leave('c')).toEqual(['retire 3']);
    expect(story.controller.current).toBeNull();
    // A first plan waits for all that are expected, a later one does not.
    expect(story.join('d')).toEqual(['assign 4 d']);
  });

  it('is begun anew when a step stalls', () => {
    const story = new Story().live('a');
    expect(story.end('stalled', 1)).toEqual(['retire 1', 'assign 2 a']);
    expect(story.end('stalled', 1)).toEqual([]);
  });

  it('leaves out a worker that failed until its cooldown is over', () => {
    const story = new Story({ workersExpected: 2 }).live('a', 'b');
    expect(story.fail('b', 1)).toEqual(['retire 1', 'assign 2 a']);
    story.nowMs += 4999;
    expect(story.end('stalled', 2)).toEqual(['retire 2', 'assign 3 a']);
    story.nowMs += 1;
    expect(story.end('stalled', 3)).toEqual(['retire 3', 'assign 4 a,b']);
  });

  it('waits when all have failed, says why, and tries again after the cooldown', () => {
    const story = new Story().live('a');
    expect(story.fail('a', 1)).toEqual(['retire 1']);
    expect(story.controller.describe()).toBe('1 of 1 expected workers have joined; Memory is short.');
    expect(story.after(4999)).toEqual([]);
    expect(story.after(1)).toEqual(['assign 2 a']);
    story.of('ready', 'a', 2);
    story.end('canaryPassed', 2);
    // The old trouble is over.
    story.leave('a');
    expect(story.controller.describe()).toBe('0 of 1 expected workers have joined');
  });
});

describe('time', () => {
  it('drops those who load without any progress', () => {
    const story = new Story({ workersExpected: 3 });
    story.join('a', 'b', 'c');
    story.of('ready', 'b', 1);
    expect(story.after(deadlines.loadStallMs)).toEqual([]);
    story.of('progress', 'a', 1);
    expect(story.after(deadlines.loadStallMs)).toEqual([]);
    expect(story.after(1)).toEqual(['drop a', 'drop c']);
    expect(story.leave('a')).toEqual(['retire 1', 'assign 2 b,c']);
    expect(story.leave('c')).toEqual(['retire 2', 'assign 3 b']);
  });

  it('begins anew when the canary does not come back', () => {
    const story = new Story();
    story.join('a');
    expect(story.of('ready', 'a', 1)).toEqual(['canary 1']);
    expect(story.after(deadlines.stepMs)).toEqual([]);
    expect(story.after(1)).toEqual(['retire 1', 'assign 2 a']);
    expect(story.end('canaryPassed', 1)).toEqual([]);
  });
});

describe('a model that does not fit', () => {
  it('is explained, and tried again only when the workers change', () => {
    const tried: string[] = [];
    const story = new Story({
      plan: (members) => {
        tried.push(members.map(({ workerId }) => workerId).join());
        if (members.length < 3) throw tooLarge;
        return planAll(members);
      },
    });
    expect(story.join('a')).toEqual([]);
    for (let tick = 0; tick < 50; tick++) expect(story.after(100)).toEqual([]);
    expect(story.controller.describe()).toBe('1 of 1 expected workers have joined; The model needs 9 GiB.');
    expect(story.join('b')).toEqual([]);
    expect(story.after(100)).toEqual([]);
    expect(story.join('c')).toEqual(['assign 1 a,b,c']);
    expect(tried).toEqual(['a', 'a,b', 'a,b,c']);
    // Without c it does not fit again.
    expect(story.fail('c', 1)).toEqual(['retire 1']);
    expect(story.after(4999)).toEqual([]);
    expect(story.after(1)).toEqual(['assign 2 a,b,c']);
    expect(tried.slice(3)).toEqual(['a,b', 'a,b,c']);
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
