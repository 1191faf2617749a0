import { describe, expect, it } from 'vitest';
import { ScriptedCluster } from './testing/scripted-cluster.js';

describe('a worker that is to be emptied', () => {
  it('and is lost before it is empty is not put to work again when it comes back', async () => {
    await using scripted = await ScriptedCluster.live(['a', 'b']);
    const { cluster } = scripted;
    scripted.worker('a').isSlow = true;
    const { workerId } = scripted.worker('b');
    cluster.drain(workerId);
    expect(cluster.drains).toEqual([{ workerId, name: 'b', state: 'draining' }]);
    scripted.worker('b').breakOff();
    await scripted.until(() => cluster.workers().length === 1);
    expect(cluster.drains).toEqual([{ workerId, name: 'b', state: 'lost' }]);

    const back = await scripted.join('b');
    expect(back.workerId).not.toBe(workerId);
    expect(cluster.drains).toEqual([{ workerId, name: 'b', state: 'draining' }]);
    // The others have yet to load what it had: until then it stays, to be taken if they cannot.
    await scripted.pass(1000);
    expect([scripted.stages, back.ending]).toEqual(['a', null]);
    scripted.worker('a').catchUp();
    await scripted.until(() => back.ending !== null);
    expect(back.ending).toEqual({ error: null, reason: 'drained' });
    expect(scripted.deployment.isLive).toBe(true);
    await scripted.until(() => cluster.workers().length === 1);
    expect(cluster.drains).toEqual([{ workerId, name: 'b', state: 'gone' }]);

    // A goodbye ends the matter: whoever starts it again wants it to work.
    await scripted.join('b');
    await scripted.until(() => scripted.stages === 'a,b');
  });

  it('and is lost is taken back where the others cannot go on without it', async () => {
    await using scripted = await ScriptedCluster.live(['a', 'b']);
    const { cluster } = scripted;
    scripted.worker('a').isSlow = true;
    cluster.drain(scripted.worker('b').workerId);
    scripted.worker('b').breakOff();
    await scripted.until(() => cluster.workers().length === 1);
    scripted.worker('a').breakOff();
    await scripted.until(() => cluster.workers().length === 0);
    await scripted.join('b');
    await scripted.until(() => scripted.deployment.isLive);
    expect([scripted.stages, cluster.drains[0]?.state]).toEqual(['b', 'kept']);
    expect(scripted.warnings.at(-1)).toMatch(/^It stays: /);
  });

  it('is another one when it comes ten minutes after it was lost', async () => {
    await using scripted = await ScriptedCluster.live(['a', 'b']);
    const { cluster } = scripted;
    scripted.worker('a').isSlow = true;
    cluster.drain(scripted.worker('b').workerId);
    scripted.worker('b').breakOff();
    scripted.worker('a').catchUp();
    await scripted.until(() => scripted.deployment.isLive && scripted.stages === 'a');
    await scripted.pass(10 * 60_000);
    await scripted.join('b');
    await scripted.until(() => scripted.stages === 'a,b');
    expect(cluster.drains[0]?.state).toBe('lost');
  });
});
