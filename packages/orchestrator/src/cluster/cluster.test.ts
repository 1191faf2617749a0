import { describe, expect, it } from 'vitest';
import { ScriptedCluster } from './scripted-cluster.js';

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
