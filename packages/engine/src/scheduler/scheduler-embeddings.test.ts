import { greedySampling } from '@butterfly/wire';
import { describe, expect, it } from 'vitest';
import type { EngineModel } from '../types.js';
import { Scheduler } from './scheduler.js';
import type { PlannedStep, SchedulerConfig, SchedulerEvent, SchedulerRequest } from './scheduler-types.js';

const encoder: EngineModel = {
  generates: false,
  isEncoder: true,
  poolings: ['mean', 'cls', 'last'],
  usualPooling: 'mean',
};
const roomy: SchedulerConfig = { contextTokensMax: 4096, arenaSlots: 65_536, stages: 1, runningMax: 64 };
const text = (id: number, length: number, options: Partial<SchedulerRequest> = {}): SchedulerRequest => ({
  id,
  promptTokens: Int32Array.from({ length }, (_, i) => 1000 + i),
  outputTokensMax: 0,
  sampling: greedySampling,
  logprobs: null,
  promptLogprobs: null,
  stopTokens: new Set(),
  pooling: 'mean',
  priority: 0,
  nowMs: 0,
  deadlineMs: 1e9,
  ...options,
});
const chat = (id: number, length: number): SchedulerRequest =>
  text(id, length, { outputTokensMax: 16, pooling: null });

function next(scheduler: Scheduler): PlannedStep {
  const step = scheduler.nextStep(0);
  if (step === null) throw new Error('there should be a step');
  return step;
}

/** Completes a step: with a token for what samples, with the id as the embedding of what pools. */
function answer(scheduler: Scheduler, { stepId, sequences }: PlannedStep): SchedulerEvent[] {
  const outputs = sequences
    .filter(({ logitRows }) => logitRows > 0)
    .map(({ sequenceId, pooling }) =>
      pooling
        ? { sequenceId, tokens: new Int32Array(0), vector: Float32Array.of(sequenceId) }
        : { sequenceId, tokens: Int32Array.of(7) },
    );
  return scheduler.complete({ stepId, outputs }, 5);
}

const rowsOf = ({ sequences }: PlannedStep): [number, number, number][] =>
  sequences.map(({ sequenceId, rows, logitRows }) => [sequenceId, rows, logitRows]);
const kindsOf = ({ sequences }: PlannedStep): Set<boolean> =>
  new Set(sequences.map(({ pooling }) => Boolean(pooling)));

describe('texts of an encoder', () => {
  const config = { ...roomy, model: encoder };

  it('share a step as far as it holds them as a whole, in order', () => {
    const scheduler = new Scheduler(config);
    for (const [i, length] of [200, 200, 200, 1].entries()) scheduler.submit(text(i + 1, length));
    const first = next(scheduler);
    expect(rowsOf(first)).toEqual([
      [1, 200, 200],
      [2, 200, 200],
    ]);
    expect(answer(scheduler, first).map((event) => [event.kind, event.id])).toEqual([
      ['embedding', 1],
      ['embedding', 2],
    ]);
    expect(rowsOf(next(scheduler))).toEqual([
      [3, 200, 200],
      [4, 1, 1],
    ]);
  });

  it('run where the arena has no slot more than their tokens', () => {
    const scheduler = new Scheduler({ ...config, contextTokensMax: 512, arenaSlots: 512 });
    scheduler.submit(text(1, 512));
    expect(rowsOf(next(scheduler))).toEqual([[1, 512, 512]]);
  });

  it('find nothing cached, since nothing is', () => {
    const scheduler = new Scheduler(config);
    for (const id of [1, 2]) {
      scheduler.submit(text(id, 300));
      const step = next(scheduler);
      expect(rowsOf(step)).toEqual([[id, 300, 300]]);
      answer(scheduler, step);
    }
    expect(scheduler.cachedTokens(text(3, 300).promptTokens)).toBe(0);
    expect(scheduler.stats()).toMatchObject({ running: 0, waiting: 0, availableSlots: 65_536 });
  });

  it('are refused beyond what a step holds, and so are answers and scores', () => {
    const scheduler = new Scheduler(config);
    expect(() => scheduler.submit(text(1, 513))).toThrow(/513 tokens exceeds the 512 rows of one step/u);
    expect(() => scheduler.submit(text(1, 4097))).toThrow(/exceeds the context of 4096/u);
    expect(() => scheduler.submit(text(1, 0))).toThrow(/empty/u);
    expect(() => scheduler.submit(chat(1, 3))).toThrow(/gives embeddings and continues none/u);
    expect(() => scheduler.submit(text(1, 3, { pooling: 'rank' }))).toThrow(/no head that scores/u);
    const none = new Scheduler({ ...roomy, model: { ...encoder, poolings: [] } });
    expect(() => none.submit(text(1, 3))).toThrow(/No embeddings can be had/u);
  });

  it('are computed again after a loss, and only with the life that they have', () => {
    const scheduler = new Scheduler(config);
    scheduler.submit(text(1, 20));
    const lost = next(scheduler);
    scheduler.rewind();
    expect(answer(scheduler, lost)).toEqual([]);
    const again = next(scheduler);
    expect(rowsOf(again)).toEqual([[1, 20, 20]]);
    expect(answer(scheduler, again)).toMatchObject([
      { kind: 'embedding', id: 1, vector: Float32Array.of(1) },
    ]);
  });

  it('end without an embedding when cancelled, late, or of numbers that are none', () => {
    const scheduler = new Scheduler(config);
    for (const id of [1, 2, 3]) scheduler.submit(text(id, 5, id === 2 ? { deadlineMs: 10 } : {}));
    const step = next(scheduler);
    scheduler.cancel(1);
    expect(scheduler.expire(10)).toEqual([{ kind: 'expired', id: 2 }]);
    // The one whose deadline is near went first.
    const outputs = [2, 1].map((sequenceId) => ({
      sequenceId,
      tokens: new Int32Array(0),
      vector: Float32Array.of(1),
    }));
    const failed = { sequenceId: 3, tokens: new Int32Array(0) };
    expect(scheduler.complete({ stepId: step.stepId, outputs: [...outputs, failed] }, 11)).toEqual([
      { kind: 'failed', id: 3 },
    ]);
  });

  it('are not answered by tokens, nor prompts by embeddings', () => {
    const scheduler = new Scheduler(roomy);
    scheduler.submit(text(1, 20));
    const step = next(scheduler);
    const tokens = [{ sequenceId: 1, tokens: Int32Array.of(4) }];
    expect(() => scheduler.complete({ stepId: step.stepId, outputs: tokens }, 1)).toThrow(/does not answer/u);
    const other = new Scheduler(roomy);
    other.submit(chat(1, 20));
    const prompt = next(other);
    const vectors = [{ sequenceId: 1, tokens: new Int32Array(0), vector: Float32Array.of(1) }];
    expect(() => other.complete({ stepId: prompt.stepId, outputs: vectors }, 1)).toThrow(/does not answer/u);
  });
});

describe('texts of a model that continues them', () => {
  it('take turns with what is generated, in steps of their own', () => {
    const scheduler = new Scheduler(roomy);
    scheduler.submit(chat(1, 20));
    answer(scheduler, next(scheduler));
    for (let id = 2; id < 8; id++) scheduler.submit(text(id, 400));
    const steps: PlannedStep[] = [];
    for (let i = 0; i < 8; i++) {
      const step = next(scheduler);
      expect(kindsOf(step).size).toBe(1);
      steps.push(step);
      answer(scheduler, step);
    }
    const kinds = steps.map(({ sequences }) => Boolean(sequences[0]?.pooling));
    expect(kinds).toEqual([true, false, true, false, true, false, true, false]);
  });

  it('are cut into chunks where the last token is all that is pooled', () => {
    const scheduler = new Scheduler(roomy);
    scheduler.submit(text(1, 1300, { pooling: 'last' }));
    const chunks: [number, number][] = [];
    const events: SchedulerEvent[] = [];
    while (events.length === 0) {
      const step = next(scheduler);
      for (const { rows, logitRows } of step.sequences) chunks.push([rows, logitRows]);
      events.push(...answer(scheduler, step));
    }
    expect(chunks.reduce((sum, [rows]) => sum + rows, 0)).toBe(1300);
    expect(chunks.length).toBeGreaterThan(2);
    expect(chunks.slice(0, -1).every(([, logitRows]) => logitRows === 0)).toBe(true);
    expect(chunks.at(-1)?.[0]).toBe(chunks.at(-1)?.[1]);
    expect(() => scheduler.submit(text(2, 1300))).toThrow(/or pool by its last token/u);
  });

  it('depend on nothing that others cached', () => {
    const scheduler = new Scheduler(roomy);
    scheduler.submit(chat(1, 300));
    answer(scheduler, next(scheduler));
    scheduler.submit(text(2, 300, { pooling: 'last' }));
    const steps = [next(scheduler)];
    expect(steps[0]?.sequences[0]).toMatchObject({ sequenceId: 2, positionStart: 0, rows: 300 });
  });

  it('never go ahead of a token that will not come', () => {
    const scheduler = new Scheduler({ ...roomy, stages: 3, goesAhead: true });
    scheduler.submit(text(1, 20));
    next(scheduler);
    expect(scheduler.nextStep(0)).toBeNull();
  });
});
