import { describe, expect, it } from 'vitest';
import { ComputeTurns } from './compute-turns.js';

describe('ComputeTurns', () => {
  it('lets one compute at a time, in the order in which they came', async () => {
    const turns = new ComputeTurns();
    const log: string[] = [];
    let atOnce = 0;
    const compute = async (name: string): Promise<void> => {
      using _turn = await turns.take();
      atOnce += 1;
      log.push(`${name}${atOnce}`);
      await new Promise((resolve) => setImmediate(resolve));
      atOnce -= 1;
    };
    const stage = async (name: string): Promise<void> => {
      for (let step = 0; step < 3; step += 1) await compute(name);
    };
    await Promise.all([stage('a'), stage('b'), stage('c')]);
    expect(log.join(' ')).toBe('a1 b1 c1 a1 b1 c1 a1 b1 c1');
  });

  it('is given on by one that failed', async () => {
    const turns = new ComputeTurns();
    const failing = (async () => {
      using _turn = await turns.take();
      await Promise.resolve();
      throw new Error('it computed wrongly');
    })();
    await expect(failing).rejects.toThrow('wrongly');
    using turn = await turns.take();
    expect(turn).toBeDefined();
  });
});
