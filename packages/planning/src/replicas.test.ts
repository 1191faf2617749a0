import { ButterflyError } from '@butterfly/common';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { planPipeline } from './plan.js';
import { planReplicas, speedsOfReplicas, type ReplicaGroups } from './replicas.js';
import { clusters, gib, lan, plain, plainModel, worker } from './testing/problems.js';
import type { PlannerInput } from './types.js';

function speedOrNull(input: PlannerInput): number | null {
  try {
    return planPipeline(input).predicted.tokensPerSecond;
  } catch (error) {
    if (error instanceof ButterflyError && error.code === 'MODEL_TOO_LARGE') return null;
    throw error;
  }
}

function replicasOrNull(input: PlannerInput, replicasMax: number): ReplicaGroups | null {
  try {
    return planReplicas(input, replicasMax);
  } catch (error) {
    if (error instanceof ButterflyError && error.code === 'MODEL_TOO_LARGE') return null;
    throw error;
  }
}

/** Every way to split a list into at most so many parts. */
function everySplit<T>(items: readonly T[], partsMax: number): T[][][] {
  const [first, ...others] = items;
  if (first === undefined) return [[]];
  return everySplit(others, partsMax).flatMap((split) => [
    ...split.map((part, index) => split.with(index, [first, ...part])),
    ...(split.length < partsMax ? [[[first], ...split]] : []),
  ]);
}

const sorted = (groups: ReplicaGroups['groups']): string[] =>
  groups.map((group) => [...group].sort().join()).sort();

describe('planReplicas', () => {
  it('puts every worker into one group, each of which holds the model, and is never worse than one pipeline', () => {
    fc.assert(
      fc.property(clusters(1, 12, 1, 12), fc.integer({ min: 1, max: 5 }), (input, replicasMax) => {
        const single = speedOrNull(input);
        const found = replicasOrNull(input, replicasMax);
        expect(found === null).toBe(single === null);
        if (found === null || single === null) return;
        const { groups, tokensPerSecond } = found;
        expect(groups.length).toBeLessThanOrEqual(replicasMax);
        expect(groups.flat().sort()).toEqual(input.workers.map(({ workerId }) => workerId).sort());
        expect(tokensPerSecond).toBeGreaterThanOrEqual(single);
        for (const group of groups) {
          const workers = input.workers.filter(({ workerId }) => group.includes(workerId));
          expect(speedOrNull({ ...input, workers })).toBeGreaterThan(0);
        }
        expect(replicasOrNull(input, replicasMax)).toEqual(found);
      }),
      { numRuns: 60 },
    );
  });

  it('is as good as the best of all ways to split them', () => {
    let replicated = 0;
    fc.assert(
      fc.property(
        clusters(1, 5, 1, 5),
        fc.integer({ min: 1, max: 4 }),
        fc.integer({ min: 1, max: 2 }),
        (cluster, replicasMax, stagesMin) => {
          // Otherwise hardly any cluster has the memory for two.
          const workers = cluster.workers.map((each, index) =>
            index % 3 === 0 ? each : { ...each, memoryBytes: 1000 },
          );
          const input = { ...cluster, workers, stagesMin };
          const found = replicasOrNull(input, replicasMax);
          if (found === null) return;
          const speeds = everySplit(input.workers, replicasMax).map((split) => {
            const stages = split.length === 1 ? 1 : Math.min(stagesMin, input.model.layerBytes.length);
            const parts = split.map((workers) => ({ ...input, workers }));
            const isAble = parts.every(
              (part) => speedOrNull(part) !== null && planPipeline(part).stages.length >= stages,
            );
            return isAble ? parts.reduce((sum, part) => sum + (speedOrNull(part) ?? 0), 0) : 0;
          });
          expect(found.tokensPerSecond).toBeCloseTo(Math.max(...speeds), 6);
          if (found.groups.length > 1) replicated += 1;
        },
      ),
      { numRuns: 60 },
    );
    expect(replicated).toBeGreaterThan(5);
  });

  it('makes no more replicas than asked for, or than hold the model', () => {
    const workers = ['a', 'b', 'c', 'd'].map((id) => worker(id, 1000));
    expect(planReplicas(plain({ workers }), 1).groups).toEqual([['a', 'b', 'c', 'd']]);
    expect(planReplicas(plain({ workers, objective: 'latency' }), 9).groups).toHaveLength(4);
    expect(planReplicas(plain({ workers, concurrency: 1 }), 2).groups).toHaveLength(2);
    const small = workers.map((each) => ({ ...each, memoryBytes: 12 * gib }));
    expect(planReplicas(plain({ workers: small, objective: 'latency' }), 9).groups).toHaveLength(2);
  });

  it('gives every replica the stages that are asked for', () => {
    const workers = ['a', 'b', 'c', 'd', 'e'].map((id) => worker(id, 1000));
    const { groups } = planReplicas(plain({ workers, objective: 'latency', stagesMin: 2 }), 4);
    expect(groups.map(({ length }) => length).sort()).toEqual([2, 3]);
  });

  it('keeps those together that are close to each other', () => {
    const sites = ['a', 'b'].flatMap((site) => [1, 2, 3, 4].map((index) => `${site}${index}`));
    const workers = sites.map((id) => worker(id, 1000, 6 * gib));
    const siteOf = (id: string | null): string => (id ?? 'a').slice(0, 1);
    const link: PlannerInput['link'] = (from, to) =>
      from === null || to === null || siteOf(from) === siteOf(to)
        ? lan
        : { latencyMicros: 60_000, bytesPerSecond: 2e6, isRelayed: false };
    const { groups } = planReplicas(plain({ workers, link }), 2);
    expect(sorted(groups)).toEqual(['a1,a2,a3,a4', 'b1,b2,b3,b4']);
  });

  it('says what is missing when not even all of them hold the model', () => {
    const workers = ['a', 'b'].map((id) => worker(id, 1000, 2 * gib));
    expect(() => planReplicas(plain({ workers }), 2)).toThrow(/The model needs/);
  });

  it('plans a thousand workers', () => {
    const workers = Array.from({ length: 1000 }, (_, index) =>
      worker(`w${index}`, 800 + (index % 17) * 50, (2 + (index % 7)) * gib),
    );
    const input = plain({ workers, concurrency: 64, model: plainModel });
    const { groups, tokensPerSecond } = planReplicas(input, 8);
    expect(groups.length).toBeGreaterThan(1);
    const speed = speedsOfReplicas(input, groups).reduce((sum, each) => sum + each);
    expect(Math.abs(speed / tokensPerSecond - 1)).toBeLessThan(0.02);
  });
});

describe('speedsOfReplicas', () => {
  it('are what each is predicted to make, and nothing for those that do not hold the model', () => {
    const workers = [worker('a', 1000), worker('b', 1000), worker('c', 1000), worker('d', 10, gib)];
    const speed = (ids: string[]): number | null =>
      speedOrNull(plain({ workers: workers.filter(({ workerId }) => ids.includes(workerId)) }));
    const input = plain({ workers });
    expect(speedsOfReplicas(input, [['a'], ['b', 'c'], ['d']])).toEqual([speed(['a']), speed(['b', 'c']), 0]);
    expect(speedsOfReplicas(input, [])).toEqual([]);
  });
});
