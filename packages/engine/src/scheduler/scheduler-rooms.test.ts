import type { SequenceWindow } from '@butterfly/wire';
import { describe, expect, it } from 'vitest';
import { ScriptedRun, tokensFrom } from '../testing/scripted-run.js';
import type { PlannedStep, SchedulerConfig } from './scheduler-types.js';

/** A room for each of three sequences, and four for checkpoints. */
const windowed: SchedulerConfig = {
  contextTokensMax: 8192,
  arenaSlots: 65_536,
  stages: 1,
  runningMax: 3,
  windows: { windowTokens: 128, rooms: 3 + 4, roomSlots: 1024 },
  guessesMax: 0,
};
const systemPrompt = tokensFrom(0, 1000);

/** First position, rows and room of each part of a step. */
const parts = ({ sequences }: PlannedStep): [number, number, SequenceWindow][] =>
  sequences.map(({ positionStart, rows, window }) => {
    if (window === null) throw new Error('there is no room');
    return [positionStart, rows, window];
  });
const moves = (steps: readonly PlannedStep[]): [number, SequenceWindow][] =>
  steps
    .flatMap(parts)
    .filter(([, , { from, fromFirst, to, toFirst }]) => from !== to || fromFirst !== toFirst)
    .map(([position, , window]) => [position, window]);

describe('the room of a sequence', () => {
  it('is written on until it is full, and then begins where the window needs it, also while tokens decode', () => {
    const run = new ScriptedRun({ ...windowed, windows: { windowTokens: 128, rooms: 3, roomSlots: 1024 } });
    run.submit(1, tokensFrom(0, 1500), { outputTokensMax: 1500 });
    const found = moves(run.finish().steps);
    // Two chunks of the prompt fill it, then decoded tokens.
    expect(found.map(([position, { fromFirst, toFirst }]) => [position, fromFirst, toFirst])).toEqual([
      [1024, 0, 768],
      [1792, 768, 1536],
      [2560, 1536, 2304],
    ]);
    expect(new Set(found.flatMap(([, { from, to }]) => [from, to])).size).toBe(1);
  });

  it('is left to a checkpoint, and what the window needs is copied from it', () => {
    const run = new ScriptedRun(windowed);
    run.submit(1, systemPrompt);
    const { steps } = run.finish();
    const [[, kept] = [0, null]] = moves(steps);
    // Cut at 984, which is the only copy; 984 - 127 - 32 is in the fourth block.
    expect(moves(steps)).toEqual([[984, { from: kept?.from, fromFirst: 0, to: kept?.to, toFirst: 768 }]]);
    run.submit(2, [...systemPrompt.slice(0, 990), 7, 8, 9]);
    const { step } = run.step();
    expect(parts(step).map(([position, rows, { from }]) => [position, rows, from])).toEqual([
      [984, 9, kept?.from],
    ]);
  });

  it('goes on behind an answer without a copy, when it is asked again', () => {
    const run = new ScriptedRun(windowed);
    run.submit(1, tokensFrom(0, 100));
    const [, , first] = run.finish().steps.flatMap(parts)[0] ?? [];
    run.submit(2, [...run.known(1), ...tokensFrom(5000, 20)]);
    const [[position, rows, again] = []] = parts(run.step().step);
    expect([position, rows]).toEqual([115, 21]);
    // The checkpoint keeps its room until others need it.
    expect(again).toEqual({ from: first?.to, fromFirst: 0, to: again?.to, toFirst: 0 });
    expect(again?.to).not.toBe(first?.to);
  });

  it('is one for each that runs, and no more run than there are', () => {
    const run = new ScriptedRun({ ...windowed, windows: { windowTokens: 128, rooms: 2, roomSlots: 1024 } });
    for (const id of [1, 2, 3]) run.submit(id, tokensFrom(id * 1000, 100));
    const { step } = run.step();
    expect(new Set(parts(step).map(([, , { to }]) => to)).size).toBe(2);
    expect(run.scheduler.stats()).toMatchObject({ running: 2, waiting: 1 });
    expect(run.finish().events.filter(({ kind }) => kind === 'end')).toHaveLength(3);
  });

  it('is taken from a checkpoint, if all of them are in use', () => {
    const run = new ScriptedRun({ ...windowed, windows: { windowTokens: 128, rooms: 1, roomSlots: 1024 } });
    run.submit(1, tokensFrom(0, 300));
    run.finish();
    run.submit(2, [...run.known(1), 1, 2, 3]);
    // It is the room of the checkpoint that it goes on from, which nobody else needs.
    const { step } = run.step();
    expect(parts(step)).toEqual([[315, 4, { from: 0, fromFirst: 0, to: 0, toFirst: 0 }]]);
    run.finish();
    run.submit(3, tokensFrom(9000, 300));
    run.finish();
    expect(run.scheduler.cachedTokens(Int32Array.from([...tokensFrom(0, 300), 1]))).toBe(0);
  });

  it('keeps guesses, which are written over where they prove wrong', () => {
    const run = new ScriptedRun({ ...windowed, guessesMax: 8 }, (known) => known.length % 5);
    run.submit(
      1,
      Array.from({ length: 100 }, (_, index) => index % 5),
      { outputTokensMax: 200 },
    );
    const { steps, events } = run.finish();
    expect(
      steps.flatMap(({ sequences }) => sequences).some(({ draftTokens }) => draftTokens.length > 0),
    ).toBe(true);
    expect(events.at(-1)).toMatchObject({ kind: 'end', reason: 'length' });
  });

  it('is empty again after a loss', () => {
    const run = new ScriptedRun(windowed);
    run.submit(1, tokensFrom(0, 600));
    run.step();
    run.scheduler.rewind();
    expect(parts(run.step().step)[0]).toMatchObject([0, expect.any(Number), { fromFirst: 0, toFirst: 0 }]);
  });
});

describe('rooms that cannot be', () => {
  it.each([
    ['too small', { windows: { windowTokens: 1024, rooms: 4, roomSlots: 1536 } }],
    ['none', { windows: { windowTokens: 128, rooms: 0, roomSlots: 1024 } }],
    ['beside states', { stateSlots: 10 }],
  ])('are refused: %s', (_, change) => {
    expect(() => new ScriptedRun({ ...windowed, ...change })).toThrow(
      expect.objectContaining({ code: 'CONFIG_INVALID', param: 'windows' }) as Error,
    );
  });
});
