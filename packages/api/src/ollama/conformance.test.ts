import { ButterflyError } from '@butterfly/common';
import { AnswerCollector, type OutputEvent } from '@butterfly/generation';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { say, startApi, type TestApi } from '../testing/api.js';
import { conformanceErrors } from '../testing/conformance/validate.js';
import { eventsFor } from '../testing/scripted-responses.js';
import { chatEncoding, generateEncoding } from './encoding.js';

const head = { id: '', createdS: 1, model: 'm', requestId: 'req_1', promptTokens: 7 };
const linesOf = (text: string): unknown[] =>
  text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as unknown);
const faults = (kind: Parameters<typeof conformanceErrors>[0], values: readonly unknown[]) =>
  values.flatMap((value) => conformanceErrors(kind, value).map((fault) => [value, fault]));

/** An answer with all that one can have. */
const events: readonly OutputEvent[] = eventsFor([
  { kind: 'reasoning', text: 'Hm.' },
  { kind: 'text', text: 'Yes.' },
  { kind: 'call', id: 'call_1', name: 'f', arguments: ['{"a"', ':1}'] },
  { kind: 'call', id: 'call_2', name: 'g', arguments: ['[1'] },
]);

describe('by the types of the official package', () => {
  let api: TestApi;
  beforeAll(async () => {
    api = await startApi();
  });
  afterAll(() => api[Symbol.asyncDispose]());
  beforeEach(() => {
    api.engine.script = () => say('Hello');
  });
  const get = async (path: string): Promise<unknown> => (await fetch(api.url + path)).json();

  it.each([
    ['/api/chat', { messages: [{ role: 'user', content: 'Hi' }] }, 'ollamaChat'],
    ['/api/generate', { prompt: 'Hi' }, 'ollamaText'],
  ] as const)(
    'what %s sends is right, in one piece, streamed and of a model to load',
    async (path, body, kind) => {
      const whole = await (await api.post(path, { ...body, stream: false })).json();
      expect(faults(kind, [whole])).toEqual([]);
      // What only the end has is there.
      expect(whole).toMatchObject({
        done: true,
        done_reason: 'stop',
        prompt_eval_count: expect.any(Number) as number,
      });
      const lines = linesOf(await (await api.post(path, body)).text());
      expect(lines.length).toBeGreaterThan(2);
      expect(faults(kind, lines)).toEqual([]);
      const loaded = await (await api.post(path, {})).json();
      expect(faults(kind, [loaded])).toEqual([]);
    },
  );

  it.each([
    ['chats', chatEncoding, 'ollamaChat'],
    ['texts', generateEncoding, 'ollamaText'],
  ] as const)('so are %s that think and call tools', (_, encoding, kind) => {
    const collector = new AnswerCollector();
    const said = events.filter((event) => kind === 'ollamaChat' || !event.kind.startsWith('tool'));
    for (const event of said) collector.take(event);
    expect(faults(kind, [encoding.whole(head, collector.whole())])).toEqual([]);
    const stream = encoding.stream(head);
    const lines = linesOf(said.map((event) => stream.encode(event)).join(''));
    expect(lines.length).toBeGreaterThan(2);
    expect(faults(kind, lines)).toEqual([]);
  });

  it('so is what is told of the model', async () => {
    expect(faults('ollamaModels', [await get('/api/tags'), await get('/api/ps')])).toEqual([]);
    expect(faults('ollamaVersion', [await get('/api/version')])).toEqual([]);
    const shown: unknown = await (await api.post('/api/show', { model: 'echo' })).json();
    expect(faults('ollamaModel', [shown])).toEqual([]);
  });

  it('so are vectors', async () => {
    const many = await (await api.post('/api/embed', { input: ['a', 'b'] })).json();
    expect(faults('ollamaVectors', [many])).toEqual([]);
    const one = await (await api.post('/api/embeddings', { prompt: 'a' })).json();
    expect(faults('ollamaVector', [one])).toEqual([]);
  });

  it('so are errors, before a stream and in its midst', async () => {
    const refused = await (await api.post('/api/chat', { messages: 1 })).json();
    expect(faults('ollamaError', [refused, await get('/api/none')])).toEqual([]);
    api.engine.script = () => [...say('He'), new ButterflyError('WORKER_LOST', 'It is gone.')];
    const lines = linesOf(await (await api.post('/api/generate', { prompt: 'Hi' })).text());
    expect(faults('ollamaError', lines.slice(-1))).toEqual([]);
    expect(faults('ollamaText', lines.slice(0, -1))).toEqual([]);
  });
});
