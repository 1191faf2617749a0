import { ButterflyError } from '@butterfly/common';
import type { OutputEvent } from '@butterfly/generation';
import { Ollama } from 'ollama';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { say, startApi, type TestApi } from '../testing/api.js';
import { documentedRows, rowsOfFields } from '../testing/documentation.js';
import { chatEncoding } from './encoding.js';
import { chatFields, generateFields, optionFields } from './fields.js';
import { parseChat } from './parse.js';

const model = 'echo:latest';
const messages = [{ role: 'user', content: 'Hi' }];

let api: TestApi;
let client: Ollama;
beforeAll(async () => {
  api = await startApi();
  client = new Ollama({ host: api.url });
});
afterAll(() => api[Symbol.asyncDispose]());
beforeEach(() => {
  api.engine.script = () => say('Hello');
  api.engine.requests.length = 0;
});

const asked = () => {
  const request = api.engine.requests.at(-1);
  const prompt = Buffer.from([...(request?.promptTokens ?? [])].filter((token) => token < 256)).toString();
  return { prompt, ...request };
};

describe("Ollama's client", () => {
  it('chats, whole and streamed', async () => {
    const answer = await client.chat({ model, messages });
    expect(answer).toMatchObject({
      model: 'echo',
      message: { role: 'assistant', content: 'Hello' },
      done: true,
      done_reason: 'stop',
      prompt_eval_count: asked().promptTokens?.length,
      eval_count: 5,
    });
    expect(answer.total_duration).toBeGreaterThanOrEqual(answer.prompt_eval_duration);
    const parts = [];
    for await (const part of await client.chat({ model, messages, stream: true })) parts.push(part);
    expect(parts.map(({ message }) => message.content).join('')).toBe('Hello');
    expect(parts.map(({ done }) => done).filter((done) => done)).toHaveLength(1);
    expect(parts.at(-1)).toMatchObject({ done: true, eval_count: 5 });
  });

  it('draws as Ollama does, unless it is told otherwise', async () => {
    await client.chat({ model, messages });
    expect(asked().sampling).toMatchObject({ temperature: 0.8, topK: 40, topP: 0.9, repeatPenalty: 1.1 });
    await client.chat({
      model,
      messages,
      options: { temperature: 0, top_k: 0, seed: -1, num_predict: 3, stop: ['x'], repeat_penalty: 1 },
    });
    expect(asked()).toMatchObject({
      outputTokensMax: 3,
      sampling: { temperature: 0, topK: 0, repeatPenalty: 1, seed: 0xffff_ffff },
    });
    const { done_reason: reason } = await client.chat({ model, messages, options: { num_predict: 3 } });
    expect(reason).toBe('length');
  });

  it('generates with the template, with instructions, and without', async () => {
    const { response } = await client.generate({ model, prompt: 'Hi', system: 'Brief.' });
    expect([response, asked().prompt]).toEqual(['Hello', 'system=Brief.|user=Hi|']);
    await client.generate({ model, prompt: 'Once', raw: true });
    expect(asked().prompt).toBe('Once');
    const parts = [];
    for await (const part of await client.generate({ model, prompt: 'Hi', stream: true })) parts.push(part);
    expect(parts.map((part) => part.response).join('')).toBe('Hello');
  });

  it('finds the model, and is told of it', async () => {
    expect(await client.list()).toMatchObject({
      models: [
        { name: 'echo', details: { family: 'echo', parameter_size: '1.2B', quantization_level: 'F32' } },
      ],
    });
    expect(await client.ps()).toMatchObject({ models: [{ name: 'echo', context_length: 256 }] });
    expect(await client.show({ model })).toMatchObject({
      capabilities: ['completion'],
      model_info: { 'general.architecture': 'echo', 'echo.context_length': 256 },
    });
    expect((await client.version()).version).toMatch(/^\d+\.\d+\.\d+$/);
    expect(await client.generate({ model, prompt: '' })).toMatchObject({ done_reason: 'load', response: '' });
    expect(await client.chat({ model, messages: [] })).toMatchObject({ done_reason: 'load' });
    expect(api.engine.requests).toHaveLength(0);
  });

  it('prints what went wrong', async () => {
    await expect(client.chat({ model: 'other', messages })).rejects.toThrow('There is no model "other" here');
    await expect(client.chat({ model, messages, options: { mirostat: 2 } })).rejects.toThrow(
      'options.mirostat',
    );
    await expect(client.pull({ model })).rejects.toThrow('There is nothing at POST /api/pull');
    const images = ['aGk='];
    await expect(client.chat({ model, messages: [{ role: 'user', content: 'x', images }] })).rejects.toThrow(
      'messages.0.images: images are not supported',
    );
  });

  it('is told of a failure in mid-stream', async () => {
    api.engine.script = () => [...say('He'), new ButterflyError('WORKER_LOST', 'It is gone.')];
    const texts: string[] = [];
    const read = async () => {
      for await (const { message } of await client.chat({ model, messages, stream: true }))
        texts.push(message.content);
    };
    await expect(read()).rejects.toThrow('It is gone.');
    expect(texts.join('')).toBe('He');
  });
});

describe('a conversation with tools', () => {
  const tools = [
    { type: 'function', function: { name: 'look', description: 'Looks.', parameters: { type: 'object' } } },
  ];

  it('comes with calls and results', () => {
    const { asked: request } = parseChat({
      tools,
      think: 'high',
      messages: [
        ...messages,
        {
          role: 'assistant',
          content: '',
          thinking: 'Hm.',
          tool_calls: [{ function: { name: 'look', arguments: { at: 1 } } }],
        },
        { role: 'tool', tool_name: 'look', content: 'dark' },
      ],
    });
    expect(request?.spec.input).toEqual({
      kind: 'chat',
      messages: [
        { role: 'user', content: 'Hi' },
        {
          role: 'assistant',
          content: '',
          reasoning: 'Hm.',
          toolCalls: [{ id: 'call_1_0', name: 'look', arguments: '{"at":1}' }],
        },
        { role: 'tool', name: 'look', content: 'dark' },
      ],
      toolUse: {
        tools: [{ name: 'look', description: 'Looks.', parameters: { type: 'object' }, isStrict: false }],
        choice: { kind: 'auto' },
        isParallel: true,
      },
      templateValues: { enable_thinking: true, reasoning_effort: 'high' },
      continuesLast: false,
    });
  });

  it('is answered with whole calls', () => {
    const events: OutputEvent[] = [
      { kind: 'reasoning', choice: 0, text: 'Hm.' },
      { kind: 'toolStart', choice: 0, call: 0, id: 'a', name: 'look' },
      { kind: 'toolArguments', choice: 0, call: 0, text: '{"at"' },
      { kind: 'toolArguments', choice: 0, call: 0, text: ':1}' },
      { kind: 'toolStart', choice: 0, call: 1, id: 'b', name: 'wait' },
      { kind: 'finish', choice: 0, reason: 'toolCalls', stop: null },
    ];
    const stream = chatEncoding.stream({ id: '', createdS: 1, model: 'm', requestId: 'r', promptTokens: 1 });
    const lines = events.flatMap((event) =>
      stream
        .encode(event)
        .split('\n')
        .filter((line) => line !== ''),
    );
    const sent = lines.map((line) => (JSON.parse(line) as { message: object }).message);
    expect(sent).toEqual([
      { role: 'assistant', content: '', thinking: 'Hm.' },
      { role: 'assistant', content: '', tool_calls: [{ function: { name: 'look', arguments: { at: 1 } } }] },
      {
        role: 'assistant',
        content: '',
        tool_calls: [{ function: { name: 'wait', arguments: { arguments: '' } } }],
      },
    ]);
  });
});

describe('docs/other-apis.md', () => {
  it.each([
    ['`/api/chat`', chatFields],
    ['`/api/generate`', generateFields],
    ['`options`', optionFields],
  ])('lists the fields of %s', (title, fields) => {
    expect(documentedRows(title).sort()).toEqual(rowsOfFields(fields).sort());
  });
});
