import { tokenOfStepBefore } from '@butterfly/wire';
import { describe, expect, it } from 'vitest';
import { ScriptedRun, tokensFrom } from '../testing/scripted-run.js';
import type { PlannedStep, SchedulerConfig, SchedulerEvent } from './scheduler-types.js';

const roomy: SchedulerConfig = { contextTokensMax: 4096, arenaSlots: 65_536, stages: 1, runningMax: 64 };
const noTokens = new Int32Array(0);

/** Answers a step in which these sequences failed. */
function failing(run: ScriptedRun, { stepId, sequences }: PlannedStep, ...ids: number[]): SchedulerEvent[] {
  const outputs = sequences
    .filter(({ sequenceId, sampling }) => sampling !== null || ids.includes(sequenceId))
    .map(({ sequenceId }) => ({
      sequenceId,
      tokens: ids.includes(sequenceId) ? noTokens : Int32Array.of(7_000_000 + sequenceId),
    }));
  return run.scheduler.complete({ stepId, outputs }, run.nowMs);
}

const cachedOf = (run: ScriptedRun, tokens: readonly number[]): number =>
  run.scheduler.cachedTokens(Int32Array.from(tokens));

describe('a sequence whose numbers are none', () => {
  it('ends alone, and the others of its step go on', () => {
    const run = new ScriptedRun(roomy);
    for (const id of [1, 2, 3]) run.submit(id, tokensFrom(1000 * id, 5));
    const events = failing(run, run.form(), 2);
    expect(events).toEqual([
      { kind: 'token', id: 1, token: 7_000_001 },
      { kind: 'token', id: 3, token: 7_000_003 },
      { kind: 'failed', id: 2 },
    ]);
    expect(run.form().sequences.map(({ sequenceId }) => sequenceId)).toEqual([1, 3]);
    expect(run.scheduler.stats()).toMatchObject({ running: 2, waiting: 0 });
  });

  it('ends in the midst of its prompt, and what is under way of it is dropped', () => {
    const run = new ScriptedRun({ ...roomy, stages: 2 });
    run.submit(1, tokensFrom(0, 600));
    const [first, second] = [run.form(), run.form()];
    expect(first.sequences[0]?.sampling).toBe(null);
    expect(failing(run, first, 1)).toEqual([{ kind: 'failed', id: 1 }]);
    expect(failing(run, second, 1)).toEqual([]);
    expect(run.scheduler.nextStep(0)).toBe(null);
    expect(run.scheduler.stats()).toMatchObject({ running: 0, inFlight: 0 });
  });

  it('ends where a step went ahead of its token', () => {
    const run = new ScriptedRun({ ...roomy, goesAhead: true });
    run.submit(1, [1, 2, 3]);
    run.submit(2, [4, 5, 6]);
    const step = run.form();
    const ahead = run.form();
    expect([...ahead.tokens]).toEqual([tokenOfStepBefore(1), tokenOfStepBefore(1)]);
    expect(failing(run, step, 1).map(({ kind, id }) => [kind, id])).toEqual([
      ['token', 2],
      ['failed', 1],
    ]);
    expect(failing(run, ahead, 1)).toEqual([{ kind: 'token', id: 2, token: 7_000_002 }]);
  });

  it('leaves nothing in the cache, and takes along what it may have caught its fault from', () => {
    const run = new ScriptedRun(roomy);
    const shared = tokensFrom(0, 320);
    const other = tokensFrom(5000, 320);
    for (const [id, prompt] of [shared, other].entries()) {
      run.submit(id, prompt);
      run.finish();
    }
    expect([cachedOf(run, [...shared, 1]), cachedOf(run, [...other, 1])]).toEqual([320, 320]);
    run.submit(2, [...shared, ...tokensFrom(9000, 64)]);
    failing(run, run.form(), 2);
    expect([cachedOf(run, [...shared, 1]), cachedOf(run, [...other, 1])]).toEqual([0, 320]);
    run.submit(3, shared);
    expect(run.finish().events.at(-1)).toMatchObject({ kind: 'end', id: 3 });
  });

  it('is one of the step, told of once', () => {
    const run = new ScriptedRun(roomy);
    run.submit(1, [1, 2, 3]);
    const { stepId } = run.form();
    const gone = { sequenceId: 1, tokens: noTokens };
    const wrong = [[{ sequenceId: 9, tokens: noTokens }], [gone, gone], []];
    for (const outputs of wrong)
      expect(() => run.scheduler.complete({ stepId, outputs }, 0)).toThrow(/does not answer it/u);
    expect(run.scheduler.complete({ stepId, outputs: [gone] }, 0)).toEqual([{ kind: 'failed', id: 1 }]);
  });
});
