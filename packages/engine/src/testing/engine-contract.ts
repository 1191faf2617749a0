import { setImmediate as nextTurn } from 'node:timers/promises';
import { greedySampling } from '@butterfly/wire';
import { describe, expect, it } from 'vitest';
import type { Engine, GenerateEvent, GenerateRequest, Generation } from '../types.js';

/** An engine that is ready, and the way to let it work. */
export interface EngineWorld {
  readonly engine: Engine;
  /** Lets it do a little; nothing for one that works by itself. */
  work(): void;
}

/** What every `Engine` does; `createWorld` is called in each test. Each prompt must give five tokens or more, if they are asked for. */
export function describeEngine(name: string, createWorld: () => EngineWorld): void {
  describe(`an engine: ${name}`, () => {
    it('says that it is ready, and that nothing runs', () => {
      const status = createWorld().engine.status();
      expect(status).toMatchObject({ ready: true, running: 0, queued: 0 });
      expect(typeof status.detail).toBe('string');
      expect(status.retryAfterMs).toBeGreaterThanOrEqual(0);
    });

    it('gives tokens, then one end, and no more of them than were asked for', async () => {
      const world = createWorld();
      for (const outputTokensMax of [1, 3]) {
        const events = await eventsOf(world, world.engine.submit(request({ outputTokensMax })));
        expect(events.map(({ kind }) => kind)).toEqual([
          ...Array<string>(outputTokensMax).fill('token'),
          'end',
        ]);
        const end = events.at(-1);
        expect(end).toMatchObject({ reason: 'length' });
        if (end?.kind !== 'end') throw new RangeError('it ended otherwise');
        expect(end.cachedPromptTokens).toBeGreaterThanOrEqual(0);
        for (const ms of Object.values(end.timing)) expect(ms).toBeGreaterThanOrEqual(0);
      }
      expect(loadOf(world.engine)).toBe(0);
    });

    it('says nothing where no output is asked for, and ends for that reason', async () => {
      const world = createWorld();
      const promptTokens = new Int32Array(world.engine.contextTokensMax).fill(1);
      for (const change of [{}, { promptTokens }, { promptTokens: Int32Array.of(1) }]) {
        const events = await eventsOf(world, world.engine.submit(request({ ...change, outputTokensMax: 0 })));
        expect(events).toEqual([expect.objectContaining({ kind: 'end', reason: 'length' })]);
      }
      expect(loadOf(world.engine)).toBe(0);
    });

    it('ends before a stop token, which it keeps to itself', async () => {
      const world = createWorld();
      const said = tokensOf(await eventsOf(world, world.engine.submit(request())));
      const stop = said[2] ?? -1;
      const events = await eventsOf(world, world.engine.submit(request({ stopTokens: new Set([stop]) })));
      expect(tokensOf(events)).toEqual(said.slice(0, said.indexOf(stop)));
      expect(events.at(-1)).toMatchObject({ kind: 'end', reason: 'stop' });
    });

    it('goes on behind output that is known, and tells only what is new', async () => {
      const world = createWorld();
      const whole = await eventsOf(world, world.engine.submit(request()));
      const said = tokensOf(whole);
      for (const known of [0, 1, said.length - 1]) {
        const knownOutput = Int32Array.from(said.slice(0, known));
        const events = await eventsOf(world, world.engine.submit(request({ knownOutput })));
        expect(tokensOf(events)).toEqual(said.slice(known));
        expect(events.at(-1)).toMatchObject({ kind: 'end', reason: 'length' });
      }
      const full = request({ knownOutput: Int32Array.from(said) });
      expect(() => world.engine.submit(full)).toThrow(withCode('REQUEST_INVALID'));
    });

    it('says the same to the same request, whatever else runs', async () => {
      const world = createWorld();
      const alone = tokensOf(await eventsOf(world, world.engine.submit(request())));
      const others = [request({ promptTokens: Int32Array.of(9, 8, 7, 6, 5) }), request(), request()];
      const generations = others.map((each) => world.engine.submit(each));
      expect(loadOf(world.engine)).toBe(3);
      const [, ...same] = await Promise.all(generations.map((generation) => eventsOf(world, generation)));
      for (const events of same) expect(tokensOf(events)).toEqual(alone);
      expect(loadOf(world.engine)).toBe(0);
    });

    it('ends without another word when it is cancelled, and frees what was held at once', async () => {
      const world = createWorld();
      const generation = world.engine.submit(request());
      expect(loadOf(world.engine)).toBe(1);
      for (let time = 0; time < 2; time++) generation.cancel();
      expect(loadOf(world.engine)).toBe(0);
      const kinds = (await eventsOf(world, generation)).map(({ kind }) => kind);
      expect(kinds).not.toContain('end');
      expect(kinds).not.toContain('error');
    });

    it('wakes who waits for a token when it is cancelled', async () => {
      const world = createWorld();
      const generation = world.engine.submit(request());
      const reading = generation[Symbol.asyncIterator]().next();
      generation.cancel();
      expect((await reading).done).toBe(true);
      expect(loadOf(world.engine)).toBe(0);
    });

    it('frees everything when its reader leaves', async () => {
      const world = createWorld();
      const events = world.engine.submit(request())[Symbol.asyncIterator]();
      const first = await worked(world, events.next());
      expect(first).toMatchObject({ done: false, value: { kind: 'token' } });
      await events.return?.();
      expect(loadOf(world.engine)).toBe(0);
    });

    it('is not disturbed when something is cancelled that has ended', async () => {
      const world = createWorld();
      const [ended, running] = [
        world.engine.submit(request({ outputTokensMax: 1 })),
        world.engine.submit(request()),
      ];
      await eventsOf(world, ended);
      ended.cancel();
      expect(loadOf(world.engine)).toBe(1);
      expect((await eventsOf(world, running)).at(-1)).toMatchObject({ kind: 'end' });
    });

    it('refuses at once what exceeds the context, and what asks for nothing', () => {
      const { engine } = createWorld();
      const { contextTokensMax } = engine;
      const long = new Int32Array(contextTokensMax).fill(1);
      for (const change of [
        { promptTokens: long, outputTokensMax: 1 },
        { outputTokensMax: contextTokensMax },
        { promptTokens: new Int32Array(0) },
      ])
        expect(() => engine.submit(request(change))).toThrow(withCode('CONTEXT_EXCEEDED'));
      const aBias = { tokens: Int32Array.of(1), values: Float32Array.of(1) };
      const aDry = { multiplier: 1, base: 2, allowedLength: 2, lastN: 64, breakers: [] };
      const wrong: Partial<GenerateRequest>[] = [
        { outputTokensMax: -1 },
        { outputTokensMax: 1.5 },
        { logprobs: 21 },
        { promptLogprobs: -1 },
        ...[
          { temperature: NaN },
          { typicalP: 1.5 },
          { xtcProbability: -0.1 },
          { penaltyLastN: 1025 },
          { logitBias: { ...aBias, values: Float32Array.of(101) } },
          { logitBias: { tokens: Int32Array.of(1, 1), values: Float32Array.of(1, 1) } },
          { logitBias: { tokens: new Int32Array(1025), values: new Float32Array(1025) } },
          { dry: { ...aDry, base: 0.5 } },
          { dry: { ...aDry, breakers: [new Int32Array(0)] } },
          { dry: { ...aDry, breakers: new Array<Int32Array>(52).fill(new Int32Array(20)) } },
        ].map((change) => ({ sampling: { ...greedySampling, ...change } })),
      ];
      for (const change of wrong)
        expect(() => engine.submit(request(change))).toThrow(withCode('REQUEST_INVALID'));
      expect(loadOf(engine)).toBe(0);
    });

    it('takes what just fits the context', async () => {
      const world = createWorld();
      const promptTokens = new Int32Array(world.engine.contextTokensMax - 1).fill(1);
      const events = await eventsOf(
        world,
        world.engine.submit(request({ promptTokens, outputTokensMax: 1 })),
      );
      expect(events.map(({ kind }) => kind)).toEqual(['token', 'end']);
    });
  });
}

function request(change: Partial<GenerateRequest> = {}): GenerateRequest {
  return {
    promptTokens: Int32Array.of(1, 2, 3, 4, 5),
    outputTokensMax: 5,
    logprobs: null,
    promptLogprobs: null,
    sampling: greedySampling,
    stopTokens: new Set(),
    priority: 0,
    timeoutMs: 1e6,
    ...change,
  };
}

const withCode = (code: string): Error => expect.objectContaining({ code }) as Error;

function loadOf(engine: Engine): number {
  const { running, queued } = engine.status();
  return running + queued;
}

const tokensOf = (events: readonly GenerateEvent[]): number[] =>
  events.flatMap((event) => (event.kind === 'token' ? [event.token] : []));

/** Lets the engine work until the promise is settled. */
async function worked<T>(world: EngineWorld, promise: Promise<T>): Promise<T> {
  const state = { isSettled: false };
  const settle = (): void => {
    state.isSettled = true;
  };
  promise.then(settle, settle);
  // Of what it never gives, the deadline of the test tells.
  while (!state.isSettled) {
    world.work();
    await nextTurn();
  }
  return promise;
}

/** All events of a generation, which the engine works on meanwhile. */
function eventsOf(world: EngineWorld, generation: Generation): Promise<GenerateEvent[]> {
  const read = async (): Promise<GenerateEvent[]> => {
    const events: GenerateEvent[] = [];
    for await (const event of generation) events.push(event);
    return events;
  };
  return worked(world, read());
}
