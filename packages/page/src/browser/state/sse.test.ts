import fc from 'fast-check';
import { expect, it } from 'vitest';
import { messageOf, pauseMs } from './live-link.js';
import { EventReader, eventsOf } from './sse.js';

const text =
  ': a comment\n\nevent: pulse\ndata: {"a":\ndata: 1}\n\ndata:x\r\n\r\nid: 7\n\nevent: end\n\ndata\n\n';
const expected = [
  { name: 'pulse', data: '{"a":\n1}' },
  { name: 'message', data: 'x' },
  { name: 'message', data: '' },
];

it('reads the events of a stream, wherever it is cut', () => {
  fc.assert(
    fc.property(fc.array(fc.nat(text.length), { maxLength: 8 }), (places) => {
      const cuts = [0, ...places.sort((a, b) => a - b), text.length];
      const reader = new EventReader();
      const events = cuts.slice(1).flatMap((end, index) => reader.push(text.slice(cuts[index], end)));
      expect(events).toEqual(expected);
    }),
  );
});

it('reads letters that are cut', async () => {
  const bytes = new TextEncoder().encode('data: 蝶🦋\n\n');
  const body = new ReadableStream<Uint8Array>({
    start(controller) {
      for (const byte of bytes) controller.enqueue(Uint8Array.of(byte));
      controller.close();
    },
  });
  const events = [];
  for await (const event of eventsOf(body)) events.push(event);
  expect(events).toEqual([{ name: 'message', data: '蝶🦋' }]);
});

it('knows the kinds of messages, and lets others pass', () => {
  expect(messageOf({ name: 'events', data: '{"events":[]}' })).toEqual({ kind: 'events', events: [] });
  expect(messageOf({ name: 'later', data: 'no JSON' })).toBeNull();
});

it('waits longer and longer, up to ten seconds', () => {
  expect([1, 2, 3, 4, 5, 50].map(pauseMs)).toEqual([1_000, 2_000, 4_000, 8_000, 10_000, 10_000]);
});
