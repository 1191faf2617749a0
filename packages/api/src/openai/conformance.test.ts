import type { OutputEvent } from '@butterfly/generation';
import { AnswerCollector } from '@butterfly/generation';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startApi, type TestApi } from '../testing/api.js';
import { conformanceErrors } from '../testing/conformance/validate.js';
import { eventsFor } from '../testing/scripted-responses.js';
import { eventsOf } from '../testing/server-events.js';
import { chatEncoding } from './chat-encoding.js';

const head = { id: 'chatcmpl-1', createdS: 1, model: 'm', requestId: 'req_1', promptTokens: 7 };

/** An answer with all that one can have. */
const events: readonly OutputEvent[] = eventsFor([
  { kind: 'reasoning', text: 'Hm.' },
  { kind: 'text', text: 'Yes.' },
  { kind: 'call', id: 'call_1', name: 'f', arguments: ['{"a"', ':1}'] },
  { kind: 'call', id: 'call_2', name: 'g', arguments: ['{}'] },
]);

describe('by the types of the official package', () => {
  let api: TestApi;
  beforeAll(async () => {
    api = await startApi();
  });
  afterAll(() => api[Symbol.asyncDispose]());

  it.each([
    ['/v1/chat/completions', { messages: [{ role: 'user', content: 'Hi' }] }, 'chat', 'chatChunk'],
    ['/v1/completions', { prompt: 'Hi' }, 'completion', 'completion'],
  ] as const)('what %s sends is right, in one piece and streamed', async (path, body, whole, chunk) => {
    const answer = await api.post(path, { ...body, n: 2 });
    expect(conformanceErrors(whole, await answer.json())).toEqual([]);
    for (const stream_options of [null, { include_usage: true }]) {
      const streamed = await api.post(path, { ...body, stream: true, stream_options });
      const chunks = eventsOf(await streamed.text());
      expect(chunks.length).toBeGreaterThan(2);
      for (const each of chunks) expect([each, conformanceErrors(chunk, each)]).toEqual([each, []]);
    }
  });

  it('so are chats that think and call tools', () => {
    const collector = new AnswerCollector();
    for (const event of events) collector.take(event);
    const encoding = chatEncoding(true);
    expect(conformanceErrors('chat', encoding.whole(head, collector.whole()))).toEqual([]);
    const stream = encoding.stream(head);
    const chunks = eventsOf(events.map((event) => stream.encode(event)).join(''));
    expect(chunks.length).toBeGreaterThan(events.length);
    for (const each of chunks) expect([each, conformanceErrors('chatChunk', each)]).toEqual([each, []]);
  });

  it('so are models', async () => {
    const { data } = (await (await fetch(`${api.url}/v1/models`)).json()) as { data: unknown[] };
    expect(data.map((model) => conformanceErrors('model', model))).toEqual([[]]);
  });
});
