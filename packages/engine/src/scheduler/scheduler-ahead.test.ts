import { greedySampling, tokenOfStepBefore } from '@butterfly/wire';
import { describe, expect, it } from 'vitest';
import { ScriptedRun, tokensFrom } from '../testing/scripted-run.js';
import type { PlannedStep, SchedulerConfig } from './scheduler-types.js';

const flat = [1, 512].map((rows) => ({ rows, micros: 1000 + rows }));
const ring: SchedulerConfig = {
  contextTokensMax: 4096,
  arenaSlots: 65_536,
  stages: 3,
  runningMax: 64,
  goesAhead: true,
  stepCurves: [flat],
};

/** The id of each sequence of a step with its token. */
const rows = ({ sequences, tokens }: PlannedStep): [id: number, token: number | undefined][] =>
  sequences.map(({ sequenceId }, index) => [sequenceId, tokens[index]]);

/** So many sequences that decode, each in a step of its own in flight, oldest first. */
function decoding(config: SchedulerConfig, count: number): { run: ScriptedRun; inFlight: PlannedStep[] } {
  const run = new ScriptedRun(config);
  const inFlight: PlannedStep[] = [];
  for (let id = 1; id <= count; id += 1) {
    run.submit(id, tokensFrom(100 * id, 5));
    inFlight.push(run.form());
  }
  return { run, inFlight };
}

describe('a step ahead of its tokens', () => {
  it('follows the oldest in flight, one at a time, beside as many as there are stages', () => {
    const { run, inFlight } = decoding(ring, 3);
    const [first, second] = inFlight as [PlannedStep, PlannedStep];
    const ahead = run.form();
    expect(rows(ahead)).toEqual([[1, tokenOfStepBefore(3)]]);
    expect(run.scheduler.nextStep(0)).toBe(null);
    run.answer(first);
    // What was sampled is on its way round already, so the next in turn goes ahead.
    expect(rows(run.form())).toEqual([[2, tokenOfStepBefore(3)]]);
    expect(run.scheduler.nextStep(0)).toBe(null);
    run.answer(second);
    expect(rows(run.form())).toEqual([[3, tokenOfStepBefore(3)]]);
    expect(run.scheduler.stats().inFlight).toBe(4);
  });

  it('is not formed where the first stage learns of tokens from the orchestrator alone', () => {
    const { run } = decoding({ ...ring, goesAhead: false }, 2);
    expect(run.scheduler.nextStep(0)).toBe(null);
  });

  it('is not formed while a prompt waits, which would have to wait for it', () => {
    const { run, inFlight } = decoding(ring, 3);
    run.submit(4, tokensFrom(1000, 5));
    expect(run.scheduler.nextStep(0)).toBe(null);
    const [oldest] = inFlight as [PlannedStep];
    run.answer(oldest);
    expect(rows(run.form()).map(([id]) => id)).toEqual([1, 4]);
  });

  it('is not formed for penalties, which need to know the token', () => {
    const run = new ScriptedRun(ring);
    run.submit(1, [1, 2, 3], { sampling: { ...greedySampling, repeatPenalty: 1.1 } });
    run.form();
    expect(run.scheduler.nextStep(0)).toBe(null);
  });

  it('is not formed where its sequences should take turns, so that they part again', () => {
    const run = new ScriptedRun(ring);
    for (const id of [1, 2, 3]) run.submit(id, tokensFrom(100 * id, 5));
    const together = run.form();
    expect(together.sequences).toHaveLength(3);
    expect(run.scheduler.nextStep(0)).toBe(null);
    run.answer(together);
    expect([run.form(), run.form(), run.form()].map((step) => rows(step).map(([id]) => id))).toEqual([
      [1],
      [2],
      [3],
    ]);
    expect(rows(run.form())).toEqual([[1, tokenOfStepBefore(3)]]);
  });

  it('leaves out who ended and whose output is full, and is none of nobody', () => {
    const run = new ScriptedRun({ ...ring, stages: 1 });
    run.submit(1, [1, 2, 3]);
    run.submit(2, [4, 5, 6], { outputTokensMax: 1 });
    run.submit(3, [7, 8, 9]);
    run.form();
    run.scheduler.cancel(3);
    expect(rows(run.form())).toEqual([[1, tokenOfStepBefore(1)]]);
    run.scheduler.cancel(1);
    expect(run.scheduler.nextStep(0)).toBe(null);
  });

  it('is forgotten with all others when the caches are lost', () => {
    const { run } = decoding(ring, 1);
    expect(rows(run.form())).toEqual([[1, tokenOfStepBefore(1)]]);
    expect([...run.scheduler.rewind()]).toEqual([1]);
    expect(run.form().tokens).toHaveLength(5);
    expect(rows(run.form())).toEqual([[1, tokenOfStepBefore(1)]]);
  });
});
