import { describe, expect, it } from 'vitest';
import { ScriptedRun, tokensFrom, type ScriptedModel } from '../testing/scripted-run.js';
import { StepCurve } from '@butterfly/common';
import type { PlannedStep, SchedulerConfig, SchedulerEvent } from './scheduler-types.js';

const roomy: SchedulerConfig = { contextTokensMax: 4096, arenaSlots: 65_536, stages: 1, runningMax: 64 };

/** Sequence, first position and rows of each part of a step. */
const parts = ({ sequences }: PlannedStep): [number, number, number][] =>
  sequences.map(({ sequenceId, positionStart, rows }) => [sequenceId, positionStart, rows]);

/** Prompt tokens found in the cache, by sequence, as clients are told. */
const cachedPromptTokens = (events: readonly SchedulerEvent[]): Record<number, number> =>
  Object.fromEntries(
    events.flatMap((event) => (event.kind === 'end' ? [[event.id, event.cachedPromptTokens]] : [])),
  );

const firstServed = (steps: readonly PlannedStep[]): number[] => [
  ...new Set(steps.flatMap(({ sequences }) => sequences.map(({ sequenceId }) => sequenceId))),
];

describe('shared prefixes', () => {
  const systemPrompt = tokensFrom(0, 1000);

  it('are computed once: a second request begins where its prompt is new', () => {
    const run = new ScriptedRun(roomy);
    run.submit(1, [...systemPrompt, ...tokensFrom(2000, 50)]);
    expect(cachedPromptTokens(run.finish().events)).toEqual({ 1: 0 });
    run.submit(2, [...systemPrompt, ...tokensFrom(3000, 30)]);
    const { steps, events } = run.finish();
    expect(steps[0] && parts(steps[0])).toEqual([[2, 1000, 30]]);
    expect(steps[0]?.copies.reduce((sum, { slots }) => sum + slots, 0)).toBe(1000);
    expect(cachedPromptTokens(events)).toEqual({ 2: 1000 });
  });

  it('are not taken by a request whose steps another worker computes too, which leaves them to others', () => {
    const run = new ScriptedRun(roomy);
    for (const id of [1, 2, 3]) {
      run.submit(id, [...systemPrompt, ...tokensFrom(1000 * id, 50)], { isVerified: id === 2 });
      const { steps, events } = run.finish();
      expect(cachedPromptTokens(events)).toEqual({ [id]: id === 3 ? 1000 : 0 });
      expect([...new Set(steps.flatMap(({ verified }) => verified))]).toEqual(id === 2 ? [2] : []);
    }
  });

  it('leave two tokens to compute when the whole prompt is known', () => {
    const run = new ScriptedRun(roomy);
    for (const id of [1, 2]) {
      run.submit(id, systemPrompt);
      const { steps, events } = run.finish();
      expect(steps[0] && parts(steps[0]).at(-1)?.[1]).toBe(id === 1 ? 0 : 998);
      expect(cachedPromptTokens(events)).toEqual({ [id]: id === 1 ? 0 : 999 });
    }
  });

  it('are taken over by the next turn of a chat, with the answer and without a copy', () => {
    const run = new ScriptedRun(roomy);
    run.submit(1, systemPrompt);
    const [first] = run.finish().steps;
    const history = run.known(1);
    expect(history).toHaveLength(1016);
    run.submit(2, [...history, ...tokensFrom(5000, 20)]);
    const { step } = run.step();
    // The last token of an answer is never computed.
    expect(parts(step)).toEqual([[2, 1015, 21]]);
    expect(step.copies).toEqual([]);
    expect(step.sequences[0]?.regionStart).toBe(first?.sequences[0]?.regionStart);
  });

  it('are waited for while another request computes them, and then copied', () => {
    const run = new ScriptedRun({ ...roomy, stepRowsMax: 400 });
    for (const id of [1, 2]) run.submit(id, systemPrompt);
    run.submit(3, tokensFrom(7000, 10));
    const prefill = [run.step(), run.step(), run.step()];
    expect(prefill.map(({ step }) => firstServed([step]))).toEqual([[1], [1], [1]]);
    const { step } = run.step();
    expect(parts(step)).toEqual([
      [1, 1000, 1],
      [2, 998, 2],
      [3, 0, 10],
    ]);
    expect(cachedPromptTokens(run.finish().events)).toEqual({ 1: 0, 2: 999, 3: 0 });
  });

  it('are not waited for when they are short', () => {
    const run = new ScriptedRun(roomy);
    run.submit(1, [...tokensFrom(0, 40), ...tokensFrom(1000, 40)]);
    run.submit(2, [...tokensFrom(0, 40), ...tokensFrom(2000, 40)]);
    expect(parts(run.step().step)).toEqual([
      [1, 0, 80],
      [2, 0, 80],
    ]);
  });

  it('outlive a cancelled request', () => {
    const run = new ScriptedRun({ ...roomy, stepRowsMax: 512 });
    run.submit(1, systemPrompt);
    const { step } = run.step();
    const [computed] = step.sequences;
    run.scheduler.cancel(1);
    run.submit(2, systemPrompt);
    expect(parts(run.step().step)[0]?.slice(0, 2)).toEqual([2, computed?.rows]);
  });
});

describe('priorities and deadlines', () => {
  const oneAtATime: SchedulerConfig = { ...roomy, runningMax: 1 };

  it('order the queue: lower first, each step of it ten seconds of waiting', () => {
    const run = new ScriptedRun(oneAtATime);
    run.submit(1, [1], { priority: 0 });
    run.submit(2, [2], { priority: 1 });
    run.submit(3, [3], { priority: -1 });
    run.submit(4, [4], { priority: 0, nowMs: 10_002 });
    run.submit(5, [5], { priority: 1, nowMs: 1 });
    expect(firstServed(run.finish().steps)).toEqual([3, 1, 2, 5, 4]);
  });

  it('let a request go first whose deadline draws near', () => {
    const run = new ScriptedRun(oneAtATime);
    run.submit(1, [1]);
    run.submit(2, [2], { deadlineMs: 9000 });
    run.submit(3, [3], { priority: 5, deadlineMs: 30_000 });
    run.submit(4, [4], { priority: 3 });
    expect(firstServed(run.finish().steps)).toEqual([2, 1, 3, 4]);
  });

  it('preempt one that matters less and comes later, which goes on from what it cached', () => {
    const run = new ScriptedRun(oneAtATime);
    run.submit(1, tokensFrom(0, 100), { priority: 1 });
    run.step();
    run.step();
    run.submit(2, tokensFrom(500, 100), { outputTokensMax: 2 });
    expect(parts(run.step().step)).toEqual([[2, 0, 100]]);
    expect(run.scheduler.stats()).toMatchObject({ running: 1, waiting: 1 });
    expect(parts(run.step().step)).toEqual([[2, 100, 1]]);
    expect(parts(run.step().step)).toEqual([[1, 101, 1]]);
    const { events } = run.finish();
    expect(events.filter(({ kind }) => kind === 'token')).toHaveLength(13);
    expect(cachedPromptTokens(events)).toEqual({ 1: 0 });
  });

  it('preempt nobody who matters as much, whatever the deadline', () => {
    const run = new ScriptedRun(oneAtATime);
    run.submit(1, [1], { nowMs: 0 });
    run.step();
    run.submit(2, [2], { deadlineMs: 5000 });
    expect(firstServed(run.finish().steps)).toEqual([1, 2]);
  });

  it('preempt nobody who has waited so long that it comes first', () => {
    const run = new ScriptedRun(oneAtATime);
    run.submit(1, [1], { priority: 1 });
    run.step();
    run.submit(2, [2], { nowMs: 10_001 });
    expect(firstServed(run.finish().steps)).toEqual([1, 2]);
  });

  it('let the one that is preempted last begin anew where nothing of it is left', () => {
    const run = new ScriptedRun({ ...roomy, contextTokensMax: 1024, arenaSlots: 1024, runningMax: 2 });
    run.submit(1, tokensFrom(0, 300), { priority: 1 });
    run.step();
    run.submit(2, tokensFrom(5000, 900), { outputTokensMax: 100 });
    const { steps, events } = run.finish();
    expect(firstServed(steps)).toEqual([2, 1]);
    const again = steps.find(({ sequences }) => sequences.some(({ sequenceId }) => sequenceId === 1));
    expect(again?.sequences[0]).toMatchObject({ positionStart: 0, rows: 301 });
    expect(events.filter((event) => event.kind === 'token' && event.id === 1)).toHaveLength(15);
  });
});

describe('speculation', () => {
  const phrase = tokensFrom(10, 20);
  /** Says the phrase over and over. */
  const parrot: ScriptedModel = (known) => phrase[known.length % phrase.length] ?? 0;
  const drafts = (steps: readonly PlannedStep[]): number[] =>
    steps.map(({ sequences }) => sequences[0]?.draftTokens.length ?? 0);

  it('gives several tokens per step where the text repeats, and the same ones', () => {
    const [run, plain] = [roomy, { ...roomy, guessesMax: 0 }].map((config) => {
      const each = new ScriptedRun(config, parrot);
      each.submit(1, [...phrase, ...phrase], { outputTokensMax: 200 });
      return { steps: each.finish().steps.length, known: each.known(1) };
    });
    expect(run?.known).toEqual(plain?.known);
    expect(plain?.steps).toBe(200);
    expect(run?.steps).toBeLessThan(25);
  });

  it('never guesses beyond the end of the output', () => {
    for (let outputTokensMax = 1; outputTokensMax <= 40; outputTokensMax += 1) {
      const run = new ScriptedRun(roomy, parrot);
      run.submit(1, [...phrase, ...phrase], { outputTokensMax });
      const { steps, events } = run.finish();
      for (const { sequences } of steps)
        for (const { positionStart, rows } of sequences)
          expect(positionStart + rows).toBeLessThan(40 + outputTokensMax);
      expect(events.filter(({ kind }) => kind === 'token')).toHaveLength(outputTokensMax);
      expect(events.at(-1)).toMatchObject({ kind: 'end', reason: 'length' });
    }
  });

  it('drops what comes behind a stop token', () => {
    const run = new ScriptedRun(roomy, parrot);
    run.submit(1, [...phrase, ...phrase], { stopTokens: new Set([phrase[5] ?? 0]) });
    const { events } = run.finish();
    expect(events.map((event) => (event.kind === 'token' ? event.token : event.kind))).toEqual([
      ...phrase.slice(0, 5),
      'end',
    ]);
    // The stop token and what was guessed behind it are no part of what the next turn finds.
    run.submit(2, [...phrase, ...phrase, ...phrase]);
    expect(cachedPromptTokens(run.finish().events)).toEqual({ 2: 45 });
  });

  it('caches the guesses that came true, so that the next turn finds all of the answer', () => {
    const run = new ScriptedRun(roomy, parrot);
    run.submit(1, [...phrase, ...phrase], { outputTokensMax: 64 });
    run.finish();
    run.submit(2, [...run.known(1), 9, 9]);
    expect(parts(run.step().step)).toEqual([[2, 103, 3]]);
  });

  /** Says whatever did not follow before: every guess is wrong. */
  const contrary: ScriptedModel = (known) => {
    const last = known.slice(-3).join();
    let follower = 0;
    for (let end = known.length - 1; end >= 3; end -= 1)
      if (known.slice(end - 3, end).join() === last) {
        follower = known[end] ?? 0;
        break;
      }
    return (follower + 1) % 4;
  };

  it.each([
    ['the assumed curve', StepCurve.assumed.micros(1), StepCurve.assumed.micros(64)],
    ['a curve on which rows are nearly free', 10_000, 12_000],
    ['a curve on which rows are dear', 1000, 64_000],
  ])('costs less than 3% of the time where every guess is wrong: %s', (_, micros1, micros64) => {
    const curve = [
      { rows: 1, micros: micros1 },
      { rows: 64, micros: micros64 },
    ];
    const run = new ScriptedRun({ ...roomy, stepCurves: [curve] }, contrary);
    run.submit(1, tokensFrom(0, 4), { outputTokensMax: 2000 });
    const { steps } = run.finish();
    const micros = (rows: number): number => new StepCurve(curve).micros(rows) + 500;
    expect(steps).toHaveLength(2000);
    const spent = steps.reduce((sum, { tokens }) => sum + micros(tokens.length), 0);
    expect(spent / (2000 * micros(1))).toBeLessThan(1.03);
  });

  it('makes none where they would have been wrong, and goes on with them where they become right', () => {
    const steep = [
      { rows: 1, micros: 1000 },
      { rows: 64, micros: 20_000 },
    ];
    const turning: ScriptedModel = (known, id) =>
      known.length < 1000 ? contrary(known, id) : parrot(known, id);
    const run = new ScriptedRun({ ...roomy, stepCurves: [steep] }, turning);
    run.submit(1, tokensFrom(0, 4), { outputTokensMax: 2000 });
    const made = drafts(run.finish().steps);
    const guessing = made.slice(100, 1000).filter((count) => count > 0);
    expect(guessing.length).toBeLessThan(10);
    expect(made.at(-10)).toBe(15);
    expect(made.length).toBeLessThan(1500);
  });

  it('adds nothing beside a part of a prompt, where every row is dear', () => {
    const run = new ScriptedRun({ ...roomy, stepRowsMax: 128 }, parrot);
    run.submit(1, [...phrase, ...phrase], { outputTokensMax: 200 });
    const warm = Array.from({ length: 8 }, () => run.step().step);
    expect(drafts(warm).at(-1)).toBeGreaterThan(0);
    run.submit(2, tokensFrom(1000, 400));
    const first = run.step().step;
    expect(firstServed([first])).toEqual([1, 2]);
    expect(drafts([first, run.step().step, run.step().step])).toEqual([0, 0, 0]);
  });

  it('shortens what several guess to what pays together', () => {
    const run = new ScriptedRun({ ...roomy, stepRowsMax: 64 }, parrot);
    for (let id = 0; id < 16; id += 1)
      run.submit(id, [...phrase, ...phrase].slice(id), { outputTokensMax: 100 });
    const { steps } = run.finish();
    for (const { tokens } of steps) expect(tokens.length).toBeLessThanOrEqual(64);
    const counts = steps.flatMap(({ sequences }) => sequences.map(({ draftTokens }) => draftTokens.length));
    expect(Math.max(...counts)).toBeGreaterThan(0);
  });
});

describe('a sequence that ends while it waits', () => {
  it('leaves nothing behind in the count of what waits', () => {
    const run = new ScriptedRun({ ...roomy, runningMax: 1, stages: 2 }, () => 7);
    run.submit(1, [1, 2, 3], { priority: 1, stopTokens: new Set([7]) });
    const inFlight = run.form();
    run.submit(2, [4, 5, 6], { outputTokensMax: 1 });
    const urgent = run.form();
    expect(firstServed([inFlight, urgent])).toEqual([1, 2]);
    expect(run.answer(inFlight)).toMatchObject([{ kind: 'end', id: 1, reason: 'stop' }]);
    run.answer(urgent);
    // The size of chunks follows from how many tokens wait: one more, and this prompt would be cut in two.
    run.submit(3, tokensFrom(0, 512));
    run.scheduler.reconfigure(roomy);
    expect(run.form().tokens).toHaveLength(512);
  });
});
