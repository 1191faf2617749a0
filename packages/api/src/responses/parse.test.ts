import { ButterflyError, deadlines, limits } from '@butterfly/common';
import { noTools } from '@butterfly/generation';
import { describe, expect, it } from 'vitest';
import { type Item, sealed } from './items.js';
import { parseResponseRequest } from './parse.js';
import type { ResponseMemory } from './recall.js';

const notHere = (param: string) => new ButterflyError('NOT_FOUND', `${param}: not here.`, { param });
const memory: ResponseMemory = {
  conversation: (_id, param) => {
    throw notHere(param);
  },
  item: (_id, param) => {
    throw notHere(param);
  },
  watcher: () => ({ begun: () => () => undefined, ended: () => undefined }),
};

const parse = (fields: object, over: ResponseMemory = memory) =>
  parseResponseRequest({ input: 'Hi', ...fields }, over);
const chatOf = (fields: object) => {
  const { input } = parse(fields).spec;
  if (input.kind !== 'chat') throw new Error('It is no chat.');
  return input;
};
const messagesFor = (...input: object[]) => chatOf({ input }).messages;
const names = (fields: object) => parse(fields).withoutEffect;

function refusal(fields: object): [code: string, param: string | undefined] {
  try {
    parse(fields);
  } catch (error) {
    if (!(error instanceof ButterflyError)) throw error;
    if (error.param !== undefined) expect(error.message).toContain(error.param);
    return [error.code, error.param];
  }
  throw new Error('nothing was thrown');
}

const tool = { type: 'function', name: 'f', parameters: { type: 'object' }, strict: true };

describe('parseResponseRequest', () => {
  it('fills in the defaults', () => {
    const { spec, model, stream, withoutEffect } = parse({});
    expect({ model, stream, withoutEffect }).toEqual({ model: null, stream: false, withoutEffect: [] });
    const { sampling, ...rest } = spec;
    expect(rest).toEqual({
      input: {
        kind: 'chat',
        messages: [{ role: 'user', content: 'Hi' }],
        toolUse: noTools,
        templateValues: {},
        continuesLast: false,
      },
      inputField: 'input',
      format: { kind: 'text' },
      choices: 1,
      candidates: 1,
      dry: null,
      stops: [],
      logprobs: null,
      promptLogprobs: null,
      outputTokensMax: null,
      priority: 0,
      timeoutMs: deadlines.requestMs,
      ignoreEos: false,
    });
    expect(sampling).toMatchObject({ temperature: 1, topP: 1 });
  });

  it('takes what it is told', () => {
    const given = parse({
      model: 'm',
      stream: true,
      max_output_tokens: 9,
      temperature: 0,
      top_p: 0.5,
      seed: 3,
      stop: 'END',
      reasoning: { effort: 'low' },
      text: { format: { type: 'json_schema', name: 'n', schema: { type: 'object' }, strict: true } },
    });
    expect(given).toMatchObject({
      model: 'm',
      stream: true,
      withoutEffect: [],
      spec: {
        outputTokensMax: 9,
        stops: ['END'],
        sampling: { temperature: 0, topP: 0.5, seed: 3 },
        format: { kind: 'schema', schema: { type: 'object' } },
        input: { templateValues: { reasoning_effort: 'low' } },
      },
    });
    expect(parse({ text: { format: { type: 'json_object' } } }).spec.format).toEqual({ kind: 'json' });
    expect(parse({ text: {} }).spec.format).toEqual({ kind: 'text' });
  });

  it('makes one message of the system of all that instructs at the beginning', () => {
    const input = [
      { role: 'developer', content: 'Two.' },
      { type: 'message', role: 'system', content: [{ type: 'input_text', text: 'Three.' }] },
      { role: 'user', content: 'Hi' },
      { role: 'developer', content: 'Four.' },
    ];
    expect(chatOf({ instructions: 'One.', input }).messages).toEqual([
      { role: 'system', content: 'One.\n\nTwo.\n\nThree.' },
      { role: 'user', content: 'Hi' },
      { role: 'system', content: 'Four.' },
    ]);
  });

  it('makes one message of thoughts, words and calls that follow each other', () => {
    expect(
      messagesFor(
        { role: 'user', content: 'Hi' },
        { type: 'reasoning', id: 'rs_1', summary: [], content: [{ type: 'reasoning_text', text: 'Hm.' }] },
        { type: 'message', role: 'assistant', content: [{ type: 'output_text', text: 'I look.' }] },
        { type: 'function_call', call_id: 'c1', name: 'f', arguments: '{"a":1}' },
        { type: 'function_call', call_id: 'c2', name: 'g', arguments: '{}' },
        { type: 'function_call_output', call_id: 'c1', output: 'one' },
        { type: 'function_call_output', call_id: 'c2', output: [{ type: 'input_text', text: 'two' }] },
        { type: 'reasoning', summary: [{ type: 'summary_text', text: 'So.' }] },
        { type: 'message', role: 'assistant', content: 'Done.' },
        { type: 'message', role: 'assistant', content: [{ type: 'refusal', refusal: 'No more.' }] },
      ),
    ).toEqual([
      { role: 'user', content: 'Hi' },
      {
        role: 'assistant',
        content: 'I look.',
        reasoning: 'Hm.',
        toolCalls: [
          { id: 'c1', name: 'f', arguments: '{"a":1}' },
          { id: 'c2', name: 'g', arguments: '{}' },
        ],
      },
      { role: 'tool', content: 'one', toolCallId: 'c1' },
      { role: 'tool', content: 'two', toolCallId: 'c2' },
      { role: 'assistant', content: 'Done.', reasoning: 'So.' },
      { role: 'assistant', content: 'No more.' },
    ]);
  });

  it('takes functions, and skips and names all other kinds of tools', () => {
    const tools = [tool, { type: 'web_search' }, { type: 'custom', name: 'x' }, { type: 'a\r\nb' }];
    const { spec, withoutEffect } = parse({ tools, parallel_tool_calls: false });
    expect(spec.input).toMatchObject({
      toolUse: {
        tools: [{ name: 'f', description: null, parameters: { type: 'object' }, isStrict: true }],
        choice: { kind: 'auto' },
        isParallel: false,
      },
    });
    expect(withoutEffect).toEqual(['tools[].web_search', 'tools[].custom', 'tools[].(another)']);
    expect(chatOf({ tools: [{ type: 'web_search' }], tool_choice: 'auto' }).toolUse).toBe(noTools);
  });

  it.each([
    ['none', { kind: 'none' }],
    ['required', { kind: 'required' }],
    [
      { type: 'function', name: 'f' },
      { kind: 'named', names: ['f'], isRequired: true },
    ],
    [
      {
        type: 'allowed_tools',
        mode: 'auto',
        tools: [{ type: 'function', name: 'f' }, { type: 'web_search' }],
      },
      { kind: 'named', names: ['f'], isRequired: false },
    ],
    [{ type: 'allowed_tools', mode: 'auto', tools: [{ type: 'web_search' }] }, { kind: 'none' }],
    [
      { type: 'allowed_tools', mode: 'required', tools: [{ type: 'function', name: 'f' }] },
      { kind: 'named', names: ['f'], isRequired: true },
    ],
  ])('reads the choice %j', (tool_choice, choice) => {
    expect(chatOf({ tools: [tool], tool_choice }).toolUse.choice).toEqual(choice);
  });

  it('reads thoughts that it sealed, and names those of others', () => {
    const reasoning = { type: 'reasoning', summary: [], encrypted_content: sealed('Hm, ä.') };
    const input = [reasoning, { role: 'assistant', content: 'Yes' }];
    expect(messagesFor(...input)).toEqual([{ role: 'assistant', content: 'Yes', reasoning: 'Hm, ä.' }]);
    expect(names({ input })).toEqual([]);
    const foreign = [{ ...reasoning, encrypted_content: 'gAAAA' }, input[1]];
    expect(names({ input: foreign })).toEqual(['input[].encrypted_content']);
  });

  it('takes what Codex sends', () => {
    const { stream, withoutEffect, spec } = parse({
      model: 'm',
      instructions: 'You are a coding agent.',
      input: [
        {
          type: 'message',
          role: 'developer',
          content: [{ type: 'input_text', text: 'Ask before you delete.' }],
        },
        { type: 'message', role: 'user', content: [{ type: 'input_text', text: 'List the files.' }] },
        { type: 'reasoning', summary: [], encrypted_content: sealed('I list them.') },
        { type: 'function_call', name: 'shell', arguments: '{"command":["ls"]}', call_id: 'call_1' },
        { type: 'function_call_output', call_id: 'call_1', output: '{"output":"a.txt"}' },
      ],
      tools: [
        {
          type: 'function',
          name: 'shell',
          description: 'Runs.',
          strict: false,
          parameters: { type: 'object' },
        },
        { type: 'custom', name: 'apply_patch', format: { type: 'grammar', syntax: 'lark', definition: 'x' } },
        { type: 'web_search', external_web_access: false },
      ],
      tool_choice: 'auto',
      parallel_tool_calls: false,
      reasoning: { effort: 'medium', summary: 'auto' },
      store: false,
      stream: true,
      include: ['reasoning.encrypted_content'],
      prompt_cache_key: 'session',
      client_metadata: { a: 'b' },
    });
    expect([stream, withoutEffect]).toEqual([
      true,
      ['client_metadata', 'reasoning.summary', 'tools[].custom', 'tools[].web_search'],
    ]);
    expect(spec.input).toMatchObject({
      messages: [
        { role: 'system', content: 'You are a coding agent.\n\nAsk before you delete.' },
        { role: 'user', content: 'List the files.' },
        { role: 'assistant', content: '', reasoning: 'I list them.', toolCalls: [{ name: 'shell' }] },
        { role: 'tool', content: '{"output":"a.txt"}' },
      ],
      toolUse: { tools: [{ name: 'shell' }], isParallel: false },
    });
  });

  it('continues what is kept, and takes items that are named', () => {
    const said: Item = {
      type: 'function_call_output',
      id: 'fco_1',
      status: 'completed',
      call_id: 'c',
      output: 'x',
    };
    const over: ResponseMemory = { ...memory, conversation: () => [said], item: () => said };
    const input = [{ type: 'item_reference', id: 'fco_1' }];
    const chat = parse({ previous_response_id: 'resp_1', input }, over).spec.input;
    const result = { role: 'tool', content: 'x', toolCallId: 'c' };
    expect(chat).toMatchObject({ messages: [result, result] });
    const long: ResponseMemory = {
      ...memory,
      conversation: () => Array.from({ length: limits.messagePartsMax }, () => said),
    };
    expect(() => parse({ previous_response_id: 'resp_1' }, long)).toThrow('begin a new one');
    expect(parse({ previous_response_id: '' }).spec.input).toMatchObject({ messages: [{ content: 'Hi' }] });
  });

  it('takes no more by name than a body could hold', () => {
    const long = { type: 'function_call_output', id: 'fco_1', status: 'completed', call_id: 'c' } as const;
    const over: ResponseMemory = { ...memory, item: () => ({ ...long, output: 'x'.repeat(1024 * 1024) }) };
    const named = (count: number) =>
      Array.from({ length: count }, () => ({ type: 'item_reference', id: 'fco_1' }));
    expect(parse({ input: named(15) }, over).spec.input).toMatchObject({ kind: 'chat' });
    expect(() => parse({ input: named(16) }, over)).toThrow('name fewer');
  });

  it('names what changes nothing inside of fields', () => {
    expect(names({ reasoning: { effort: 'low', summary: 'auto' }, text: { verbosity: 'low' } })).toEqual([
      'text.verbosity',
      'reasoning.summary',
    ]);
    const part = { type: 'input_text', text: 'x', prompt_cache_breakpoint: {} };
    const input = [{ role: 'user', content: [part], phase: 'commentary', id: 'msg_1', status: 'completed' }];
    expect(names({ input })).toEqual(['input[].phase', 'input[].content[].prompt_cache_breakpoint']);
    const many = Object.fromEntries(Array.from({ length: 500 }, (_, at) => [`f${at}`, 1]));
    expect(names({ input: [{ role: 'user', content: 'x', ...many }] }).length).toBeLessThan(
      limits.fieldsReportedMax + 2,
    );
  });

  it.each([
    [{ input: null }, 'REQUEST_INVALID', 'input'],
    [{ input: [] }, 'REQUEST_INVALID', 'input'],
    [{ input: 5 }, 'REQUEST_INVALID', 'input'],
    [{ input: [5] }, 'REQUEST_INVALID', 'input.0'],
    [{ input: [{}] }, 'REQUEST_INVALID', 'input.0.type'],
    [{ input: [{ type: 'computer_call' }] }, 'REQUEST_UNSUPPORTED', 'input.0.type'],
    [{ input: [{ role: 'robot', content: 'x' }] }, 'REQUEST_UNSUPPORTED', 'input.0.role'],
    [{ input: [{ role: 'user' }] }, 'REQUEST_INVALID', 'input.0.content'],
    [
      { input: [{ role: 'user', content: [{ type: 'input_image', image_url: 'x' }] }] },
      'REQUEST_UNSUPPORTED',
      'input.0.content.0.type',
    ],
    [
      { input: [{ role: 'user', content: [{ type: 'input_text' }] }] },
      'REQUEST_INVALID',
      'input.0.content.0.text',
    ],
    [{ input: [{ type: 'function_call', call_id: 'c', name: 'f' }] }, 'REQUEST_INVALID', 'input.0.arguments'],
    [
      { input: [{ type: 'function_call_output', call_id: 'c', output: [{ type: 'input_file' }] }] },
      'REQUEST_UNSUPPORTED',
      'input.0.output.0.type',
    ],
    [{ previous_response_id: 'resp_1' }, 'NOT_FOUND', 'previous_response_id'],
    [{ background: true, store: false }, 'REQUEST_INVALID', 'background'],
    [{ truncation: 'auto' }, 'REQUEST_UNSUPPORTED', 'truncation'],
    [{ include: ['message.output_text.logprobs'] }, 'REQUEST_UNSUPPORTED', 'include.0'],
    [{ text: { format: { type: 'xml' } } }, 'REQUEST_INVALID', 'text.format.type'],
    [{ tools: [5] }, 'REQUEST_INVALID', 'tools.0'],
    [{ tools: [{ type: 'function' }] }, 'REQUEST_INVALID', 'tools.0.name'],
    [{ tools: [tool, tool] }, 'REQUEST_INVALID', 'tools.1.name'],
    [{ tool_choice: 'required' }, 'REQUEST_INVALID', 'tool_choice'],
    [{ tool_choice: { type: 'function', name: 'g' }, tools: [tool] }, 'REQUEST_INVALID', 'tool_choice.name'],
    [{ tool_choice: { type: 'web_search' }, tools: [tool] }, 'REQUEST_UNSUPPORTED', 'tool_choice.type'],
    [
      { tool_choice: { type: 'allowed_tools', mode: 'required', tools: [] }, tools: [tool] },
      'REQUEST_INVALID',
      'tool_choice.tools',
    ],
    [{ metadata: { a: 5 } }, 'REQUEST_INVALID', 'metadata.a'],
    [{ max_output_tokens: 0 }, 'REQUEST_INVALID', 'max_output_tokens'],
    [{ nonsense: 1 }, 'REQUEST_UNSUPPORTED', 'nonsense'],
  ])('refuses %j as %s', (fields, code, param) => {
    expect(refusal(fields)).toEqual([code, param]);
  });
});
