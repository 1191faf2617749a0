import { limits } from '@butterfly/common';
import { type Logprobs, type StepOutput, greedySampling } from '@butterfly/wire';
import { describe, expect, it } from 'vitest';
import { tokensFrom } from '../testing/scripted-run.js';
import { Scheduler } from './scheduler.js';
import type { PlannedStep, SchedulerConfig, SchedulerEvent, SchedulerRequest } from './scheduler-types.js';

const config: SchedulerConfig = { contextTokensMax: 1024, arenaSlots: 8192, stages: 1, runningMax: 8 };

const request = (id: number, change: Partial<SchedulerRequest>): SchedulerRequest => ({
  id,
  promptTokens: Int32Array.from(tokensFrom(1000 * id, 300)),
  outputTokensMax: 2,
  sampling: greedySampling,
  logprobs: null,
  promptLogprobs: null,
  stopTokens: new Set(),
  priority: 0,
  nowMs: id,
  deadlineMs: 1e9,
  ...change,
});

/** Each token has minus itself for a log probability, and nothing beside it. */
const logprobsOf = (tokens: Int32Array): Logprobs => ({
  alternatives: 0,
  chosen: Float32Array.from(tokens, (token) => -token),
  topTokens: new Int32Array(0),
  topValues: new Float32Array(0),
});

function outputsOf({ sequences }: PlannedStep): StepOutput[] {
  return sequences.flatMap(({ sequenceId, sampling, scored, logprobs }) => {
    if (sampling === null && scored === null) return [];
    const tokens = sampling ? Int32Array.of(77) : new Int32Array(0);
    return [
      {
        sequenceId,
        tokens,
        ...(logprobs !== null && { logprobs: logprobsOf(tokens) }),
        ...(scored && { scored: logprobsOf(scored.tokens) }),
      },
    ];
  });
}

/** All steps to the end, and what was told. */
function finish(scheduler: Scheduler): { steps: PlannedStep[]; events: SchedulerEvent[] } {
  const steps: PlannedStep[] = [];
  const events: SchedulerEvent[] = [];
  for (let step = scheduler.nextStep(0); step; step = scheduler.nextStep(0)) {
    steps.push(step);
    events.push(...scheduler.complete({ stepId: step.stepId, outputs: outputsOf(step) }, 0));
  }
  return { steps, events };
}

/** What was told of the prompt of a request, in order. */
const promptOf = (events: readonly SchedulerEvent[], id: number): (readonly [number, number | undefined])[] =>
  events.flatMap((event) =>
    event.kind === 'promptToken' && event.id === id ? [[event.token, event.logprobs?.logprob] as const] : [],
  );

const wholePrompt = (id: number): (readonly [number, number | undefined])[] =>
  tokensFrom(1000 * id, 300).map((token, i) => [token, i === 0 ? undefined : -token] as const);

describe('prompts that are scored', () => {
  it('go in parts, beside others, and no step scores more rows than one may', () => {
    const scheduler = new Scheduler(config);
    scheduler.submit(request(1, { promptLogprobs: 0 }));
    scheduler.submit(request(2, { promptLogprobs: 0, outputTokensMax: 0 }));
    scheduler.submit(request(3, {}));
    const { steps, events } = finish(scheduler);
    const scoredRows = steps.map(({ sequences }) =>
      sequences.reduce((sum, { scored }) => sum + (scored?.tokens.length ?? 0), 0),
    );
    expect(Math.max(...scoredRows)).toBe(limits.scoredRowsMax);
    expect(scoredRows.reduce((sum, rows) => sum + rows, 0)).toBe(2 * 299);
    // The one that is not scored does not wait for them.
    expect(steps[0]?.sequences.map(({ sequenceId, rows }) => [sequenceId, rows])).toEqual([
      [1, 128],
      [3, 300],
    ]);
    // The first part of each reaches a whole tile of attention.
    for (const { sequences } of steps)
      for (const { positionStart, rows } of sequences)
        if (positionStart === 0) expect(rows).toBeGreaterThanOrEqual(64);
    for (const id of [1, 2]) expect(promptOf(events, id)).toEqual(wholePrompt(id));
    expect(promptOf(events, 3)).toEqual([]);
    const tokens = events.filter(({ kind }) => kind === 'token').map(({ id }) => id);
    expect(tokens.toSorted((a, b) => a - b)).toEqual([1, 1, 3, 3]);
    expect(events.filter(({ kind }) => kind === 'end')).toHaveLength(3);
  });

  it('are told on from where they were when everything was lost', () => {
    const scheduler = new Scheduler(config);
    scheduler.submit(request(1, { promptLogprobs: 0 }));
    const first = scheduler.nextStep(0);
    if (!first) throw new RangeError('there should be a step');
    const before = scheduler.complete({ stepId: first.stepId, outputs: outputsOf(first) }, 0);
    expect(promptOf(before, 1)).toEqual(wholePrompt(1).slice(0, 129));
    scheduler.nextStep(0);
    scheduler.rewind();
    const { steps, events } = finish(scheduler);
    expect([...promptOf(before, 1), ...promptOf(events, 1)]).toEqual(wholePrompt(1));
    // Rows are computed again, and only those that are wanted are scored again.
    expect(steps[0]?.sequences[0]?.positionStart).toBe(0);
    expect(steps[0]?.sequences[0]?.scored?.tokens[0]).toBe(1000 + 129);
  });

  it('are not believed without all of their scores', () => {
    const scheduler = new Scheduler(config);
    scheduler.submit(request(1, { promptLogprobs: 0, logprobs: 0 }));
    const step = scheduler.nextStep(0);
    if (!step) throw new RangeError('there should be a step');
    const [output] = outputsOf(step);
    const scored = logprobsOf(Int32Array.from(tokensFrom(0, 127)));
    const wrong: StepOutput[][] = [
      [],
      [{ sequenceId: 1, tokens: new Int32Array(0), scored }],
      [{ sequenceId: 1, tokens: Int32Array.of(77), ...(output?.scored && { scored: output.scored }) }],
    ];
    for (const outputs of wrong)
      expect(() => scheduler.complete({ stepId: step.stepId, outputs }, 0)).toThrow(/does not answer it/);
    expect(scheduler.complete({ stepId: step.stepId, outputs: output ? [output] : [] }, 0)).toHaveLength(129);
  });
});

describe('breakers of DRY', () => {
  it('come with a step as far as they begin with a token in sight', () => {
    const scheduler = new Scheduler(config);
    const breakers = [[3], [500], [5, 900], [4, 6]].map((tokens) => Int32Array.from(tokens));
    const dry = { multiplier: 1, base: 2, allowedLength: 2, lastN: 3, breakers };
    const promptTokens = Int32Array.of(4, 3, 9, 5);
    scheduler.submit(request(1, { promptTokens, sampling: { ...greedySampling, dry } }));
    const [sequence] = scheduler.nextStep(0)?.sequences ?? [];
    expect(sequence?.recentTokens).toEqual(Int32Array.of(3, 9, 5));
    expect(sequence?.sampling?.dry).toEqual({ ...dry, breakers: [Int32Array.of(3), Int32Array.of(5, 900)] });
  });
});
