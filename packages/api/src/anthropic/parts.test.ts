import type { OutputEvent } from '@butterfly/generation';
import { describe, expect, it } from 'vitest';
import { documentedRows, rowsOfFields } from '../testing/documentation.js';
import { messagesEncoding } from './encoding.js';
import { messagesFields } from './fields.js';
import { parseMessagesRequest } from './parse.js';

const head = { id: 'msg_1', createdS: 1, model: 'm', requestId: 'req_1', promptTokens: 7 };
const usage = { promptTokens: 7, outputTokens: 9, cachedPromptTokens: 2 };
const timing = { queuedMs: 0, firstTokenMs: 10, totalMs: 30 };
const events: readonly OutputEvent[] = [
  { kind: 'reasoning', choice: 0, text: 'Hm' },
  { kind: 'reasoning', choice: 0, text: '.' },
  { kind: 'text', choice: 0, text: 'I look.' },
  { kind: 'toolStart', choice: 0, call: 0, id: 'call_1', name: 'look' },
  { kind: 'toolArguments', choice: 0, call: 0, text: '{"at":' },
  { kind: 'toolArguments', choice: 0, call: 0, text: '1}' },
  { kind: 'toolStart', choice: 0, call: 1, id: 'call_2', name: 'look' },
  { kind: 'toolArguments', choice: 0, call: 1, text: '{}' },
  { kind: 'finish', choice: 0, reason: 'toolCalls', stop: null },
  { kind: 'usage', usage, timing },
];

interface Sent {
  readonly type: string;
  readonly index?: number;
  readonly delta?: object;
  readonly content_block?: object;
}

describe('the events of a message', () => {
  it('are blocks of thought, text and calls, one after the other', () => {
    const stream = messagesEncoding.stream(head);
    const sent = events
      .map((event) => stream.encode(event))
      .join('')
      .split('\n\n')
      .filter((event) => event !== '')
      .map((event) => JSON.parse(event.slice(event.indexOf('data: ') + 6)) as Sent);
    const starts = sent.filter(({ type }) => type === 'content_block_start');
    expect(starts.map(({ index, content_block: block }) => [index, block])).toMatchObject([
      [0, { type: 'thinking' }],
      [1, { type: 'text' }],
      [2, { type: 'tool_use', id: 'call_1', name: 'look', input: {} }],
      [3, { type: 'tool_use', id: 'call_2' }],
    ]);
    const stops = sent.filter(({ type }) => type === 'content_block_stop');
    expect(stops.map(({ index }) => index)).toEqual([0, 1, 2, 3]);
    expect(
      sent.flatMap(({ delta }) => (delta && 'partial_json' in delta ? [delta.partial_json] : [])),
    ).toEqual(['{"at":', '1}', '{}']);
    expect(sent.at(-2)).toMatchObject({
      delta: { stop_reason: 'tool_use' },
      usage: { input_tokens: 5, cache_read_input_tokens: 2, output_tokens: 9 },
    });
    expect(sent.at(-1)).toEqual({ type: 'message_stop' });
  });

  it('are the whole message, too', () => {
    const choice = {
      text: 'I look.',
      reasoning: 'Hm.',
      toolCalls: [{ id: 'call_1', name: 'look', arguments: '{"at":1}' }],
      tokens: [],
      reason: 'toolCalls',
      stop: null,
    } as const;
    expect(
      messagesEncoding.whole(head, { choices: [choice], usage, timing, prompts: new Map() }),
    ).toMatchObject({
      content: [
        { type: 'thinking', thinking: 'Hm.' },
        { type: 'text', text: 'I look.' },
        { type: 'tool_use', id: 'call_1', name: 'look', input: { at: 1 } },
      ],
      stop_reason: 'tool_use',
    });
  });
});

describe('a conversation with tools', () => {
  const tools = [{ name: 'look', description: 'Looks.', input_schema: { type: 'object' }, strict: true }];
  const parse = (fields: object) => {
    const { input } = parseMessagesRequest({ max_tokens: 5, tools, ...fields }).spec;
    if (input.kind !== 'chat') throw new Error('This is no chat.');
    return input;
  };

  it('has calls and their results as messages that templates know', () => {
    const { messages, continuesLast } = parse({
      messages: [
        { role: 'user', content: 'Look.' },
        {
          role: 'assistant',
          content: [
            { type: 'thinking', thinking: 'Hm.', signature: 'x' },
            { type: 'text', text: 'I look.' },
            { type: 'tool_use', id: 'call_1', name: 'look', input: { at: 1 } },
          ],
        },
        {
          role: 'user',
          content: [
            { type: 'tool_result', tool_use_id: 'call_1', content: [{ type: 'text', text: 'dark' }] },
            { type: 'tool_result', tool_use_id: 'call_2', content: 'gone', is_error: true },
            { type: 'text', text: 'And?' },
          ],
        },
      ],
    });
    expect(messages.slice(1)).toEqual([
      {
        role: 'assistant',
        content: 'I look.',
        toolCalls: [{ id: 'call_1', name: 'look', arguments: '{"at":1}' }],
        reasoning: 'Hm.',
      },
      { role: 'tool', content: 'dark', toolCallId: 'call_1' },
      { role: 'tool', content: 'Error: gone', toolCallId: 'call_2' },
      { role: 'user', content: 'And?' },
    ]);
    expect(continuesLast).toBe(false);
  });

  it('goes on with what the assistant began', () => {
    const messages = [
      { role: 'user', content: 'Say it.' },
      { role: 'assistant', content: 'It is' },
    ];
    expect(parse({ messages }).continuesLast).toBe(true);
  });

  it.each([
    [undefined, { kind: 'auto' }, true],
    [{ type: 'auto', disable_parallel_tool_use: true }, { kind: 'auto' }, false],
    [{ type: 'any' }, { kind: 'required' }, true],
    [{ type: 'none' }, { kind: 'none' }, true],
    [{ type: 'tool', name: 'look' }, { kind: 'named', names: ['look'], isRequired: true }, true],
  ])('chooses tools by %j', (choice, expected, isParallel) => {
    const { toolUse } = parse({ messages: [{ role: 'user', content: 'x' }], tool_choice: choice });
    expect(toolUse).toEqual({
      tools: [{ name: 'look', description: 'Looks.', parameters: { type: 'object' }, isStrict: true }],
      choice: expected,
      isParallel,
    });
  });
});

describe('docs/other-apis.md', () => {
  it('lists the fields of /v1/messages', () => {
    expect(documentedRows('`/v1/messages`').sort()).toEqual(rowsOfFields(messagesFields).sort());
  });
});
