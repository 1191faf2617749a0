import { ButterflyError } from '@butterfly/common';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { assertPlan } from './check.js';
import { stageBytes } from './stage-memory.js';
import { planPipeline } from './plan.js';
import {
  bestPossible,
  clusters,
  everyPlacement,
  gib,
  lan,
  plain,
  plainModel,
  worker,
} from './testing/problems.js';
import type { Link, Plan, PlannerInput } from './types.js';

function planOrError(input: PlannerInput): Plan | ButterflyError {
  try {
    return planPipeline(input);
  } catch (error) {
    if (error instanceof ButterflyError) return error;
    throw error;
  }
}

const usedBy = (plan: Plan): string[] => plan.stages.map(({ workerId }) => workerId);
const reasonOf = (plan: Plan, workerId: string): string =>
  plan.reasons.find((each) => each.workerId === workerId)?.reason ?? '';

/** Like links, but for those from or to one worker. */
const linksWith =
  (workerId: string, link: Link): PlannerInput['link'] =>
  (from, to) =>
    from === workerId || to === workerId ? link : lan;

describe('planPipeline', () => {
  it('gives every layer once, keeps to the memory, and is the same and frozen each time', () => {
    fc.assert(
      fc.property(clusters(1, 7, 1, 20), fc.integer({ min: 1, max: 4 }), (cluster, stagesMin) => {
        const input = { ...cluster, stagesMin };
        const plan = planOrError(input);
        if (plan instanceof ButterflyError) {
          expect(plan.code).toBe('MODEL_TOO_LARGE');
          return;
        }
        assertPlan(plan, input.model.layerBytes.length, input.model.joinedLayers);
        for (const { workerId, layerStart, layerEnd, bytes, host } of plan.stages) {
          const worker = input.workers.find((each) => each.workerId === workerId);
          const { hostOverheadBytes = 0 } = input.model;
          const all = stageBytes(input.model, layerStart, layerEnd) + (worker?.host ? hostOverheadBytes : 0);
          expect(bytes + (host?.bytes ?? 0)).toBe(all);
          expect(bytes).toBeLessThanOrEqual(worker?.memoryBytes ?? -1);
          expect(host?.bytes ?? 0).toBeLessThanOrEqual(worker?.host?.memoryBytes ?? 0);
        }
        expect(plan.reasons.map(({ workerId }) => workerId)).toEqual(
          input.workers.map(({ workerId }) => workerId),
        );
        expect(planPipeline(input)).toEqual(plan);
        for (const value of [
          plan,
          plan.stages,
          plan.predicted,
          plan.reasons,
          ...plan.stages,
          ...plan.reasons,
        ])
          expect(Object.isFrozen(value)).toBe(true);
      }),
      { numRuns: 150 },
    );
  });

  it('is as good as the best of all orders, subsets and splits', () => {
    let planned = 0;
    fc.assert(
      fc.property(clusters(1, 4, 1, 6), (input) => {
        const all = everyPlacement(input);
        const plan = planOrError(input);
        if (plan instanceof ButterflyError) {
          expect([plan.code, all.length]).toEqual(['MODEL_TOO_LARGE', 0]);
          return;
        }
        planned += 1;
        const best = bestPossible(input, all);
        if (input.objective === 'latency') expect(plan.predicted.latencyMicros).toBeCloseTo(best, 4);
        // A thousandth is what the bisection between pace and lap leaves open.
        else expect(plan.predicted.tokensPerSecond).toBeGreaterThan(best * 0.9989);
      }),
      { numRuns: 400 },
    );
    expect(planned).toBeGreaterThan(50);
  });

  it('has as many stages as asked for, as far as there is a plan', () => {
    fc.assert(
      fc.property(clusters(1, 4, 1, 5), fc.integer({ min: 1, max: 6 }), (cluster, stagesMin) => {
        const plan = planOrError({ ...cluster, stagesMin });
        if (plan instanceof ButterflyError) return;
        const most = Math.max(...everyPlacement(cluster).map((stages) => stages.length));
        expect(plan.stages.length).toBeGreaterThanOrEqual(Math.min(stagesMin, most));
      }),
      { numRuns: 100 },
    );
  });

  it('takes all workers for throughput and one for latency, where one is enough', () => {
    expect(planPipeline(plain()).stages.map(({ layerEnd }) => layerEnd)).toHaveLength(3);
    expect(planPipeline(plain({ objective: 'latency' })).stages).toHaveLength(1);
    expect(planPipeline(plain({ objective: 'latency', stagesMin: 3 })).stages).toHaveLength(3);
    expect(planPipeline(plain({ objective: 'throughput', concurrency: 1 })).stages).toHaveLength(1);
  });

  it('gives the fast worker more', () => {
    const plan = planPipeline(plain({ workers: [worker('a', 1000), worker('b', 3000)] }));
    const layersOf = (id: string): number =>
      plan.stages.reduce(
        (sum, each) => sum + (each.workerId === id ? each.layerEnd - each.layerStart : 0),
        0,
      );
    expect(layersOf('a')).toBeGreaterThan(2 * layersOf('b'));
    expect(layersOf('b')).toBeGreaterThan(0);
  });

  it('gives as much work to each, not as many layers, where layers are of two kinds', () => {
    const model = { ...plainModel, layerKinds: plainModel.layerBytes.map((_, layer) => (layer < 8 ? 1 : 0)) };
    const workers = ['a', 'b'].map((id) => {
      const { curvesByKind, ...others } = worker(id, 1000);
      return { ...others, curvesByKind: [...curvesByKind, ...worker(id, 3000).curvesByKind] };
    });
    // 8 layers of 3 ms and 8 of 1 ms, with the output of 2 ms: 17 ms each.
    expect(planPipeline(plain({ model, workers })).stages.map(({ layerEnd }) => layerEnd)).toEqual([6, 16]);
  });

  it.each(['latency', 'throughput'] as const)('leaves out a laptop that would slow all (%s)', (objective) => {
    const workers = [
      worker('desk', 1000, 12 * gib),
      worker('tower', 1000, 12 * gib),
      worker('laptop', 60_000),
    ];
    const plan = planPipeline(plain({ workers, objective }));
    expect(usedBy(plan).sort()).toEqual(['desk', 'tower']);
    expect(reasonOf(plan, 'laptop')).toMatch(/^Would slow (each token|all) from [\d.]+ \S+ to [\d.]+ /u);
  });

  it('says why each worker has its place or none', () => {
    const workers = [worker('a', 1000, 12 * gib), worker('b', 1000, 12 * gib), worker('small', 1000, gib)];
    const plan = planPipeline(plain({ workers }));
    expect(reasonOf(plan, 'small')).toBe(
      'It offers 1.00 GiB, but even one layer with its KV cache needs 1.31 GiB.',
    );
    expect(reasonOf(plan, plan.stages[0]?.workerId ?? '')).toMatch(
      /^Takes layers 0 to \d+: busy for [\d.]+ ms of the [\d.]+ ms that each token takes at full load, with .*GiB of its 12.00 GiB\./u,
    );
  });

  it('goes around a slow link', () => {
    const workers = ['a', 'b', 'c'].map((id) => worker(id, 1000, 12 * gib));
    const slow: Link = { latencyMicros: 50_000, bytesPerSecond: 1e5, isRelayed: false };
    for (const objective of ['latency', 'throughput'] as const)
      expect(usedBy(planPipeline(plain({ workers, objective, link: linksWith('b', slow) }))).sort()).toEqual([
        'a',
        'c',
      ]);
  });

  it('puts the workers of a site next to each other', () => {
    const workers = ['a', 'b', 'c', 'd'].map((id) => worker(id, 1000, 7 * gib));
    const far: Link = { latencyMicros: 20_000, bytesPerSecond: 1e7, isRelayed: false };
    const siteOf = (id: string | null): number => (id === 'a' || id === 'c' ? 1 : 0);
    const link: PlannerInput['link'] = (from, to) => (siteOf(from) === siteOf(to) ? lan : far);
    const used = usedBy(planPipeline(plain({ workers, objective: 'latency', link })));
    const lap = [null, ...used, null];
    const farHops = lap.slice(1).filter((to, index) => link(lap[index] ?? null, to) === far);
    expect([used.length, farHops.length]).toEqual([4, 2]);
  });

  it('counts a relayed link as dearer and says which stages have one', () => {
    const workers = ['a', 'b'].map((id) => worker(id, 1000, 12 * gib));
    const direct = planPipeline(plain({ workers }));
    const relayed = planPipeline(plain({ workers, link: () => ({ ...lan, isRelayed: true }) }));
    expect(relayed.predicted.latencyMicros).toBeGreaterThan(direct.predicted.latencyMicros);
    expect(relayed.stages.map(({ isRelayed }) => isRelayed)).toEqual([true, true]);
    const oneWay: PlannerInput['link'] = (from, to) => ({ ...lan, isRelayed: from === 'a' && to === 'b' });
    const around = planPipeline(plain({ workers, link: oneWay }));
    expect(usedBy(around)).toEqual(['b', 'a']);
    // Only the way back, of the tokens, goes through the orchestrator then.
    expect(around.stages.map(({ isRelayed }) => isRelayed)).toEqual([true, false]);
    const large = [worker('a', 1000, 64 * gib)];
    const [alone] = planPipeline(plain({ workers: large, link: () => ({ ...lan, isRelayed: true }) })).stages;
    expect(alone?.isRelayed).toBe(false);
  });

  it('plans for a thousand workers', () => {
    const workers = Array.from({ length: 1000 }, (_, index) =>
      worker(`w${index}`, 300 + ((index * 7919) % 1000), (2 + ((index * 104_729) % 7)) * gib),
    );
    const model = {
      ...plainModel,
      layerBytes: new Array<number>(128).fill(gib),
      kvBytesPerSlot: new Array<number>(128).fill(1024),
      layerKinds: new Array<number>(128).fill(0),
    };
    for (const objective of ['latency', 'throughput'] as const) {
      const plan = planPipeline(plain({ model, workers, objective, concurrency: 64 }));
      assertPlan(plan, 128);
      expect(plan.reasons).toHaveLength(1000);
    }
  });

  it('says what is missing when no plan fits, and what to do', () => {
    expect(planOrError(plain({ workers: [worker('a', 1000, 16 * gib)] }))).toMatchObject({
      code: 'MODEL_TOO_LARGE',
      message:
        'The model needs 20.25 GiB (weights 19.00 GiB, KV cache 1.00 GiB, buffers 256.0 MiB) and 1 worker offers ' +
        '16.00 GiB. Lower --ctx, add workers or memory, or use a smaller quantisation.',
    });
    const coarse = plain({
      model: { ...plainModel, layerBytes: [30 * gib] },
      workers: ['a', 'b', 'c'].map((id) => worker(id, 1000, 16 * gib)),
    });
    expect(planOrError(coarse)).toMatchObject({
      code: 'MODEL_TOO_LARGE',
      message: expect.stringContaining('in a row') as string,
    });
    expect(planOrError(plain({ workers: [] }))).toMatchObject({ code: 'MODEL_TOO_LARGE' });
  });

  it('refuses an input that makes no sense', () => {
    const [a] = plain().workers;
    if (a === undefined) throw new Error('a worker');
    for (const wrong of [
      plain({ model: { ...plainModel, layerBytes: [] } }),
      plain({ model: { ...plainModel, layerBytes: [NaN] } }),
      plain({ model: { ...plainModel, arenaSlots: -1 } }),
      plain({ concurrency: 0 }),
      plain({ stagesMin: 0 }),
      plain({ workers: [a, a] }),
      plain({ workers: [{ ...a, layerCurve: [] }] }),
      plain({ workers: [{ ...a, curvesByKind: [] }] }),
      plain({ model: { ...plainModel, layerKinds: [] } }),
      plain({ model: { ...plainModel, layerKinds: plainModel.layerBytes.map((_, layer) => layer) } }),
      plain({ workers: [{ ...a, layerCurve: [{ rows: 1, micros: -1 }] }] }),
    ])
      expect(planOrError(wrong)).toMatchObject({ code: 'CONFIG_INVALID' });
  });
});

describe('layers that stay together', () => {
  // The last half of them, as in a model whose later layers attend to what an earlier one caches.
  const joinedLayers = new Set([9, 10, 11, 12, 13, 14, 15]);
  const input = (change: Partial<PlannerInput> = {}): PlannerInput =>
    plain({ model: { ...plainModel, joinedLayers }, ...change });

  it.each(['latency', 'throughput'] as const)('are given to one worker (%s)', (objective) => {
    const { stages } = planPipeline(input({ objective, stagesMin: 3 }));
    expect(stages).toHaveLength(3);
    expect(stages.at(-1)).toMatchObject({ layerEnd: 16 });
    expect(stages.at(-1)?.layerStart).toBeLessThanOrEqual(8);
  });

  it('bound the number of stages', () => {
    const all = new Set(Array.from({ length: 15 }, (_, i) => i + 1));
    const model = { ...plainModel, joinedLayers: all };
    expect(planPipeline(plain({ model, stagesMin: 3 })).stages).toHaveLength(1);
  });

  it('are told of where no worker holds them', () => {
    const workers = ['a', 'b', 'c', 'd'].map((id) => worker(id, 1000, 8 * gib));
    expect(() => planPipeline(plain({ workers }))).not.toThrow();
    expect(planOrError(input({ workers }))).toMatchObject({
      code: 'MODEL_TOO_LARGE',
      message: expect.stringContaining('some of which cannot be parted') as unknown,
    });
  });

  it('stay together in large clusters, and beside spares', () => {
    const workers = Array.from({ length: 40 }, (_, i) => worker(`w${i}`, 1000 + i, 12 * gib));
    const { stages } = planPipeline(input({ workers, spares: 2 }));
    for (const { layerStart } of stages) expect(joinedLayers.has(layerStart)).toBe(false);
  });
});

describe('assertPlan', () => {
  it('finds a stage that begins in the midst of layers that stay together', () => {
    const plan = planPipeline(plain());
    const begins = plan.stages[1]?.layerStart ?? 0;
    expect(() => assertPlan(plan, 16, new Set([begins]))).toThrow(/stays with the one before/u);
    expect(() => assertPlan(plan, 16, new Set([begins + 1]))).not.toThrow();
  });

  it('finds gaps, overlaps, empty stages, missing layers, repeated workers and false reasons', () => {
    const plan = planPipeline(plain());
    const [a, b, c] = plan.stages;
    if (!a || !b || !c) throw new Error('three stages');
    expect(() => assertPlan(plan, 16)).not.toThrow();
    for (const stages of [
      [a, b],
      [b, c],
      [a, { ...b, layerStart: b.layerStart - 1 }, c],
      [a, { ...b, layerEnd: b.layerStart }, c],
      [a, b, { ...c, workerId: a.workerId }],
      [],
    ])
      expect(() => assertPlan({ ...plan, stages }, 16)).toThrow(ButterflyError);
    for (const reasons of [
      [],
      plan.reasons.map((each) => ({ ...each, isUsed: false })),
      [...plan.reasons, ...plan.reasons],
    ])
      expect(() => assertPlan({ ...plan, reasons }, 16)).toThrow(ButterflyError);
    expect(() => assertPlan({ ...plan, predicted: { latencyMicros: NaN, tokensPerSecond: 1 } }, 16)).toThrow(
      ButterflyError,
    );
  });
});
