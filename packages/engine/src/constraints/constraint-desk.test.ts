import { describe, expect, it } from 'vitest';
import { ButterflyError, limits } from '@butterfly/common';
import { SimulatedClock } from '@butterfly/testkit';
import { greedySampling } from '@butterfly/wire';
import { GenerationStream } from '../generation.js';
import type { GenerateEvent, Generation } from '../types.js';
import { ConstraintDesk, type NumberedRequest } from './constraint-desk.js';

const request = {
  promptTokens: Int32Array.of(1),
  outputTokensMax: 8,
  logprobs: null,
  promptLogprobs: null,
  sampling: greedySampling,
  stopTokens: new Set([5]),
  priority: 0,
  timeoutMs: 1_000,
} as const;
const json = { kind: 'json' } as const;
const end: GenerateEvent = {
  kind: 'end',
  reason: 'stop',
  timing: { queuedMs: 0, firstTokenMs: 0, totalMs: 0 },
  cachedPromptTokens: 0,
};

/** A desk whose stages answer when they are told to. */
class Counter {
  readonly begun: { readonly request: NumberedRequest; readonly stream: GenerationStream }[] = [];
  readonly dropped: number[] = [];
  readonly answers: { readonly ready: () => void; readonly refuse: (error: ButterflyError) => void }[] = [];
  cancelled = 0;
  isReady = false;
  readonly desk = new ConstraintDesk({
    clock: new SimulatedClock(),
    stopTokens: () => Int32Array.of(2),
    stages: {
      prepare: () =>
        this.isReady ? null : new Promise((ready, refuse) => this.answers.push({ ready, refuse })),
      drop: (id) => this.dropped.push(id),
    },
  });

  submit(pattern?: string): Generation {
    const constraint = pattern === undefined ? json : ({ kind: 'regex', pattern } as const);
    return this.desk.submit({ ...request, constraint }, (numbered) => {
      const stream = new GenerationStream(() => this.cancelled++);
      this.begun.push({ request: numbered, stream });
      return stream;
    });
  }
}

async function eventsOf(generation: Generation): Promise<GenerateEvent['kind'][]> {
  const kinds: GenerateEvent['kind'][] = [];
  for await (const event of generation) kinds.push(event.kind);
  return kinds;
}

const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('the desk of constraints', () => {
  it('begins a request when its constraint is ready, with all tokens that end answers', async () => {
    const counter = new Counter();
    const events = eventsOf(counter.submit());
    await settle();
    expect(counter.begun).toHaveLength(0);
    expect(counter.desk.inUse()).toMatchObject([{ id: 1 }]);
    counter.answers[0]?.ready();
    await settle();
    expect(counter.begun[0]?.request).toMatchObject({ constraintId: 1, stopTokens: new Set([5, 2]) });
    counter.begun[0]?.stream.push({ kind: 'token', token: 3 });
    counter.begun[0]?.stream.push(end);
    expect(await events).toEqual(['token', 'end']);
    expect(counter.desk.inUse()).toEqual([]);
  });

  it('ends a request whose constraint is refused, also when it runs', async () => {
    const counter = new Counter();
    const waiting = eventsOf(counter.submit());
    counter.answers[0]?.refuse(new ButterflyError('COMPUTE_FAILED', 'No.'));
    expect(await waiting).toEqual(['error']);
    counter.isReady = true;
    const running = eventsOf(counter.submit());
    await settle();
    counter.desk.refuse(1, new ButterflyError('COMPUTE_FAILED', 'No.'));
    expect(await running).toEqual(['error']);
    expect(counter.cancelled).toBe(1);
  });

  it('begins nothing for a request that was cancelled while it waited', async () => {
    const counter = new Counter();
    const generation = counter.submit();
    generation.cancel();
    counter.answers[0]?.ready();
    await settle();
    expect(counter.begun).toHaveLength(0);
    expect(counter.desk.inUse()).toEqual([]);
  });

  it('refuses at once what answers cannot be held to', () => {
    const counter = new Counter();
    expect(() => counter.submit('(?=a)')).toThrow('no look-around');
    expect(() =>
      counter.desk.submit(
        { ...request, outputTokensMax: limits.constraintTokensMax + 1, constraint: json },
        () => {
          throw new Error('It began.');
        },
      ),
    ).toThrow('at most');
  });

  it('keeps some that nobody uses, and gives one number to one constraint', async () => {
    const counter = new Counter();
    counter.isReady = true;
    for (let index = 0; index <= limits.constraintsKeptMax; index++) {
      const events = eventsOf(counter.submit(`a${index}`));
      await settle();
      counter.begun.at(-1)?.stream.push(end);
      await events;
    }
    expect(counter.dropped).toEqual([1]);
    void eventsOf(counter.submit('a1'));
    await settle();
    expect(counter.begun.at(-1)?.request.constraintId).toBe(2);
  });
});
