import { ButterflyError } from '@butterfly/common';
import { describe, expect, it } from 'vitest';
import { GenerationStream } from './generation.js';
import type { GenerateEvent } from './types.js';

const token = (value: number): GenerateEvent => ({ kind: 'token', token: value });
const end: GenerateEvent = {
  kind: 'end',
  reason: 'stop',
  timing: { queuedMs: 0, firstTokenMs: 1, totalMs: 2 },
  cachedPromptTokens: 0,
};
const error: GenerateEvent = { kind: 'error', error: new ButterflyError('WORKER_LOST', 'gone') };

interface Watched {
  readonly stream: GenerationStream;
  /** How often it was cancelled. */
  readonly cancelled: () => number;
}

function watched(): Watched {
  let count = 0;
  const stream = new GenerationStream(() => count++);
  return { stream, cancelled: () => count };
}

async function all(stream: GenerationStream): Promise<GenerateEvent[]> {
  const events: GenerateEvent[] = [];
  for await (const event of stream) events.push(event);
  return events;
}

describe('GenerationStream', () => {
  it.each([
    ['end', end],
    ['error', error],
  ])('gives all events in order, up to the %s', async (_, last) => {
    const { stream, cancelled } = watched();
    for (const event of [token(1), token(2), last]) stream.push(event);
    expect(await all(stream)).toEqual([token(1), token(2), last]);
    expect(cancelled()).toBe(0);
  });

  it('wakes a reader that came first', async () => {
    const { stream, cancelled } = watched();
    const reading = all(stream);
    for (let i = 0; i < 5; i++) {
      await Promise.resolve();
      stream.push(token(i));
      if (i % 2) await new Promise(setImmediate);
    }
    stream.push(end);
    expect(await reading).toEqual([...[0, 1, 2, 3, 4].map(token), end]);
    expect(cancelled()).toBe(0);
  });

  it('takes nothing after the last event', async () => {
    const { stream } = watched();
    for (const event of [end, token(1), error]) stream.push(event);
    expect(await all(stream)).toEqual([end]);
  });

  it('is cancelled when the reader leaves early, once', async () => {
    const { stream, cancelled } = watched();
    stream.push(token(1));
    stream.push(token(2));
    for await (const event of stream) {
      expect(event).toEqual(token(1));
      break;
    }
    expect(cancelled()).toBe(1);
    stream.cancel();
    stream.push(token(3));
    expect(cancelled()).toBe(1);
  });

  it('is cancelled when the reader throws', async () => {
    const { stream, cancelled } = watched();
    stream.push(token(1));
    const reading = (async () => {
      for await (const event of stream) throw new RangeError(event.kind);
    })();
    await expect(reading).rejects.toThrow('token');
    expect(cancelled()).toBe(1);
  });

  it('ends a waiting reader when it is cancelled, without an event', async () => {
    const { stream, cancelled } = watched();
    const reading = all(stream);
    await new Promise(setImmediate);
    stream.cancel();
    stream.push(token(1));
    expect(await reading).toEqual([]);
    expect(cancelled()).toBe(1);
  });

  it('is not cancelled after its end, though nobody read that', () => {
    const { stream, cancelled } = watched();
    stream.push(end);
    stream.cancel();
    expect(cancelled()).toBe(0);
  });
});
