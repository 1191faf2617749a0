import { limits } from '@butterfly/common';
import { describe, expect, it } from 'vitest';
import { ScriptedRun, tokensFrom } from '../testing/scripted-run.js';
import type { PlannedStep, SchedulerConfig } from './scheduler-types.js';

const config: SchedulerConfig = {
  contextTokensMax: 4096,
  arenaSlots: 65_536,
  stages: 1,
  runningMax: 8,
  guessesMax: 0,
};
const constraintId = 7;

/** What steps tell the last stage of the constraint of their only sequence. */
const told = ({ sequences: [sequence] }: PlannedStep): unknown => {
  const { id, start, tokens } = sequence?.constraint ?? {};
  return { id, start, tokens: tokens && [...tokens] };
};

describe('steps of a constrained sequence', () => {
  it('bring what is known of its output when its life begins, and nothing while the stage follows', () => {
    const run = new ScriptedRun(config);
    run.submit(1, tokensFrom(1, 5), { constraintId });
    expect(told(run.step().step)).toEqual({ id: 7, start: 5, tokens: [] });
    expect(told(run.step().step)).toEqual({ id: 7, start: 5, tokens: null });
    const ahead = run.form();
    expect(told(ahead)).toEqual({ id: 7, start: 5, tokens: null });
    run.scheduler.rewind();
    const output = run.known(1).slice(5);
    expect(output).toHaveLength(2);
    expect(told(run.step().step)).toEqual({ id: 7, start: 5, tokens: output });
    expect(told(run.step().step)).toEqual({ id: 7, start: 5, tokens: null });
  });

  it('bring it at another scheduler too', () => {
    const run = new ScriptedRun(config);
    run.submit(1, tokensFrom(1, 5), { constraintId });
    run.step();
    const [sequence] = run.scheduler.release('all');
    if (!sequence) throw new Error('It was not released.');
    const other = new ScriptedRun(config);
    other.scheduler.adopt(sequence);
    expect(told(other.form())).toEqual({ id: 7, start: 5, tokens: run.known(1).slice(5) });
  });

  it('say nothing in the midst of its prompt, nor of others', () => {
    const run = new ScriptedRun({ ...config, stepRowsMax: 64 });
    run.submit(1, tokensFrom(1, 100), { constraintId });
    const { step } = run.step();
    expect(step.sequences[0]?.constraint).toBeUndefined();
    expect(told(run.step().step)).toMatchObject({ id: 7, tokens: [] });
    run.submit(2, tokensFrom(500, 3));
    const both = run.step().step.sequences;
    expect(both.find(({ sequenceId }) => sequenceId === 2)?.constraint).toBeUndefined();
  });

  it('are at most as long as their header', () => {
    expect(2 * limits.constraintTokensMax * 4).toBeLessThan(limits.frameHeaderBytesMax / 2);
  });
});
