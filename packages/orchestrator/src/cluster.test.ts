import { ButterflyError } from '@butterfly/common';
import { describe, expect, it } from 'vitest';
import type { ClusterPlanner } from './deployment/deployment-types.js';
import { ScriptedCluster } from './testing/scripted-cluster.js';

const defect = new ButterflyError('INTERNAL', 'The plan contradicts itself.');
const fail = (): never => {
  throw defect;
};

/** Leaves the last one of four without work. */
const firstThree = (real: ClusterPlanner): Partial<ClusterPlanner> => ({
  plan: (members, link) => real.plan(members.slice(0, 3), link),
});

describe('weights', () => {
  it('are asked from those that can be dialled', async () => {
    await using scripted = await ScriptedCluster.start({ workersExpected: 3, wishes: { stagesMin: 3 } });
    await scripted.join('a');
    await scripted.join('b');
    await scripted.join('c', { unreachable: ['b'] });
    await scripted.until(() => scripted.deployment.isLive);
    const sourcesOf = (name: string): string =>
      scripted
        .worker(name)
        .prepares[0]?.sources.map(({ host }) => host)
        .sort()
        .join() ?? '';
    expect(['a', 'b', 'c'].map(sourcesOf)).toEqual(['b,c', 'a,c', 'a']);
  });
});

describe('a plan', () => {
  it('is in force only when a token has gone through all stages', async () => {
    await using scripted = await ScriptedCluster.start();
    const workers = [await scripted.join('a'), await scripted.join('b')];
    for (const worker of workers) worker.isMute = true;
    await scripted.until(() => workers.some(({ lastStageOf }) => lastStageOf !== null));
    await scripted.pass(1_000);
    expect([scripted.deployment.isLive, scripted.deployment.describe()]).toEqual([
      false,
      expect.stringContaining('token'),
    ]);
    for (const worker of workers) worker.speakUp();
    await scripted.pass(1_000);
    expect(scripted.deployment.isLive).toBe(true);
  });
});

describe('a cluster that is closed', () => {
  it('waits for nothing any more, which would keep its process up', async () => {
    const scripted = await ScriptedCluster.live(['a', 'b']);
    await scripted[Symbol.asyncDispose]();
    // The others hear of it.
    await scripted.pass(1_000);
    expect(scripted.clock.isIdle).toBe(true);
  });
});

describe('a defect of the planner', () => {
  it('while it weighs a plan is told, and what is live goes on', async () => {
    await using scripted = await ScriptedCluster.live(['a', 'b'], { planner: () => ({ repair: fail }) });
    await scripted.join('c');
    await scripted.pass(1000);
    expect([scripted.deployment.isLive, scripted.deployment.trouble]).toEqual([true, defect]);
    expect(scripted.warnings).toContain(defect.message);
    // Without what spares would have made of the old plan there is a new one.
    scripted.worker('a').breakOff();
    await scripted.until(() => !scripted.deployment.isLive);
    await scripted.until(() => scripted.deployment.isLive);
  });

  it.each(['split', 'speedsOf'] as const)('in %s leaves everybody where they are', async (what) => {
    await using scripted = await ScriptedCluster.live(['a', 'b'], {
      wishes: { replicasMax: 2 },
      planner: () => ({ [what]: fail }),
    });
    // The first split is made.
    await scripted.pass(1000);
    for (const name of ['c', 'd']) await scripted.join(name);
    await scripted.pass(60_000);
    expect([scripted.deployment.isLive, scripted.deployment.trouble]).toEqual([true, defect]);
    expect(scripted.deployment.replicas.map(({ workers }) => workers)).toEqual([4, 0]);
  });

  it('that is no error of ours is one all the same', async () => {
    const repair = (): never => {
      throw new TypeError('undefined is not a function');
    };
    await using scripted = await ScriptedCluster.live(['a', 'b'], { planner: () => ({ repair }) });
    await scripted.join('c');
    await scripted.pass(1000);
    expect(scripted.deployment.trouble).toMatchObject({ code: 'INTERNAL' });
    expect(scripted.deployment.isLive).toBe(true);
  });
});

describe('whoever runs the cluster', () => {
  it('is told of unlike workers where the same bytes are promised', async () => {
    await using scripted = await ScriptedCluster.live(['a'], { isDeterministic: true });
    await scripted.join('b', { cpuVariant: 'zen4' });
    await scripted.join('c', { cpuVariant: 'zen4' });
    expect(scripted.warnings).toEqual([expect.stringMatching(/haswell .* and zen4 .*--deterministic/)]);
    expect([...scripted.cluster.notes, ...scripted.deployment.notes]).toEqual([
      expect.stringMatching(/haswell .* \(a\); zen4 .* \(b, c\); with --deterministic/),
    ]);
  });

  it('is told of spares that nobody can hold', async () => {
    await using scripted = await ScriptedCluster.live(['a', 'b', 'c'], {
      wishes: { spares: 1 },
      planner: firstThree,
    });
    await scripted.pass(1000);
    const lack = expect.stringMatching(/^0 of 1 spares held; the others want workers/) as string;
    expect([[...scripted.cluster.notes, ...scripted.deployment.notes], scripted.warnings]).toEqual([
      [lack],
      [lack],
    ]);
    const spare = await scripted.join('d');
    await scripted.until(() => spare.prepares.length > 0);
    await scripted.pass(1000);
    expect([[...scripted.cluster.notes, ...scripted.deployment.notes], scripted.warnings]).toEqual([
      [],
      [lack],
    ]);
    spare.breakOff();
    await scripted.pass(1000);
    expect([[...scripted.cluster.notes, ...scripted.deployment.notes], scripted.warnings.slice(1)]).toEqual([
      [lack],
      [expect.any(String), lack],
    ]);
  });
});

describe('workers that go to another replica together', () => {
  it('are all kept out of what their old one plans instead', async () => {
    const ids = (group: readonly { readonly workerId: string }[]): string[] =>
      group.map(({ workerId }) => workerId);
    await using scripted = await ScriptedCluster.live(['a', 'b', 'y'], {
      wishes: { replicasMax: 2 },
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
    await scripted.pass(1000);
    const newcomer = await scripted.join('x');
    await scripted.until(() => scripted.deployment.replicas.every(({ isLive }) => isLive));
    expect(scripted.stages).toBe('a,b,x,y');
    expect(scripted.deployment.replicas.map(({ epoch }) => epoch)).toEqual([2, 3]);
    expect(newcomer.prepares).toHaveLength(1);
  });
});
