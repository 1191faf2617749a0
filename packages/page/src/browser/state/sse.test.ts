import fc from 'fast-check';
import { expect, it } from 'vitest';
import { messageOf, pauseMs } from './live-link.js';
import { bounds } from './bounds.js';
import { eventsOf, type ServerEvent } from './sse.js';

const text =
  ': a comment\n\nevent: pulse\ndata: {"a":\ndata: 1}\n\ndata:x\r\n\r\nid: 7\n\nevent: end\n\ndata\n\n';
const expected = [
  { name: 'pulse', data: '{"a":\n1}' },
  { name: 'message', data: 'x' },
  { name: 'message', data: '' },
];

async function read(parts: readonly Uint8Array[]): Promise<ServerEvent[]> {
  const body = new ReadableStream<Uint8Array>({
    start(controller) {
      for (const part of parts) controller.enqueue(part);
      controller.close();
    },
  });
  const events = [];
  for await (const event of eventsOf(body)) events.push(event);
  return events;
}

it('reads the events of a stream, wherever it is cut', async () => {
  const bytes = new TextEncoder().encode(text);
  await fc.assert(
    fc.asyncProperty(fc.array(fc.nat(bytes.length), { maxLength: 8 }), async (places) => {
      const cuts = [0, ...places.sort((a, b) => a - b), bytes.length];
      const parts = cuts.slice(1).map((end, index) => bytes.subarray(cuts[index], end));
      expect(await read(parts)).toEqual(expected);
    }),
  );
});

it('reads letters that are cut', async () => {
  const bytes = new TextEncoder().encode('data: 蝶🦋\n\n');
  const parts = [...bytes].map((byte) => Uint8Array.of(byte));
  expect(await read(parts)).toEqual([{ name: 'message', data: '蝶🦋' }]);
});

it('gives up an event that has no end', async () => {
  const part = new TextEncoder().encode(`data: ${'x'.repeat(bounds.eventCharactersMax / 2)}`);
  await expect(read([part, part.subarray(6), part.subarray(6)])).rejects.toThrow('has no end');
});

it('knows the kinds of messages, and lets others pass', () => {
  expect(messageOf({ name: 'events', data: '{"events":[]}' })).toEqual({ kind: 'events', events: [] });
  expect(messageOf({ name: 'later', data: 'no JSON' })).toBeNull();
});

it('waits longer and longer, up to ten seconds', () => {
  expect([1, 2, 3, 4, 5, 50].map(pauseMs)).toEqual([1_000, 2_000, 4_000, 8_000, 10_000, 10_000]);
});
