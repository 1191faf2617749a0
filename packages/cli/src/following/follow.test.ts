import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type ButterflyError, limits } from '@butterfly/common';
import { follow } from './follow.js';
import { redacted } from './redact.js';
import { serverEvents } from './server-events.js';

async function* inParts(text: string, sizes: readonly number[]): AsyncGenerator<Uint8Array> {
  const bytes = new TextEncoder().encode(text);
  let at = 0;
  for (let index = 0; at < bytes.length; index += 1) {
    const size = sizes[index % sizes.length] ?? 1;
    yield await Promise.resolve(bytes.subarray(at, at + size));
    at += size;
  }
}

/** As a network that is cut: no more bytes, and no end. */
async function* thenSilent(text: string, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  yield new TextEncoder().encode(text);
  signal.throwIfAborted();
  await new Promise((_, reject) => signal.addEventListener('abort', () => reject(new Error('aborted'))));
}

const pulse = (atMs: number): string =>
  `event: pulse\ndata: ${JSON.stringify({ pulse: { atMs, lengthMs: 500, models: [] } })}\n\n`;

describe('server-sent events', () => {
  it('are the same however their bytes arrive', async () => {
    const text = `: silence\n\nevent: a\ndata: {"x":\ndata: "é"}\n\ndata: alone\r\n\r\n${pulse(1)}event: cut`;
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 9 }),
        async (sizes) => {
          const events = [];
          for await (const event of serverEvents(inParts(text, sizes))) events.push(event);
          expect(events).toEqual([
            { kind: 'a', data: '{"x":\n"é"}' },
            { kind: 'message', data: 'alone' },
            { kind: 'pulse', data: '{"pulse":{"atMs":1,"lengthMs":500,"models":[]}}' },
          ]);
        },
      ),
    );
  });
});

describe('an event without an end', () => {
  it('is given up', async () => {
    const half = 'x'.repeat(limits.requestBodyBytesMax / 2);
    const endless = inParts(`data: ${half}${half}${half}`, [limits.requestBodyBytesMax / 4]);
    await expect(serverEvents(endless).next()).rejects.toMatchObject({ code: 'PROTOCOL_INVALID' });
  });
});

describe('following a server', () => {
  it('goes on with one that comes back', async () => {
    const ending = new AbortController();
    const bodies = [pulse(1) + pulse(2), pulse(3)];
    const lost: string[] = [];
    const source = { open: () => Promise.resolve(inParts(bodies.shift() ?? '', [7])) };
    const times: number[] = [];
    const onLost = ({ code }: ButterflyError): void => void lost.push(code);
    for await (const message of follow({ source, signal: ending.signal, onLost })) {
      if (message.kind === 'pulse') times.push(message.pulse.atMs);
      if (times.length === 3) ending.abort();
    }
    expect([times, lost[0]]).toEqual([[1, 2, 3], 'PEER_UNREACHABLE']);
  });

  it('takes one that says nothing any more for lost, and lets go of it', async () => {
    const ending = new AbortController();
    const given: AbortSignal[] = [];
    const lost: string[] = [];
    const source = {
      open: (_path: string, signal: AbortSignal) => {
        given.push(signal);
        return Promise.resolve(thenSilent(pulse(given.length), signal));
      },
    };
    const onLost = ({ code }: ButterflyError): void => void lost.push(code);
    const times: number[] = [];
    for await (const message of follow({ source, signal: ending.signal, onLost, silenceMs: 50 })) {
      if (message.kind === 'pulse') times.push(message.pulse.atMs);
      if (times.length === 2) ending.abort();
    }
    expect([times, lost, given[0]?.aborted]).toEqual([[1, 2], ['TIMEOUT'], true]);
  });

  it('ends where there never was one, and where it is of another kind', async () => {
    const { signal } = new AbortController();
    const onLost = (): void => undefined;
    const refused = { open: () => Promise.reject(new Error('no')) };
    await expect(follow({ source: refused, signal, onLost }).next()).rejects.toThrow('no');
    const foreign = { open: () => Promise.resolve(inParts('event: pulse\ndata: {}\n\n', [9])) };
    await expect(follow({ source: foreign, signal, onLost }).next()).rejects.toMatchObject({
      code: 'PROTOCOL_INVALID',
    });
  });
});

describe('a report that is safe to paste', () => {
  it('keeps what belongs together, and tells no name, address, path or key', () => {
    const report = {
      workers: [
        { name: 'annas-laptop', at: '10.0.0.7:7600', memory: 8 },
        { name: 'desk', at: '[fe80::1]:7600', file: '/home/anna/models/a.gguf' },
      ],
      events: [
        'annas-laptop left: 10.0.0.7:7600 closed',
        'C:\\Users\\anna\\m.gguf',
        'bf1-AbC_12-x',
        'bfk-Zz99',
      ],
      byName: { desk: true },
      strange: () => 1,
    };
    expect(redacted(report, ['desk', 'annas-laptop'])).toEqual({
      workers: [
        { name: '<name-1>', at: '<address-1>', memory: 8 },
        { name: '<name-2>', at: '<address-2>', file: '<path-1>' },
      ],
      events: ['<name-1> left: <address-1> closed', '<path-2>', '<key-1>', '<key-2>'],
      byName: { '<name-2>': true },
      strange: null,
    });
  });
});
