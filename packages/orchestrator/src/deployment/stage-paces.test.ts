import { hostMicros, planPipeline } from '@butterfly/planning';
import { plain, worker } from '@butterfly/planning/testing';
import { greedySampling } from '@butterfly/wire';
import { plainSequence } from '@butterfly/wire/testing';
import { describe, expect, it } from 'vitest';
import { StagePaces } from './stage-paces.js';

const plan = planPipeline(plain({ workers: [worker('a', 1000), worker('b', 1000)] }));
const [first, last] = plan.stages.map(({ workerId, layerEnd, layerStart }) => ({
  workerId,
  micros: (layerEnd - layerStart) * 1000 + hostMicros,
}));
if (!first || !last) throw new Error('two stages');
const kinds = [{ layers: [...plain().model.layerBytes.keys()], plainBytes: 1, expertBytes: 0, usedShare: 1 }];
const { layerCurve, outputCurve } = worker('a', 1000);
const profile = {
  layerCurve,
  outputCurve,
  attentionMicros: { f16: 1, bf16: 1, q8_0: 1 },
  hasFiles: true,
  cachedBytes: 0,
  diskBytesPerSecond: 1,
};

/** Steps of one row, each 50 ms after the other, whose stages take so many times as long as predicted. */
function run(paces: StagePaces, count: number, fromMs: number, [a, b]: readonly [number, number]): void {
  for (let index = 0; index < count; index += 1) {
    const stepId = fromMs + index;
    const sequence = plainSequence({ sampling: greedySampling });
    paces.sent({ stepId, copies: [], sequences: [sequence], tokens: new Int32Array(1), verified: [] });
    const lastMicros = (last?.micros ?? 0) + 2000;
    const times = [a * (first?.micros ?? 0), b * lastMicros];
    const stageTimes = times.map((micros) => ({ computeMicros: micros - 10, hostMicros: 10 }));
    paces.came({ stepId, stageTimes }, fromMs + 50 * index);
  }
}

function started(): StagePaces {
  const paces = new StagePaces();
  paces.begin(plan, kinds, () => profile);
  return paces;
}

describe('the pace of a stage', () => {
  it('is what its steps take of what its worker measured of itself', () => {
    const paces = started();
    expect(paces.all().get(first.workerId)).toBeUndefined();
    run(paces, 10, 0, [1.25, 2]);
    expect(paces.all().get(first.workerId)).toBeCloseTo(1.25, 6);
    expect(paces.all().get(last.workerId)).toBeCloseTo(2, 6);
    expect(paces.rowMicros(first.workerId)).toBeCloseTo(1.25 * first.micros, 6);
    expect(paces.all().get('nobody')).toBeUndefined();
  });

  it('moves slowly, and hardly for a single step that was held up', () => {
    const paces = started();
    run(paces, 200, 0, [1, 1]);
    run(paces, 1, 100_000, [1000, 1]);
    expect(paces.all().get(first.workerId)).toBeLessThan(1.4);
    run(paces, 2000, 200_000, [3, 1]);
    expect(paces.all().get(first.workerId)).toBeCloseTo(3, 2);
  });

  it('counts the time with steps, and no pause between them', () => {
    const paces = started();
    run(paces, 11, 0, [1, 1]);
    run(paces, 11, 1e6, [1, 1]);
    expect(paces.takeBusyMs()).toBe(500 + 10 * 50 + 500 + 10 * 50);
    expect(paces.takeBusyMs()).toBe(0);
  });

  it('begins anew with every plan, and steps of the one before count no more', () => {
    const paces = started();
    run(paces, 10, 0, [3, 1]);
    paces.begin(plan, kinds, () => profile);
    expect(paces.all().get(first.workerId)).toBeUndefined();
    paces.came({ stepId: 3, stageTimes: [{ computeMicros: 1, hostMicros: 1 }] }, 1000);
    expect(paces.all().get(first.workerId)).toBeUndefined();
  });
});
