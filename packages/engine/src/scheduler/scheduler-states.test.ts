import { describe, expect, it } from 'vitest';
import { ScriptedRun, tokensFrom } from '../testing/scripted-run.js';
import type { PlannedStep, SchedulerConfig, SchedulerEvent } from './scheduler-types.js';

/** Slots for three sequences, and four checkpoints. */
const recurrent: SchedulerConfig = {
  contextTokensMax: 8192,
  arenaSlots: 65_536,
  stages: 1,
  runningMax: 3,
  stateSlots: 2 + 2 * 3 + 4,
};
const systemPrompt = tokensFrom(0, 1000);
const noTokens = new Int32Array(0);

/** First position, rows, and the states read and written of each part of a step. */
const parts = ({ sequences }: PlannedStep): [number, number, number, number][] =>
  sequences.map(({ positionStart, rows, state }) => [
    positionStart,
    rows,
    state?.from ?? NaN,
    state?.to ?? NaN,
  ]);
const starts = (step: PlannedStep): number[] => parts(step).map(([position]) => position);
const cachedOf = (run: ScriptedRun, tokens: readonly number[]): number =>
  run.scheduler.cachedTokens(Int32Array.from(tokens));

/** Answers a step in which all sequences failed. */
function failing(run: ScriptedRun, { stepId, sequences }: PlannedStep): SchedulerEvent[] {
  const outputs = sequences.map(({ sequenceId }) => ({ sequenceId, tokens: noTokens }));
  return run.scheduler.complete({ stepId, outputs }, run.nowMs);
}

describe('checkpoints of prompts', () => {
  it('lie near the end, where the same prompt goes on from, and copy its rows', () => {
    const run = new ScriptedRun(recurrent);
    run.submit(1, systemPrompt, { outputTokensMax: 64 });
    const { steps } = run.finish();
    const [written] = steps.flatMap(parts).filter(([position, rows]) => position + rows === 984);
    run.submit(2, systemPrompt);
    const { step } = run.step();
    expect(parts(step)[0]?.slice(0, 3)).toEqual([984, 16, written?.[3]]);
    expect(step.copies.reduce((sum, { slots }) => sum + slots, 0)).toBe(984);
    const { events } = run.finish();
    expect(events.at(-1)).toMatchObject({ kind: 'end', cachedPromptTokens: 984 });
  });

  it('lie in the midst of long ones, for others that only begin so', () => {
    const run = new ScriptedRun(recurrent);
    run.submit(1, tokensFrom(0, 5000));
    run.finish();
    expect(cachedOf(run, [...tokensFrom(0, 3000), 9, 9])).toBe(2048);
    expect(cachedOf(run, [...tokensFrom(0, 4900), 9, 9])).toBe(4096);
    expect(cachedOf(run, tokensFrom(0, 2047))).toBe(0);
  });

  it('are read by many in one step, and written by none of them', () => {
    const run = new ScriptedRun({ ...recurrent, stepRowsMax: 512 });
    run.submit(1, systemPrompt, { outputTokensMax: 1 });
    run.finish();
    for (const id of [2, 3, 4]) run.submit(id, [...systemPrompt.slice(0, 990), 5000 + id, 1, 2]);
    const { step } = run.step();
    expect(starts(step)).toEqual([984, 984, 984]);
    const [from, to] = [2, 3].map((index) => parts(step).map((part) => part[index]));
    expect(new Set(from).size).toBe(1);
    expect(new Set([...(from ?? []), ...(to ?? [])]).size).toBe(4);
  });

  it('are waited for while another request computes them', () => {
    const run = new ScriptedRun({ ...recurrent, stepRowsMax: 400 });
    for (const id of [1, 2]) run.submit(id, systemPrompt);
    const steps = [run.step(), run.step(), run.step(), run.step()].map(({ step }) => starts(step));
    expect(steps).toEqual([[0], [400], [800], [984, 984]]);
  });

  it('cost short prompts no step of their own', () => {
    const run = new ScriptedRun(recurrent);
    run.submit(1, tokensFrom(0, 200));
    expect(parts(run.step().step).map(([, rows]) => rows)).toEqual([200]);
  });

  it('are none where there are no slots for them, but for what those that do not run leave', () => {
    const run = new ScriptedRun({ ...recurrent, stateSlots: 2 + 2 * 3 });
    run.submit(1, tokensFrom(0, 500));
    expect(parts(run.step().step).map(([, rows]) => rows)).toEqual([500]);
    run.finish();
    expect(cachedOf(run, [...run.known(1), 1])).toBe(515);
  });
});

describe('the checkpoint of an answer', () => {
  it.each([
    ['', {}],
    [', which a step went ahead of', { goesAhead: true, stages: 2 }],
  ])('is behind its last computed token%s, and the next turn goes on from it without a copy', (_, config) => {
    const run = new ScriptedRun({ ...recurrent, ...config });
    run.submit(1, tokensFrom(0, 100));
    const steps = run.finish().steps.flatMap(parts);
    const history = run.known(1);
    const [written] = steps.filter(([position, rows]) => position + rows === 115);
    run.submit(2, [...history, ...tokensFrom(5000, 20)]);
    const { step } = run.step();
    expect(parts(step)[0]?.slice(0, 3)).toEqual([115, 21, written?.[3]]);
    expect(step.copies).toEqual([]);
  });

  it('is that before a stop token, also where a step has gone on behind it', () => {
    const run = new ScriptedRun({ ...recurrent, goesAhead: true }, (known) => known.length);
    run.submit(1, tokensFrom(0, 100), { stopTokens: new Set([107]), outputTokensMax: 64 });
    // Two at a time, so that each token finds a step that went ahead of it.
    let [step, ahead] = [run.form(), run.form()];
    while (run.answer(step).every(({ kind }) => kind !== 'end')) [step, ahead] = [ahead, run.form()];
    run.answer(ahead);
    expect(starts(ahead)).toEqual([107]);
    run.submit(2, [...tokensFrom(0, 107), 200, 201]);
    expect(starts(run.step().step)).toEqual([107]);
  });

  it('is of no use to a prompt that is no longer but for one token, which may not be computed alone', () => {
    const run = new ScriptedRun(recurrent);
    run.submit(1, tokensFrom(0, 100));
    run.finish();
    run.submit(2, [...run.known(1).slice(0, 115), 7]);
    expect(starts(run.step().step)).toEqual([0]);
    run.finish();
    run.submit(3, [...run.known(1).slice(0, 115), 8, 9]);
    expect(starts(run.step().step)).toEqual([115]);
  });

  it('goes when it was used longest ago, but for what other slots can hold', () => {
    const run = new ScriptedRun(recurrent);
    const turns = Array.from({ length: 12 }, (_, chat) => tokensFrom(1000 * chat, 100));
    for (const [id, prompt] of turns.entries()) {
      run.submit(id, prompt);
      run.finish();
      // The first chat goes on all the time.
      if (id === 0) continue;
      run.submit(100 + id, [...run.known(0), id]);
      expect(starts(run.step().step)).toEqual([115]);
      run.scheduler.cancel(100 + id);
    }
    const found = turns.map((_, id) => cachedOf(run, [...run.known(id), 1, 2]));
    // Ten slots; those that read the first one keep the state behind their prompts as well.
    expect(found[0]).toBe(115);
    expect(found.slice(-4)).toEqual([115, 115, 115, 115]);
    expect(found.slice(1, 5)).toEqual([0, 0, 0, 0]);
    expect(run.scheduler.stats()).toMatchObject({ running: 0, availableSlots: recurrent.arenaSlots });
  });
});

describe('a preempted sequence', () => {
  it('goes on from its state', () => {
    const run = new ScriptedRun({ ...recurrent, runningMax: 1 });
    run.submit(1, tokensFrom(0, 100), { priority: 1 });
    run.step();
    run.step();
    run.submit(2, tokensFrom(500, 100), { outputTokensMax: 1 });
    expect(starts(run.step().step)).toEqual([0]);
    const [position, rows] = parts(run.step().step)[0] ?? [];
    expect([position, rows]).toEqual([101, 1]);
  });

  it.each([
    ['its last state', 'after', 1001],
    ['the checkpoint nearest to it', 'before', 984],
  ])('goes on from %s when it comes back %s the token that was under way', (_, when, position) => {
    const run = new ScriptedRun({ ...recurrent, runningMax: 1, stages: 3, goesAhead: false });
    run.submit(1, systemPrompt, { priority: 1 });
    while (run.known(1).length < 1001) run.step();
    const step = run.form();
    expect(starts(step)).toEqual([1000]);
    run.submit(2, tokensFrom(5000, 100), { outputTokensMax: 1 });
    expect(starts(run.form())).toEqual([0]);
    run.scheduler.cancel(2);
    expect(run.scheduler.stats()).toMatchObject({ running: 0, waiting: 1 });
    if (when === 'after') run.answer(step);
    expect(starts(run.form())).toEqual([position]);
  });
});

describe('what is not to be used', () => {
  it('is every checkpoint, when the caches are lost', () => {
    const run = new ScriptedRun(recurrent);
    run.submit(1, systemPrompt);
    run.step();
    run.scheduler.rewind();
    run.submit(2, systemPrompt);
    expect(starts(run.step().step)[0]).toBe(0);
    run.finish();
    run.scheduler.reconfigure({ ...recurrent, stateSlots: 12 });
    expect(cachedOf(run, systemPrompt)).toBe(0);
    run.submit(3, [...systemPrompt, 1, 2]);
    expect(parts(run.step().step)[0]?.slice(0, 3)).toEqual([0, 512, 0]);
  });

  it('is what a sequence leaves whose numbers are none, and what it came from', () => {
    const run = new ScriptedRun({ ...recurrent, stages: 3 });
    run.submit(1, systemPrompt);
    run.submit(2, tokensFrom(4000, 100));
    run.finish();
    run.submit(3, [...systemPrompt, ...tokensFrom(2000, 600)]);
    const [first, second] = [run.form(), run.form()];
    expect(cachedOf(run, systemPrompt)).toBe(984);
    expect(failing(run, first)).toEqual([{ kind: 'failed', id: 3 }]);
    expect(cachedOf(run, systemPrompt)).toBe(0);
    expect(failing(run, second)).toEqual([]);
    expect(cachedOf(run, [...run.known(2), 1])).toBe(115);
    run.submit(4, systemPrompt);
    expect(starts(run.step().step)).toEqual([0]);
  });

  it('is what one leaves that was cancelled before its failure came', () => {
    const run = new ScriptedRun({ ...recurrent, stages: 3 });
    run.submit(1, systemPrompt);
    const [step] = [run.form(), run.form()];
    run.scheduler.cancel(1);
    expect(cachedOf(run, systemPrompt)).toBeGreaterThan(0);
    expect(failing(run, step)).toEqual([]);
    expect(cachedOf(run, systemPrompt)).toBe(0);
  });

  it('is the state of a sequence that is released to go on elsewhere', () => {
    const run = new ScriptedRun(recurrent);
    run.submit(1, tokensFrom(0, 100));
    run.step();
    run.scheduler.release('all');
    expect(cachedOf(run, [...run.known(1), 1, 2])).toBe(0);
  });
});

it('runs as many sequences as it was told to, and as there are slots for', () => {
  const runningOf = (config: Partial<SchedulerConfig>): number => {
    const run = new ScriptedRun({ ...recurrent, ...config });
    for (const id of [1, 2, 3, 4, 5]) run.submit(id, tokensFrom(100 * id, 10));
    run.step();
    return run.scheduler.stats().running;
  };
  expect(runningOf({})).toBe(3);
  expect(runningOf({ runningMax: 4 })).toBe(4);
  expect(runningOf({ runningMax: 64, stateSlots: 7 })).toBe(2);
});

describe('guesses', () => {
  /** It goes in circles of five, but for a token at every eleventh position, which nobody can guess. */
  const circling = (known: readonly number[]): number =>
    known.length % 11 === 10 ? 1000 + known.length : known.length % 5;
  const guessing: SchedulerConfig = {
    ...recurrent,
    guessesMax: 6,
    stepCurves: [[1, 512].map((rows) => ({ rows, micros: 1000 + rows }))],
  };
  const prompt = Array.from({ length: 110 }, (_, position) => circling({ length: position } as number[]));
  /** Up to the first step with guesses of which one will be refused, which is under way. */
  function guessed(config: Partial<SchedulerConfig> = {}): { run: ScriptedRun; step: PlannedStep } {
    const run = new ScriptedRun({ ...guessing, ...config }, circling);
    run.submit(1, prompt, { outputTokensMax: 100, logprobs: null });
    for (;;) {
      const step = run.form();
      const known = [...run.known(1)];
      const [sequence] = step.sequences;
      const isWrong = [...(sequence?.draftTokens ?? [])].some((token) => {
        const isRefused = token !== circling(known);
        known.push(token);
        return isRefused;
      });
      if (isWrong) return { run, step };
      run.answer(step);
    }
  }

  it('that are all right leave the state behind them', () => {
    const run = new ScriptedRun(guessing, circling);
    run.submit(1, prompt, { outputTokensMax: 100 });
    const steps = run.finish().steps.flatMap(({ sequences }) => sequences);
    const right = steps.findIndex((each, i) => {
      const next = steps[i + 1];
      return each.draftTokens.length > 0 && next?.positionStart === each.positionStart + each.rows;
    });
    expect(right).toBeGreaterThan(0);
    expect(steps[right + 1]?.state?.from).toBe(steps[right]?.state?.to);
    expect(run.known(1)).toEqual(
      Array.from({ length: 210 }, (_, i) => (i < 110 ? prompt[i] : circling({ length: i } as number[]))),
    );
  });

  it('of which one is refused leave the state before them, and what was right is computed again with what is new', () => {
    const { run, step } = guessed();
    const [before] = step.sequences;
    const events = run.answer(step);
    const again = run.form();
    const [sequence] = again.sequences;
    expect(sequence).toMatchObject({ isDecoded: true, positionStart: before?.positionStart });
    expect(sequence?.state?.from).toBe(before?.state?.from);
    const repeated = events.length + (before?.rows ?? 0) - (before?.draftTokens.length ?? 0) - 1;
    expect((sequence?.rows ?? 0) - (sequence?.draftTokens.length ?? 0)).toBe(repeated + 1);
    expect(repeated).toBeGreaterThan(0);
    // What is computed again counts as guessed.
    expect(repeated + (sequence?.draftTokens.length ?? 0)).toBeLessThanOrEqual(6);
    expect([...again.tokens].slice(0, repeated + 1)).toEqual(
      run.known(1).slice(sequence?.positionStart, (sequence?.positionStart ?? 0) + repeated + 1),
    );
    run.answer(again);
    run.finish();
    expect(run.known(1).slice(110)).toEqual(
      Array.from({ length: 100 }, (_, i) => circling({ length: 110 + i } as number[])),
    );
  });

  it.each(['cancelled', 'preempted'])('under way when it is %s leave the checkpoint before them', (how) => {
    const { run, step } = guessed({ runningMax: 1, stages: 2, goesAhead: false });
    const [before] = step.sequences;
    if (how === 'cancelled') run.scheduler.cancel(1);
    else {
      run.submit(2, tokensFrom(5000, 100), { outputTokensMax: 1, priority: -1 });
      run.scheduler.nextStep(run.nowMs);
    }
    expect(cachedOf(run, [...run.known(1), 7, 7])).toBe(before?.positionStart);
  });

  it('are not followed by a step that goes ahead of them', () => {
    const { run } = guessed({ stages: 3, goesAhead: true });
    expect(run.scheduler.nextStep(run.nowMs)).toBe(null);
  });

  it('are none where the plan allows none', () => {
    const run = new ScriptedRun({ ...guessing, guessesMax: 0 }, circling);
    run.submit(1, prompt, { outputTokensMax: 60 });
    const { steps } = run.finish();
    expect(
      steps.flatMap(({ sequences }) => sequences).filter(({ draftTokens }) => draftTokens.length > 0),
    ).toEqual([]);
  });
});
