import { describe, expect, it } from 'vitest';
import { ScriptedCluster } from './testing/scripted-cluster.js';

describe('several models of a cluster', () => {
  it('are each planned on all workers, in epochs of their own', async () => {
    await using scripted = await ScriptedCluster.live(['a', 'b']);
    const second = await scripted.deploy('second');
    await scripted.until(() => second.isLive);
    expect(scripted.deployment.isLive).toBe(true);
    const epochs = [scripted.deployment, second].map(({ replicas }) => replicas[0]?.epoch);
    expect(new Set(epochs).size).toBe(2);
    const shards = scripted.worker('a').prepares.map(({ shardId }) => shardId);
    expect([shards.length, new Set(shards).size]).toEqual([2, 2]);
  });

  it('are let go without harm to the others, and their memory with them', async () => {
    await using scripted = await ScriptedCluster.live(['a', 'b']);
    const second = await scripted.deploy('second');
    await scripted.until(() => second.isLive);
    await scripted.withdraw(second);
    await scripted.pass(1_000);
    expect(scripted.worker('a').closed).toEqual([second.fleet.channel]);
    expect([scripted.deployment.isLive, second.taken.size]).toEqual([true, 0]);
    const third = await scripted.deploy('second');
    await scripted.until(() => third.isLive);
    expect(third.fleet.channel).not.toBe(second.fleet.channel);
  });

  it('share the memory of workers: one that does not fit is told so, and fits when another goes', async () => {
    const needed = await memoryOfBoth();
    const memoryBytes = Math.ceil(needed * 0.75);
    await using scripted = await ScriptedCluster.start({ workersExpected: 2 });
    for (const name of ['a', 'b']) await scripted.join(name, { memoryBytes });
    await scripted.until(() => scripted.deployment.isLive);
    const second = await scripted.deploy('second');
    await scripted.until(() => second.trouble !== null);
    expect(second.trouble).toMatchObject({ code: 'MODEL_TOO_LARGE' });
    expect(scripted.deployment.isLive).toBe(true);
    await scripted.withdraw(scripted.deployment);
    await scripted.until(() => second.isLive);
    expect(second.trouble).toBeNull();
  });

  it('are all repaired when a worker is lost', async () => {
    await using scripted = await ScriptedCluster.live(['a', 'b', 'c'], { wishes: { stagesMin: 3 } });
    const second = await scripted.deploy('second');
    await scripted.until(() => second.isLive);
    scripted.worker('b').breakOff();
    await scripted.until(() => !scripted.deployment.isLive && !second.isLive);
    await scripted.until(() => scripted.deployment.isLive && second.isLive);
    for (const { replicas } of [scripted.deployment, second])
      expect(replicas[0]?.plan?.stages.map(({ workerId }) => workerId)).not.toContain(
        scripted.worker('b').workerId,
      );
  });

  it('are all emptied of a worker before it is sent away', async () => {
    await using scripted = await ScriptedCluster.live(['a', 'b']);
    const second = await scripted.deploy('second');
    await scripted.until(() => second.isLive);
    const leaving = scripted.worker('b');
    scripted.worker('a').isSlow = true;
    scripted.cluster.drain(leaving.workerId);
    await scripted.pass(1_000);
    expect(leaving.ending).toBeNull();
    scripted.worker('a').catchUp();
    await scripted.until(() => leaving.ending !== null);
    expect(leaving.ending).toEqual({ error: null, reason: 'drained' });
    await scripted.until(() => scripted.deployment.isLive && second.isLive);
  });

  it('keep a worker that one of them cannot go without', async () => {
    const memoryBytes = await memoryOfBoth();
    await using scripted = await ScriptedCluster.start({ workersExpected: 2 });
    for (const name of ['a', 'b']) await scripted.join(name, { memoryBytes });
    await scripted.until(() => scripted.deployment.isLive);
    const second = await scripted.deploy('second');
    await scripted.until(() => second.isLive);
    const { workerId } = scripted.worker('b');
    expect(() => scripted.cluster.drain(workerId)).toThrow(
      expect.objectContaining({ code: 'MODEL_TOO_LARGE' }),
    );
    expect(scripted.cluster.drains).toEqual([]);
    await scripted.pass(5_000);
    expect([scripted.worker('b').ending, scripted.deployment.isLive, second.isLive]).toEqual([
      null,
      true,
      true,
    ]);
    expect(scripted.deployment.replicaOf(workerId)?.stateOf(workerId)).toBe('serving');
  });

  it('have names of their own', async () => {
    await using scripted = await ScriptedCluster.live(['a']);
    await expect(scripted.deploy('scripted')).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
  });
});

/** Of the stages of the tiny model on two workers, the larger: what one of them takes. */
async function memoryOfBoth(): Promise<number> {
  await using scripted = await ScriptedCluster.live(['a', 'b']);
  const stages = scripted.deployment.replicas[0]?.plan?.stages ?? [];
  return 2 * Math.max(...stages.map(({ bytes }) => bytes));
}
