import { describe, expect, it } from 'vitest';
import { ScriptedRun, tokensFrom } from '../testing/scripted-run.js';

const config = {
  contextTokensMax: 64,
  arenaSlots: 256,
  arenaGranularity: 8,
  prefixBlockTokens: 8,
  stages: 2,
  runningMax: 2,
};

describe('release', () => {
  it('gives those that wait in the order of the queue, and leaves the others where they are', () => {
    const run = new ScriptedRun(config);
    for (const id of [1, 2, 3, 4]) run.submit(id, tokensFrom(100 * id, 10), { priority: id === 4 ? -5 : 0 });
    run.step();
    expect(run.scheduler.stats()).toMatchObject({ running: 2, waiting: 2 });
    expect(run.scheduler.release('waiting').map(({ id }) => id)).toEqual([2, 3]);
    expect(run.scheduler.stats()).toMatchObject({ running: 2, waiting: 0 });
    expect(run.finish().events.filter(({ kind }) => kind === 'end')).toHaveLength(2);
  });

  it('frees the regions of those that run, and drops what older steps bring of them', () => {
    const run = new ScriptedRun(config);
    run.submit(1, tokensFrom(100, 10));
    run.step();
    const late = run.form();
    const [sequence] = run.scheduler.release('all');
    expect(sequence?.known.length).toBe(11);
    expect(run.answer(late)).toEqual([]);
    expect(run.scheduler.stats()).toMatchObject({ running: 0, waiting: 0, availableSlots: 256 });
    expect(run.scheduler.cachedTokens(Int32Array.from(tokensFrom(100, 10)))).toBe(0);
  });

  it('lets another scheduler go on from what is known', () => {
    const [run, other] = [new ScriptedRun(config), new ScriptedRun(config)];
    run.submit(1, tokensFrom(100, 10), { outputTokensMax: 5 });
    other.submit(7, tokensFrom(100, 10), { outputTokensMax: 1 });
    other.finish();
    run.step();
    run.step();
    expect(other.scheduler.cachedTokens(Int32Array.from(tokensFrom(100, 10)))).toBe(9);
    const known = run.known(1);
    const [sequence] = run.scheduler.release('all');
    if (!sequence) throw new Error('it should have been released');
    other.scheduler.adopt(sequence);
    const step = other.form();
    expect([...step.tokens]).toEqual(known.slice(10));
    expect(step.sequences[0]).toMatchObject({ sequenceId: 1, positionStart: 10, rows: 2 });
  });
});
