import { ButterflyError, type ErrorCode, limits } from '@butterfly/common';
import { greedySampling } from '@butterfly/wire';
import { describe, expect, it } from 'vitest';
import { Scheduler } from './scheduler.js';
import type { PlannedStep, SchedulerConfig, SchedulerEvent, SchedulerRequest } from './scheduler-types.js';

const roomy: SchedulerConfig = { contextTokensMax: 4096, arenaSlots: 65_536, stages: 1, runningMax: 64 };

function request(
  id: number,
  promptLength: number,
  options: Partial<SchedulerRequest> = {},
): SchedulerRequest {
  return {
    id,
    promptTokens: Int32Array.from({ length: promptLength }, (_, index) => 1000 + index),
    outputTokensMax: 16,
    logprobs: null,
    promptLogprobs: null,
    sampling: greedySampling,
    stopTokens: new Set([2]),
    priority: 0,
    nowMs: 0,
    deadlineMs: 1e9,
    ...options,
  };
}

function next(scheduler: Scheduler, nowMs = 0): PlannedStep {
  const step = scheduler.nextStep(nowMs);
  if (step === null) throw new Error('there should be a step');
  return step;
}

/** Completes the step with the same token for everything that it samples. */
function answer(scheduler: Scheduler, step: PlannedStep, token = 7, nowMs = 0): SchedulerEvent[] {
  const outputs = step.sequences
    .filter(({ sampling }) => sampling !== null)
    .map(({ sequenceId }) => ({ sequenceId, tokens: Int32Array.of(token) }));
  return scheduler.complete({ stepId: step.stepId, outputs }, nowMs);
}

const shape = (step: PlannedStep): [number, number][] =>
  step.sequences.map(({ sequenceId, rows }) => [sequenceId, rows]);

function codeOf(action: () => unknown): ErrorCode | undefined {
  try {
    action();
  } catch (error) {
    if (error instanceof ButterflyError) return error.code;
    throw error;
  }
  return undefined;
}

describe('submit', () => {
  it('refuses what can never run', () => {
    const scheduler = new Scheduler(roomy);
    expect(codeOf(() => scheduler.submit(request(1, 0)))).toBe('CONTEXT_EXCEEDED');
    expect(codeOf(() => scheduler.submit(request(1, 4081)))).toBe('CONTEXT_EXCEEDED');
    expect(codeOf(() => scheduler.submit(request(1, 1, { outputTokensMax: -1 })))).toBe('REQUEST_INVALID');
    expect(codeOf(() => scheduler.submit(request(1, 4080)))).toBeUndefined();
    expect(codeOf(() => scheduler.submit(request(1, 1)))).toBe('INTERNAL');
    expect(scheduler.stats()).toEqual({ running: 0, waiting: 1, inFlight: 0, availableSlots: 65_536 });
  });

  it('bounds the queue of those that wait', () => {
    const scheduler = new Scheduler({ ...roomy, runningMax: 1 });
    for (let id = 0; id < limits.queuedRequestsMax; id += 1) scheduler.submit(request(id, 4));
    expect(codeOf(() => scheduler.submit(request(9999, 4)))).toBe('QUEUE_FULL');
    next(scheduler);
    expect(codeOf(() => scheduler.submit(request(9999, 4)))).toBeUndefined();
    expect(scheduler.stats()).toMatchObject({ running: 1, waiting: limits.queuedRequestsMax });
  });
});

describe('nextStep', () => {
  it.each([
    [1, [416, 416, 368]],
    [2, [...new Array<number>(7).fill(160), 80]],
    [4, [...new Array<number>(12).fill(96), 48]],
  ])('cuts a prompt into even chunks that soon give each of %i stages one', (stages, chunks) => {
    const scheduler = new Scheduler({ ...roomy, stages });
    scheduler.submit(request(1, 1200));
    const rows: number[] = [];
    const queue: PlannedStep[] = [];
    while (rows.reduce((a, b) => a + b, 0) < 1200) {
      const step = scheduler.nextStep(0);
      if (step) {
        queue.push(step);
        rows.push(step.tokens.length);
      } else {
        expect(queue).toHaveLength(stages);
        for (const oldest of queue.splice(0, 1)) expect(answer(scheduler, oldest)).toEqual([]);
      }
    }
    expect(rows).toEqual(chunks);
    expect(queue.at(-1)?.sequences[0]?.logitRows).toBe(1);
  });

  it('puts decode rows first and prompts in order of arrival into the rest', () => {
    const scheduler = new Scheduler({ ...roomy, stepRowsMax: 104 });
    for (const id of [1, 2]) scheduler.submit(request(id, 10));
    answer(scheduler, next(scheduler));
    scheduler.submit(request(3, 98));
    scheduler.submit(request(4, 150));
    expect(shape(next(scheduler))).toEqual([
      [1, 1],
      [2, 1],
      [3, 98],
    ]);
    expect(scheduler.nextStep(0)).toBeNull();
  });

  it('deals decoding sequences out to as many steps as there are stages', () => {
    const scheduler = new Scheduler({ ...roomy, stages: 3 });
    for (let id = 0; id < 7; id += 1) scheduler.submit(request(id, 5));
    answer(scheduler, next(scheduler));
    const round = [next(scheduler), next(scheduler), next(scheduler)];
    expect(round.map(({ sequences }) => sequences.map(({ sequenceId }) => sequenceId))).toEqual([
      [0, 1, 2],
      [3, 4, 5],
      [6],
    ]);
    expect(scheduler.nextStep(0)).toBeNull();
    expect(scheduler.stats().inFlight).toBe(3);
    const [first] = round;
    if (first) answer(scheduler, first);
    expect(shape(next(scheduler))).toEqual([
      [0, 1],
      [1, 1],
      [2, 1],
    ]);
  });

  it('serves the least recently served first', () => {
    const scheduler = new Scheduler({ ...roomy, stages: 2 });
    for (const id of [1, 2, 3]) scheduler.submit(request(id, 4));
    answer(scheduler, next(scheduler));
    const [first, second] = [next(scheduler), next(scheduler)];
    answer(scheduler, first);
    const third = next(scheduler);
    answer(scheduler, second);
    answer(scheduler, third);
    expect([shape(second), shape(third)]).toEqual([
      [[3, 1]],
      [
        [1, 1],
        [2, 1],
      ],
    ]);
    expect(shape(next(scheduler))).toEqual([
      [3, 1],
      [1, 1],
    ]);
  });

  it('sends the last 64 tokens where a penalty needs them, and only with a row that is sampled', () => {
    const scheduler = new Scheduler({ ...roomy, stepRowsMax: 100 });
    scheduler.submit(request(1, 150, { sampling: { ...greedySampling, presencePenalty: 0.5 } }));
    scheduler.submit(request(2, 20));
    const first = next(scheduler);
    expect(first.sequences[0]).toMatchObject({
      sampling: null,
      logitRows: 0,
      recentTokens: new Int32Array(0),
    });
    answer(scheduler, first);
    const second = next(scheduler);
    expect(second.sequences[0]?.recentTokens).toEqual(
      Int32Array.from({ length: 64 }, (_, index) => 1086 + index),
    );
    expect(second.sequences[1]?.recentTokens).toEqual(new Int32Array(0));
    answer(scheduler, second);
    expect(
      next(scheduler)
        .sequences.find(({ sequenceId }) => sequenceId === 1)
        ?.recentTokens.at(-1),
    ).toBe(7);
  });

  it('leaves room for the growth of those that run before it lets others in', () => {
    const scheduler = new Scheduler({ ...roomy, contextTokensMax: 1024, arenaSlots: 1024 });
    scheduler.submit(request(1, 255, { outputTokensMax: 300 }));
    scheduler.submit(request(2, 600));
    expect(shape(next(scheduler))).toEqual([[1, 255]]);
    expect(scheduler.stats()).toMatchObject({ running: 1, waiting: 1 });
  });
});

describe('a full arena', () => {
  const tight: SchedulerConfig = {
    contextTokensMax: 10,
    arenaSlots: 10,
    arenaGranularity: 2,
    stages: 3,
    runningMax: 8,
  };

  /** Sequence 2 has a decode step in flight and has just lost its region to the growth of sequence 1. */
  function preempted(): { scheduler: Scheduler; young: PlannedStep; old: PlannedStep } {
    const scheduler = new Scheduler(tight);
    scheduler.submit(request(1, 2, { outputTokensMax: 8 }));
    scheduler.submit(request(2, 3, { outputTokensMax: 7 }));
    answer(scheduler, next(scheduler));
    for (const step of [next(scheduler), next(scheduler)]) answer(scheduler, step);
    const first = next(scheduler);
    const young = next(scheduler);
    expect([shape(first), shape(young)]).toEqual([[[1, 1]], [[2, 1]]]);
    expect(scheduler.stats()).toMatchObject({ running: 2, availableSlots: 0 });
    answer(scheduler, first);
    const old = next(scheduler);
    expect(shape(old)).toEqual([[1, 1]]);
    expect(scheduler.stats()).toMatchObject({ running: 1, waiting: 1, availableSlots: 4 });
    return { scheduler, young, old };
  }

  it('moves the youngest out, whose token on its way still counts', () => {
    const { scheduler, young } = preempted();
    expect(answer(scheduler, young, 42)).toEqual([{ kind: 'token', id: 2, token: 42 }]);
    scheduler.cancel(1);
    const step = next(scheduler);
    expect(step.sequences).toMatchObject([{ sequenceId: 2, positionStart: 0, rows: 6, logitRows: 1 }]);
    expect(step.tokens).toEqual(Int32Array.of(1000, 1001, 1002, 7, 7, 42));
  });

  it('takes a position that is computed twice only once', () => {
    const { scheduler, young, old } = preempted();
    scheduler.cancel(1);
    const again = next(scheduler);
    expect(again.sequences).toMatchObject([{ sequenceId: 2, positionStart: 0, rows: 5, logitRows: 1 }]);
    expect(answer(scheduler, young, 42)).toEqual([]);
    expect(answer(scheduler, old)).toEqual([]);
    expect(answer(scheduler, again, 42)).toEqual([{ kind: 'token', id: 2, token: 42 }]);
    expect(next(scheduler).tokens).toEqual(Int32Array.of(42));
  });
});

describe('complete', () => {
  it('ends at the requested length, with times', () => {
    const scheduler = new Scheduler(roomy);
    scheduler.submit(request(1, 3, { outputTokensMax: 2, nowMs: 100 }));
    expect(answer(scheduler, next(scheduler, 110), 7, 125)).toEqual([{ kind: 'token', id: 1, token: 7 }]);
    expect(answer(scheduler, next(scheduler, 130), 8, 150)).toEqual([
      { kind: 'token', id: 1, token: 8 },
      {
        kind: 'end',
        id: 1,
        reason: 'length',
        timing: { queuedMs: 10, firstTokenMs: 25, totalMs: 50 },
        cachedPromptTokens: 0,
      },
    ]);
    expect(scheduler.stats()).toMatchObject({ running: 0, waiting: 0, inFlight: 0, availableSlots: 65_536 });
  });

  it('ends at a stop token, which is no output, and frees the region at once', () => {
    const scheduler = new Scheduler(roomy);
    scheduler.submit(request(1, 3, { outputTokensMax: 1 }));
    expect(answer(scheduler, next(scheduler), 2)).toMatchObject([{ kind: 'end', id: 1, reason: 'stop' }]);
    expect(scheduler.stats().availableSlots).toBe(65_536);
  });

  it('refuses results that do not answer their step, and ignores those of forgotten steps', () => {
    const scheduler = new Scheduler({ ...roomy, stages: 2 });
    for (const id of [1, 2]) scheduler.submit(request(id, 3));
    answer(scheduler, next(scheduler));
    const [first, second] = [next(scheduler), next(scheduler)];
    const outputs = [{ sequenceId: 1, tokens: Int32Array.of(7) }];
    for (const wrong of [
      { stepId: second.stepId, outputs: [{ sequenceId: 2, tokens: Int32Array.of(7) }] },
      { stepId: first.stepId, outputs: [] },
      { stepId: first.stepId, outputs: [{ sequenceId: 2, tokens: Int32Array.of(7) }] },
      { stepId: first.stepId, outputs: [{ sequenceId: 1, tokens: Int32Array.of(7, 7) }] },
      { stepId: first.stepId, outputs: [...outputs, ...outputs] },
    ])
      expect(codeOf(() => scheduler.complete(wrong, 0))).toBe('PROTOCOL_INVALID');
    expect(scheduler.stats().inFlight).toBe(2);
    scheduler.rewind();
    expect(scheduler.complete({ stepId: first.stepId, outputs }, 0)).toEqual([]);
    expect(shape(next(scheduler))).toEqual([
      [1, 4],
      [2, 4],
    ]);
  });
});

describe('reconfigure', () => {
  it.each([
    { ...roomy, stages: 0 },
    { ...roomy, runningMax: 1.5 },
    { ...roomy, stepRowsMax: limits.stepRowsMax + 1 },
    { ...roomy, contextTokensMax: 1000, arenaSlots: 1000 },
  ])('refuses a configuration that cannot work: %o', (config) => {
    expect(codeOf(() => new Scheduler(config))).toBe('CONFIG_INVALID');
  });

  it('never strands a living sequence, and else starts it anew', () => {
    const scheduler = new Scheduler(roomy);
    scheduler.submit(request(1, 500));
    answer(scheduler, next(scheduler));
    expect(codeOf(() => scheduler.reconfigure({ ...roomy, contextTokensMax: 515 }))).toBe('CONFIG_INVALID');
    expect(shape(next(scheduler))).toEqual([[1, 1]]);
    scheduler.reconfigure({ ...roomy, contextTokensMax: 516, arenaSlots: 1024, stepRowsMax: 400 });
    expect(scheduler.stats()).toMatchObject({ running: 0, waiting: 1, inFlight: 0, availableSlots: 1024 });
    expect([shape(next(scheduler)), scheduler.nextStep(0)]).toEqual([[[1, 256]], null]);
  });
});
