import { describe, expect, it } from 'vitest';
import type { ClusterPlanner } from './cluster-types.js';
import { ScriptedCluster } from './scripted-cluster.js';

/** Leaves the last one of four without work. */
const firstThree = (real: ClusterPlanner): Partial<ClusterPlanner> => ({
  plan: (members, link) => real.plan(members.slice(0, 3), link),
});

describe('weights', () => {
  it('are asked from those that can be dialled', async () => {
    await using scripted = await ScriptedCluster.start({ controller: { workersExpected: 3, stagesMin: 3 } });
    await scripted.join('a');
    await scripted.join('b');
    await scripted.join('c', { unreachable: ['b'] });
    await scripted.until(() => scripted.cluster.isLive);
    const sourcesOf = (name: string): string =>
      scripted
        .worker(name)
        .prepares[0]?.sources.map(({ host }) => host)
        .sort()
        .join() ?? '';
    expect(['a', 'b', 'c'].map(sourcesOf)).toEqual(['b,c', 'a,c', 'a']);
  });
});

describe('workers that go to another replica together', () => {
  it('are all kept out of what their old one plans instead', async () => {
    const ids = (group: readonly { readonly workerId: string }[]): string[] =>
      group.map(({ workerId }) => workerId);
    await using scripted = await ScriptedCluster.live(['a', 'b', 'y'], {
      replicasMax: 2,
      planner: (real) => ({
        ...firstThree(real),
        // The newcomer and one that serves shall make a replica of their own.
        split: (members) =>
          members.length < 4
            ? { groups: [ids(members)], tokensPerSecond: 10 }
            : { groups: [ids(members.slice(0, 2)), ids(members.slice(2))], tokensPerSecond: 100 },
        speedsOf: (groups) => groups.map(() => 10),
      }),
    });
    const { cluster } = scripted;
    await scripted.pass(1000);
    const newcomer = await scripted.join('x');
    await scripted.until(() => cluster.lanes.every(({ isLive }) => isLive));
    expect(scripted.stages).toBe('a,b,x,y');
    expect(cluster.lanes.map(({ epoch }) => epoch)).toEqual([2, 3]);
    expect(newcomer.prepares).toHaveLength(1);
  });
});
