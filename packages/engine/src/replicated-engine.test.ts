import { greedySampling } from '@butterfly/wire';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { EngineReplica } from './replicated-engine.js';
import { layerCount, reference } from './testing/fake-pipeline.js';
import { build, type FakeReplica } from './testing/fake-replica.js';
import type { GenerateEvent, GenerateRequest, Generation } from './types.js';

function request(seed: number, changes: Partial<GenerateRequest> = {}): GenerateRequest {
  return {
    promptTokens: Int32Array.from({ length: 1 + (seed % 9) }, (_, index) => (seed + index) % 5),
    outputTokensMax: 1 + (seed % 20),
    logprobs: null,
    promptLogprobs: null,
    sampling: { ...greedySampling, seed, repeatPenalty: seed % 3 === 0 ? 1.1 : 1 },
    stopTokens: new Set([seed % 64]),
    priority: 0,
    timeoutMs: 1e9,
    ...changes,
  };
}

/** All events of a stream that has ended. */
async function eventsOf(generation: Generation): Promise<GenerateEvent[]> {
  const events: GenerateEvent[] = [];
  for await (const event of generation) events.push(event);
  return events;
}

/** Requests that run or wait there. */
function countOf({ engine }: EngineReplica): number {
  return engine.stats().running + engine.stats().waiting;
}

function finish(replicas: readonly FakeReplica[]): void {
  for (let round = 0; round < 5_000; round += 1)
    for (const replica of replicas) replica.advance(round % layerCount);
}

describe('ReplicatedEngine', () => {
  it('loses, doubles and changes no token, wherever requests run and whenever replicas go down', async () => {
    const happening = fc.record({
      what: fc.constantFrom('submit', 'up', 'down', 'advance', 'advance', 'advance', 'advance', 'advance'),
      at: fc.nat(2),
      number: fc.nat(60),
    });
    await fc.assert(
      fc.asyncProperty(
        fc.array(happening, { minLength: 10, maxLength: 400, size: 'max' }),
        async (happenings) => {
          const { clock, replicas, engine } = build(3);
          const asked: { readonly seed: number; readonly generation: Generation }[] = [];
          for (const { what, at, number } of happenings) {
            clock.jump(1);
            const replica = replicas[at];
            if (what === 'submit') asked.push({ seed: number, generation: engine.submit(request(number)) });
            if (what === 'advance')
              for (let count = 0; count < 5; count += 1) replica?.advance(number + count);
            // A request that saw too many epochs end would be given up, which is not what is tested here.
            if (what === 'down' && replica?.state === 'live' && number < 15) replica.down();
            if (what === 'up' && replica?.state === 'down') replica.up(1 + (number % layerCount));
            if (what === 'up' || what === 'down') engine.spread();
          }
          for (const replica of replicas) if (replica.state === 'down') replica.up(2);
          engine.spread();
          finish(replicas);
          expect(engine.isIdle).toBe(true);
          for (const { seed, generation } of asked) {
            const events = await eventsOf(generation);
            if (events.at(-1)?.kind === 'error') continue;
            const wanted = reference({ ...request(seed), id: 0, nowMs: 0, deadlineMs: 0 });
            expect(events.flatMap((event) => (event.kind === 'token' ? [event.token] : []))).toEqual(
              wanted.tokens,
            );
            expect(events.at(-1)).toMatchObject({ kind: 'end', reason: wanted.reason });
          }
        },
      ),
      { numRuns: 200 },
    );
  });

  it('tells of a moved request what is true of all of it', async () => {
    const { clock, replicas, engine } = build(2);
    const [first, second] = replicas;
    first?.up(1);
    const generation = engine.submit(request(19, { stopTokens: new Set() }));
    clock.jump(5);
    for (let count = 0; count < 4; count += 1) first?.advance(0);
    clock.jump(100);
    second?.up(1);
    engine.spread();
    expect(second?.steps).toBe(0);
    first?.down();
    engine.spread();
    clock.jump(7);
    finish(replicas);
    const events = await eventsOf(generation);
    expect(events.filter(({ kind }) => kind === 'token')).toHaveLength(20);
    expect(events.at(-1)).toEqual({
      kind: 'end',
      reason: 'length',
      timing: { queuedMs: 0, firstTokenMs: 5, totalMs: 112 },
      cachedPromptTokens: 0,
    });
    expect(second?.steps).toBeGreaterThan(0);
  });

  it('gives a request to whoever will be done soonest, and counts a cached prompt as a request less', () => {
    const { replicas, engine } = build(3);
    const [slow, fast, dead] = replicas;
    slow?.up(1, 10);
    fast?.up(1, 25);
    for (let seed = 0; seed < 7; seed += 1) {
      engine.submit(request(60 + seed, { outputTokensMax: 20, stopTokens: new Set() }));
      for (const replica of replicas) replica.advance(0);
    }
    expect(replicas.map(countOf)).toEqual([2, 5, 0]);
    dead?.up(1, 1000);
    engine.spread();
    // Those that run stay, and those that wait go where there is room.
    expect(replicas.map(countOf)).toEqual([2, 3, 2]);
  });

  it('fills a replica that came back with new requests, and leaves those that run where they are', () => {
    const { replicas, engine } = build(2);
    const [first, second] = replicas;
    for (const replica of replicas) replica.up(1);
    const submit = (seed: number): void => {
      engine.submit(request(60 + seed, { outputTokensMax: 20, stopTokens: new Set() }));
      for (const replica of replicas) replica.advance(0);
    };
    for (let seed = 0; seed < 2; seed += 1) submit(seed);
    second?.down();
    engine.spread();
    for (let count = 0; count < 4; count += 1) first?.advance(0);
    second?.up(1);
    engine.spread();
    expect(replicas.map(countOf)).toEqual([2, 0]);
    const before = first?.engine.stats().running;
    for (let seed = 2; seed < 4; seed += 1) submit(seed);
    expect([replicas.map(countOf), first?.engine.stats().running]).toEqual([[2, 2], before]);
  });

  it('sends a prompt to where it was computed before', async () => {
    const { replicas, engine } = build(2);
    for (const replica of replicas) replica.up(1);
    const promptTokens = Int32Array.from({ length: 20 }, (_, index) => index);
    const other = request(1, { promptTokens: Int32Array.of(60), outputTokensMax: 10, stopTokens: new Set() });
    const same = request(2, { promptTokens, outputTokensMax: 4, stopTokens: new Set() });
    const busy = engine.submit(other);
    const before = engine.submit(same);
    finish(replicas);
    await Promise.all([eventsOf(busy), eventsOf(before)]);
    const again = engine.submit(same);
    finish(replicas);
    expect((await eventsOf(again)).at(-1)).toMatchObject({ kind: 'end', cachedPromptTokens: 19 });
  });

  it('cancels a request where it is now', () => {
    const { replicas, engine } = build(2);
    replicas[0]?.up(1);
    const generation = engine.submit(request(19));
    replicas[0]?.down();
    replicas[1]?.up(1);
    engine.spread();
    expect(replicas[1]?.engine.isIdle).toBe(false);
    generation.cancel();
    expect(engine.isIdle).toBe(true);
    expect(replicas[1]?.engine.stats()).toMatchObject({ running: 0, waiting: 0 });
  });

  it('leaves requests with a replica that will be live in a moment', () => {
    const { replicas, engine } = build(2);
    const [first] = replicas;
    for (const replica of replicas) replica.up(1);
    for (const seed of [60, 61, 62, 63]) engine.submit(request(seed));
    first?.down();
    if (first) first.state = 'starting';
    engine.spread();
    expect(replicas.map(countOf)).toEqual([2, 2]);
    first?.down();
    engine.spread();
    expect(replicas.map(countOf)).toEqual([0, 4]);
  });

  it.each([
    [0, true],
    // 40 rows are 1.6 s on their way.
    [40_000, false],
  ])('waits as long for a step as its rows are on their way: %i us each', (rowMicros, isStalled) => {
    const { clock, replicas, engine } = build(1);
    const [replica] = replicas;
    replica?.up(1);
    if (replica) replica.rowMicros = rowMicros;
    engine.submit(request(1, { promptTokens: new Int32Array(40), outputTokensMax: 4 }));
    for (let ticks = 0; ticks < 100; ticks += 1) clock.jump(100);
    expect((replica?.stalls ?? 0) > 0).toBe(isStalled);
  });

  it('lets requests wait while nothing is live, until their deadline', async () => {
    const { clock, replicas, engine } = build(2);
    const generation = engine.submit(request(19, { timeoutMs: 500 }));
    expect(engine.status()).toMatchObject({ ready: false, detail: 'as it is', running: 0, queued: 1 });
    replicas[0]?.up(1);
    replicas[0]?.down();
    engine.spread();
    for (let ticks = 0; ticks < 6; ticks += 1) clock.jump(100);
    const [event] = await eventsOf(generation);
    expect(event).toMatchObject({ kind: 'error', error: { code: 'CLUSTER_NOT_READY' } });
  });

  it('waits with its end for requests that move meanwhile, and leaves no timer behind', async () => {
    const { clock, replicas, engine } = build(2);
    for (const replica of replicas) replica.up(1);
    const generation = engine.submit(request(19, { stopTokens: new Set() }));
    const drained = engine.drain(10_000);
    expect(() => engine.submit(request(1))).toThrow(/shutting down/);
    replicas[0]?.down();
    engine.spread();
    finish(replicas);
    await drained;
    expect((await eventsOf(generation)).at(-1)).toMatchObject({ kind: 'end', reason: 'length' });
    expect(clock.waiting).toBe(0);
  });

  it('ends what is not done in time with an error', async () => {
    const { clock, engine } = build(2);
    const generation = engine.submit(request(19));
    const drained = engine.drain(1_000);
    clock.jump(1_000);
    await drained;
    expect(await eventsOf(generation)).toMatchObject([{ kind: 'error', error: { code: 'CANCELLED' } }]);
    expect(clock.waiting).toBe(0);
  });
});
