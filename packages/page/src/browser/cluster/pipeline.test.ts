import { describe, expect, it } from 'vitest';
import { eventOf, glanceOf } from '../../testing/glance.js';
import { idleWorkersOf, lostWorkersOf, pipelinesOf } from './pipeline.js';

const glance = glanceOf(9, 3);
const [large, small] = glance.models;
if (!large || !small) throw new Error('There are two models.');

describe('a pipeline', () => {
  const [pipeline] = pipelinesOf(glance, large, new Map([['w1', 0.5]]));

  it('has the stages in their order, with what each takes and how fast it is', () => {
    expect(
      pipeline?.stages.map(({ name, layers, busyShare, isSlowest }) => [name, layers, busyShare, isSlowest]),
    ).toEqual([
      ['machine-0', [0, 26], 0, false],
      ['machine-1', [27, 52], 0.5, true],
      ['machine-2', [53, 79], 0, false],
    ]);
    expect(pipeline?.stages[0]).toMatchObject({
      ...{ device: 'A card with 24 GiB', usedBytes: 9 * 2 ** 30, offeredBytes: 16 * 2 ** 30 },
      ...{ measuredMs: 1, plannedMs: 0.9, isGone: false, isDraining: false },
    });
    expect(pipeline?.stages[1]?.device).toBe('8 threads, haswell');
  });

  it('has a link before each stage and behind the last one', () => {
    expect(pipeline?.hops.map((hop) => hop?.latencyMs)).toEqual([0.18, 0.0955, 0.0955, 0.18]);
  });

  it('shows a stage whose worker is gone as gone, and its links as not known', () => {
    const without = { ...glance, workers: glance.workers.filter(({ workerId }) => workerId !== 'w1') };
    const [broken] = pipelinesOf(without, large, new Map());
    expect(broken?.stages.map(({ isGone }) => isGone)).toEqual([false, true, false]);
    expect(broken?.hops.map((hop) => hop !== null)).toEqual([true, true, false, true]);
  });

  it('is none of a model that is not loaded', () => {
    expect(pipelinesOf(glance, small, new Map())).toEqual([]);
  });
});

describe('workers beside the plans', () => {
  it('are told with their states', () => {
    expect(idleWorkersOf(glance).map(({ name, state, loadedShare }) => [name, state, loadedShare])).toEqual([
      ['machine-3', 'spare', null],
      ['machine-4', 'measuring', null],
      ['machine-5', 'loading', 1 / 3],
      ['machine-6', 'draining', null],
      ['machine-7', 'leftOut', null],
      ['machine-8', 'idle', null],
    ]);
  });

  it('are idle where no model knows them', () => {
    const all = idleWorkersOf({ ...glance, models: [] });
    expect([...new Set(all.map(({ state }) => state))]).toEqual(['idle']);
  });

  it('are lost until they come back, for an hour', () => {
    const left = (index: number, atMs: number, workerId: string, name: string) =>
      eventOf(index, atMs, {
        kind: 'workerLeft',
        words: 'A worker left: silence',
        fields: { workerId, name },
      });
    const events = [
      left(1, 0, 'x1', 'long-ago'),
      left(2, 4_000_000, 'x2', 'old'),
      left(3, 4_100_000, 'x3', 'old'),
      left(4, 4_200_000, 'x4', 'machine-1'),
      eventOf(5, 4_300_000),
    ];
    expect(lostWorkersOf(glance, events, 4_400_000)).toEqual([
      { workerId: 'x3', name: 'old', atMs: 4_100_000, words: 'A worker left: silence' },
    ]);
  });
});
