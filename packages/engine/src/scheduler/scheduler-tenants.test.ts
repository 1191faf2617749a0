import { limits } from '@butterfly/common';
import { describe, expect, it } from 'vitest';
import { ScriptedRun, tokensFrom } from '../testing/scripted-run.js';

const config = { contextTokensMax: 256, arenaSlots: 4096, stages: 1, runningMax: 2, guessesMax: 0 };

/** Ids in the order of their ends. */
function endsOf(run: ScriptedRun): number[] {
  return run.finish().events.flatMap((event) => (event.kind === 'end' ? [event.id] : []));
}

describe('tenants of a scheduler', () => {
  it('take turns, however many requests one of them has sent before', () => {
    const run = new ScriptedRun(config);
    for (let id = 1; id <= 40; id++) run.submit(id, tokensFrom(id * 1000, 20), { tenant: 'flood' });
    for (let id = 41; id <= 44; id++) run.submit(id, tokensFrom(id * 1000, 20), { tenant: 'modest' });
    const ends = endsOf(run);
    expect(ends).toHaveLength(44);
    const places = [41, 42, 43, 44].map((id) => ends.indexOf(id));
    // Each of the four behind about as many of the other's, not behind all of them.
    expect(Math.max(...places)).toBeLessThan(12);
    expect(places).toEqual([...places].sort((a, b) => a - b));
  });

  it('go by ranks alone where all requests are of one', () => {
    const run = new ScriptedRun({ ...config, runningMax: 1 });
    for (let id = 1; id <= 10; id++) run.submit(id, tokensFrom(id * 1000, 20), { tenant: 'one' });
    run.submit(11, tokensFrom(11_000, 20), { tenant: 'one', priority: -1 });
    expect(endsOf(run)).toEqual([11, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
  });

  it('share those that make embeddings too', () => {
    const run = new ScriptedRun(config);
    const embed = (id: number, tenant: string): void =>
      run.submit(id, tokensFrom(id * 1000, 20), { tenant, outputTokensMax: 0, pooling: 'last' });
    for (let id = 1; id <= 20; id++) embed(id, 'flood');
    embed(21, 'modest');
    const first = run.form();
    expect(first.sequences.map(({ sequenceId }) => sequenceId)).toContain(21);
  });

  it('have no more waiting than there is left for others', () => {
    const run = new ScriptedRun(config);
    const fill = (tenant: string, from: number): number => {
      for (let id = from; ; id++) {
        try {
          run.submit(id, [1, 2, 3], { tenant });
        } catch (error) {
          expect(error).toMatchObject({ code: 'QUEUE_FULL' });
          return id - from;
        }
      }
    };
    expect(fill('flood', 1)).toBe(limits.queuedRequestsMax / 2);
    expect(fill('next', 10_000)).toBe(limits.queuedRequestsMax / 4);
  });
});
