import { ButterflyError } from '@butterfly/common';
import { AnswerCollector, type OutputEvent } from '@butterfly/generation';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { say, startApi, type TestApi } from '../testing/api.js';
import { conformanceErrors } from '../testing/conformance/validate.js';
import { eventsFor } from '../testing/scripted-responses.js';
import { eventsOf } from '../testing/server-events.js';
import { messagesEncoding } from './encoding.js';

const head = { id: 'msg_1', createdS: 1, model: 'm', requestId: 'req_1', promptTokens: 7 };
const body = { max_tokens: 50, messages: [{ role: 'user', content: 'Hi' }] };

/** An answer with all that one can have, twice where kinds may follow one another. */
const events: readonly OutputEvent[] = eventsFor([
  { kind: 'reasoning', text: 'Hm.' },
  { kind: 'text', text: 'Yes.' },
  { kind: 'call', id: 'call_1', name: 'f', arguments: ['{"a"', ':1}'] },
  { kind: 'call', id: 'call_2', name: 'g', arguments: ['{}'] },
  { kind: 'reasoning', text: 'Well.' },
  { kind: 'text', text: 'So.' },
]);

const faultsOf = (streamed: readonly { readonly type?: string }[]) =>
  streamed
    .filter(({ type }) => type !== 'ping')
    .map((each) => [each.type, conformanceErrors('messageEvent', each)]);
const noFaults = (streamed: readonly { readonly type?: string }[]) =>
  streamed.filter(({ type }) => type !== 'ping').map(({ type }) => [type, []]);

describe('by the types of the official package', () => {
  let api: TestApi;
  beforeAll(async () => {
    api = await startApi();
  });
  afterAll(() => api[Symbol.asyncDispose]());
  beforeEach(() => {
    api.engine.refusal = null;
    api.engine.script = () => say('Hello END more');
  });

  it.each([{}, { max_tokens: 2 }, { stop_sequences: ['END'] }])(
    'messages are right, in one piece and streamed, with %j',
    async (more) => {
      const whole = await (await api.post('/v1/messages', { ...body, ...more })).json();
      expect([whole, conformanceErrors('message', whole)]).toEqual([whole, []]);
      const streamed = eventsOf(
        await (await api.post('/v1/messages', { ...body, ...more, stream: true })).text(),
      );
      expect(streamed.length).toBeGreaterThan(5);
      expect(faultsOf(streamed)).toEqual(noFaults(streamed));
    },
  );

  it('so are messages that think and call tools', () => {
    const collector = new AnswerCollector();
    for (const event of events) collector.take(event);
    expect(conformanceErrors('message', messagesEncoding.whole(head, collector.whole()))).toEqual([]);
    const stream = messagesEncoding.stream(head);
    const streamed = eventsOf(events.map((event) => stream.encode(event)).join(''));
    expect(faultsOf(streamed)).toEqual(noFaults(streamed));
    // Each block begins and ends once, and they follow one another.
    const blocks = streamed.flatMap(({ type, index }) =>
      type?.startsWith('content_block_') ? [[type, index]] : [],
    );
    const starts = blocks.filter(([type]) => type === 'content_block_start').map(([, index]) => index);
    expect(starts).toEqual([0, 1, 2, 3, 4, 5]);
    expect(blocks.filter(([type]) => type === 'content_block_stop').map(([, index]) => index)).toEqual(
      starts,
    );
  });

  it('so are counts, and errors of every status', async () => {
    const counted = await api.post('/v1/messages/count_tokens', { messages: body.messages });
    expect(conformanceErrors('tokensCount', await counted.json())).toEqual([]);
    const refusals = [null, 'QUEUE_FULL', 'CLUSTER_NOT_READY', 'INTERNAL', 'TIMEOUT'] as const;
    for (const code of refusals) {
      api.engine.refusal = code === null ? null : new ButterflyError(code, 'Later.');
      const failed = await (await api.post('/v1/messages', code === null ? {} : body)).json();
      expect([code, conformanceErrors('anthropicError', failed)]).toEqual([code, []]);
    }
    const big = await (await api.post('/v1/messages', `{"a":${'['.repeat(200)}`)).json();
    expect(conformanceErrors('anthropicError', big)).toEqual([]);
  });

  it('so is the error that ends a stream', async () => {
    api.engine.script = () => [...say('He'), new ButterflyError('WORKER_LOST', 'It is gone.')];
    const streamed = eventsOf(await (await api.post('/v1/messages', { ...body, stream: true })).text());
    const { request_id: requestId, ...last } = streamed.at(-1) ?? {};
    expect([last.type, conformanceErrors('anthropicError', { ...last, request_id: requestId })]).toEqual([
      'error',
      [],
    ]);
    expect(faultsOf(streamed.slice(0, -1))).toEqual(noFaults(streamed.slice(0, -1)));
  });
});
