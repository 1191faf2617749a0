import { plainWishes } from '@butterfly/planning';
import {} from '@butterfly/common';
import { memberOf } from '@butterfly/control/testing';
import { describe, expect, it } from 'vitest';
import { tinyModelSettings } from '../testing/tiny-model.js';
import { clusterPlanner } from './cluster-planner.js';
import { pacedPlanner, Slowness } from './slowness.js';

/** What changed when the stages had these paces for so many seconds of steps. */
function run(
  slowness: Slowness,
  seconds: number,
  paces: Readonly<Record<string, number>>,
  fromMs = 0,
): string[] {
  const changed: string[] = [];
  for (let second = 0; second < seconds; second += 1)
    changed.push(...slowness.observe(new Map(Object.entries(paces)), 1000, fromMs + second * 1000));
  return changed;
}

describe('the slowness of a worker', () => {
  it('is believed after half a minute, once', () => {
    const slowness = new Slowness();
    expect(run(slowness, 29, { a: 2, b: 1 })).toEqual([]);
    expect(slowness.factorOf('a')).toBe(1);
    expect(run(slowness, 300, { a: 2, b: 1 })).toEqual(['a']);
    expect([slowness.factorOf('a'), slowness.factorOf('b')]).toEqual([2, 1]);
  });

  it('does not follow from a moment, or from time without steps', () => {
    const slowness = new Slowness();
    for (let round = 0; round < 20; round += 1)
      expect([...run(slowness, 20, { a: 3, b: 1 }), ...run(slowness, 1, { a: 1.2, b: 1 })]).toEqual([]);
    for (let tick = 0; tick < 1000; tick += 1)
      expect(
        slowness.observe(
          new Map([
            ['a', 3],
            ['b', 1],
          ]),
          0,
          tick * 1000,
        ),
      ).toEqual([]);
  });

  it('does not follow from what all stages have in common, or from others being fast', () => {
    const slowness = new Slowness();
    expect(run(slowness, 300, { a: 2.4, b: 2 })).toEqual([]);
    expect(run(slowness, 300, { a: 1.1, b: 0.5 })).toEqual([]);
    expect(run(slowness, 300, { a: 4 })).toEqual([]);
  });

  it('is changed only by what is far from it, and ends when it is over', () => {
    const slowness = new Slowness();
    run(slowness, 40, { a: 2, b: 1 });
    for (const pace of [1.5, 2.7, 2]) expect(run(slowness, 100, { a: pace, b: 1 })).toEqual([]);
    expect(run(slowness, 40, { a: 4, b: 1 })).toEqual(['a']);
    expect(run(slowness, 40, { a: 1, b: 1 })).toEqual(['a']);
    expect(slowness.factorOf('a')).toBe(1);
  });

  it('of a worker without a stage is forgotten in time, and of one that left at once', () => {
    const slowness = new Slowness();
    run(slowness, 40, { a: 2, b: 1, c: 2 });
    expect(run(slowness, 1, { b: 1, c: 2 }, 20 * 60_000)).toEqual([]);
    expect(run(slowness, 1, { b: 1, c: 2 }, 31 * 60_000)).toEqual(['a']);
    expect([slowness.factorOf('a'), slowness.factorOf('c')]).toEqual([1, 2]);
    slowness.leave('c');
    expect(slowness.factorOf('c')).toBe(1);
  });
});

it.each(['alike', 'of two kinds'])('a slow worker is given fewer layers, which are %s', async (kinds) => {
  const { spec: plainSpec } = await tinyModelSettings(4);
  const typed = plainSpec.tensors.map((tensor) =>
    tensor.name === 'blk.3.attn_q.weight' ? { ...tensor, type: 1 } : tensor,
  );
  const spec = kinds === 'alike' ? plainSpec : { ...plainSpec, tensors: typed };
  const sizes = { arenaSlots: 1024, rowsMax: 64, concurrency: 8, wishes: { ...plainWishes, stagesMin: 2 } };
  const planner = clusterPlanner({ spec, ...sizes, observe: () => undefined });
  const curve = [{ rows: 1, micros: 10_000 }];
  const kindCurves = kinds === 'alike' ? undefined : [0, 3].map((layer) => ({ layer, curve }));
  const members = ['a', 'b'].map((id) => {
    const member = memberOf(id);
    return {
      ...member,
      memoryBytes: 2 ** 34,
      profile: { ...member.profile, layerCurve: curve, kindCurves, outputCurve: [{ rows: 1, micros: 1 }] },
    };
  });
  const link = () => ({ latencyMicros: 100, bytesPerSecond: 1e8, isRelayed: false });
  const layersOf = (factor: number): Record<string, number> => {
    const paced = pacedPlanner(planner, { factorOf: (id) => (id === 'a' ? factor : 1) });
    const { stages } = paced.plan(members, link);
    return Object.fromEntries(
      stages.map(({ workerId, layerStart, layerEnd }) => [workerId, layerEnd - layerStart]),
    );
  };
  expect(layersOf(1)).toEqual({ a: 2, b: 2 });
  expect(layersOf(3)).toEqual({ a: 1, b: 3 });
});
