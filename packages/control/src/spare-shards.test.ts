import type { Plan } from '@butterfly/planning';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Member } from './members.js';
import { repairedBySpares, spareShards } from './spare-shards.js';
import { targetOf } from './target.js';
import { memberOf, planOf, shardIdOf } from './testing/controller.js';
import { membersOf, targetOn } from './testing/targets.js';

/** Puts the substitutes in, as far as they are here. */
const repair = (
  plan: Plan,
  substitutes: ReadonlyMap<string, string>,
  members: readonly Member[],
): Plan | null => {
  const ids = plan.stages.map(({ workerId }) => substitutes.get(workerId) ?? workerId);
  return ids.every((id) => members.some(({ workerId }) => workerId === id)) ? planOf(ids) : null;
};
const config = { repair, shardIdOf };

describe('spareShards', () => {
  it('begins with what takes longest to load, on whoever has the memory', () => {
    const uneven = targetOf({ ...planOf([]), stages: [stage('a', 0, 3), stage('b', 3, 12)] }, shardIdOf);
    const members = membersOf(memberOf('c', 5), memberOf('d', 9));
    expect(spareShards(uneven, members.all(), 1, members)).toEqual([{ workerId: 'd', stageIndex: 1 }]);
    expect(spareShards(uneven, members.all(), 2, members)).toEqual([
      { workerId: 'd', stageIndex: 1 },
      { workerId: 'c', stageIndex: 0 },
    ]);
    expect(spareShards(uneven, members.all(), 0, members)).toEqual([]);
    expect(spareShards(uneven, [], 2, members)).toEqual([]);
  });

  it('leaves copies where they are', () => {
    const members = membersOf(memberOf('c', 100), memberOf('d', 200), memberOf('e', 300));
    members.hold('c', '6-12', 'held');
    members.hold('d', '0-6', 'loading');
    expect(spareShards(targetOn('a', 'b'), members.all(), 2, members)).toEqual([
      { workerId: 'd', stageIndex: 0 },
      { workerId: 'c', stageIndex: 1 },
    ]);
  });

  it('never exceeds memory or count, and gives each worker one copy', () => {
    const idle = fc.uniqueArray(fc.record({ id: fc.nat(20), memoryBytes: fc.nat(14), holding: fc.nat(5) }), {
      selector: ({ id }) => id,
      maxLength: 12,
    });
    fc.assert(
      fc.property(idle, fc.nat(8), fc.integer({ min: 1, max: 4 }), (workers, count, stages) => {
        const current = targetOn(...Array.from({ length: stages }, (_, index) => `stage ${index}`));
        const members = membersOf(...workers.map(({ id, memoryBytes }) => memberOf(`w${id}x`, memoryBytes)));
        for (const { id, holding, memoryBytes } of workers) {
          const shardId = current.shardIds[holding];
          if (shardId !== undefined && (current.plan.stages[holding]?.bytes ?? 0) <= memoryBytes)
            members.hold(`w${id}x`, shardId, 'held');
        }
        const chosen = spareShards(current, members.all(), count, members);
        expect(chosen.length).toBeLessThanOrEqual(count);
        expect(new Set(chosen.map(({ workerId }) => workerId)).size).toBe(chosen.length);
        for (const { workerId, stageIndex } of chosen)
          expect(members.get(workerId)?.memoryBytes).toBeGreaterThanOrEqual(
            current.plan.stages[stageIndex]?.bytes ?? Infinity,
          );
        // Nobody who could hold a copy is left idle while one is wanted.
        const least = Math.min(...current.plan.stages.map(({ bytes }) => bytes));
        const able = workers.filter(({ memoryBytes }) => memoryBytes >= least).length;
        expect(chosen.length).toBe(Math.min(count, able));
        // Asked again it says the same.
        for (const { workerId, stageIndex } of chosen)
          members.hold(workerId, current.shardIds[stageIndex] ?? '', 'held');
        for (const { workerId } of chosen)
          expect(spareShards(current, members.all(), count, members).map((each) => each.workerId)).toContain(
            workerId,
          );
      }),
    );
  });
});

describe('repairedBySpares', () => {
  it('is nothing where nobody is gone, or somebody has no substitute', () => {
    const members = membersOf(memberOf('a'), memberOf('b'), memberOf('c'));
    members.hold('c', '0-6', 'held');
    expect(repairedBySpares(targetOn('a', 'b'), members.all(), members, config)).toBeNull();
    expect(repairedBySpares(targetOn('a', 'b'), [memberOf('a'), memberOf('c')], members, config)).toBeNull();
    members.hold('c', '0-6', 'loading');
    expect(repairedBySpares(targetOn('a', 'b'), [memberOf('b'), memberOf('c')], members, config)).toBeNull();
  });

  it('is nothing where the substitute does not fit', () => {
    const members = membersOf(memberOf('b'), memberOf('c'));
    members.hold('c', '0-6', 'held');
    const isNever = { ...config, repair: () => null };
    expect(repairedBySpares(targetOn('a', 'b'), members.all(), members, isNever)).toBeNull();
  });

  it('picks holders, each for one stage, whoever is gone', () => {
    const stages = ['a', 'b', 'c', 'd'];
    const spares = ['s', 't', 'u', 'v', 'w'];
    const full = targetOn(...stages);
    fc.assert(
      fc.property(
        fc.subarray(stages, { minLength: 1 }),
        fc.dictionary(fc.constantFrom(...spares), fc.subarray([...full.shardIds])),
        (gone, copies) => {
          const here = [...stages.filter((id) => !gone.includes(id)), ...spares];
          const members = membersOf(...here.map((id) => memberOf(id)));
          for (const [id, shards] of Object.entries(copies))
            for (const shard of shards) members.hold(id, shard, 'held');
          const found = repairedBySpares(full, members.all(), members, config);
          if (!found) return;
          expect(found.shardIds).toEqual(full.shardIds);
          const ids = found.plan.stages.map(({ workerId }) => workerId);
          expect(new Set(ids).size).toBe(ids.length);
          for (const [index, id] of ids.entries())
            if (gone.includes(stages[index] ?? '')) expect(copies[id]).toContain(full.shardIds[index]);
            else expect(id).toBe(stages[index]);
        },
      ),
    );
  });
});

function stage(workerId: string, layerStart: number, layerEnd: number): Plan['stages'][number] {
  const bytes = layerEnd - layerStart;
  return { workerId, layerStart, layerEnd, bytes, decodeMicros: 1, microsPerToken: 1, isRelayed: false };
}
