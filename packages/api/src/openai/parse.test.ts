import { ButterflyError, deadlines, limits } from '@butterfly/common';
import { type GenerationSpec, noTools } from '@butterfly/generation';
import { describe, expect, it } from 'vitest';
import { parseChatRequest, parseTextRequest } from './parse.js';

const messages = [{ role: 'user', content: 'Hi' }];
const chat = (fields: object) => parseChatRequest({ model: 'echo', messages, ...fields });
const chatSpec = (fields: object) => chat(fields).spec;
const textSpec = (fields: object) => parseTextRequest({ model: 'echo', prompt: 'Hi', ...fields }).spec;
const asText = (given: string) => ({ kind: 'text', text: given });
const messagesOf = ({ input }: GenerationSpec) => (input.kind === 'chat' ? input.messages : null);

/** What is not asked for. */
const neutral = {
  typicalP: 1,
  xtcProbability: 0,
  xtcThreshold: 0.1,
  penaltyLastN: 64,
  dry: null,
  logitBias: null,
};

function refusal(run: () => unknown): [code: string, param: string | undefined] {
  try {
    run();
  } catch (error) {
    if (!(error instanceof ButterflyError)) throw error;
    if (error.param !== undefined) expect(error.message).toContain(error.param);
    return [error.code, error.param];
  }
  throw new Error('nothing was thrown');
}

const tool = { type: 'function', function: { name: 'f' } };
const allowed = (mode: string, ...names: string[]) => ({
  type: 'allowed_tools',
  allowed_tools: { mode, tools: names.map((name) => ({ type: 'function', function: { name } })) },
});

describe('parseChatRequest and parseTextRequest', () => {
  it("fill in OpenAI's defaults", () => {
    const { spec, model, stream, withoutEffect } = chat({});
    expect({ model, stream, withoutEffect }).toEqual({ model: 'echo', stream: false, withoutEffect: [] });
    const { sampling, ...rest } = spec;
    expect(rest).toEqual({
      input: { kind: 'chat', messages, toolUse: noTools, templateValues: {}, continuesLast: false },
      format: { kind: 'text' },
      inputField: 'messages',
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
    const { seed, ...params } = sampling;
    expect(params).toEqual({
      ...neutral,
      temperature: 1,
      topK: 0,
      topP: 1,
      minP: 0,
      repeatPenalty: 1,
      frequencyPenalty: 0,
      presencePenalty: 0,
    });
    expect(seed).not.toBe(chatSpec({}).sampling.seed);
    expect(textSpec({}).outputTokensMax).toBe(16);
  });

  it('take every option, and null for its default', () => {
    const given = chat({
      temperature: 0.5,
      top_p: 0.9,
      top_k: 40,
      min_p: 0.1,
      seed: 7,
      repeat_penalty: 1.1,
      frequency_penalty: -1,
      presence_penalty: 1,
      stop: 'END',
      max_completion_tokens: 5,
      stream: true,
      stream_options: { include_usage: true },
    });
    expect(given.spec.sampling).toEqual({
      ...neutral,
      temperature: 0.5,
      topK: 40,
      topP: 0.9,
      minP: 0.1,
      repeatPenalty: 1.1,
      frequencyPenalty: -1,
      presencePenalty: 1,
      seed: 7,
    });
    expect(given).toMatchObject({ spec: { stops: ['END'], outputTokensMax: 5 }, stream: true });
    expect(chatSpec({ priority: -limits.priorityMax, timeout_ms: 1, ignore_eos: true })).toMatchObject({
      priority: -limits.priorityMax,
      timeoutMs: 1,
      ignoreEos: true,
    });
    expect(textSpec({ priority: null, timeout_ms: deadlines.requestMs, ignore_eos: null })).toMatchObject({
      priority: 0,
      timeoutMs: deadlines.requestMs,
      ignoreEos: false,
    });
    expect(chatSpec({ temperature: null, stop: null, max_tokens: null }).sampling.temperature).toBe(1);
    expect(chatSpec({ seed: -1 }).sampling.seed).toBe(0xffff_ffff);
    expect(chatSpec({ max_tokens: 3 }).outputTokensMax).toBe(3);
    expect(parseChatRequest({ messages }).model).toBeNull();
  });

  it('let pass what asks for nothing', () => {
    const idle = {
      n: 1,
      user: 'me',
      metadata: { a: 'b' },
      logit_bias: {},
      logprobs: false,
      response_format: { type: 'text' },
      tools: [],
      tool_choice: 'none',
    };
    expect(messagesOf(chatSpec(idle))).toEqual(messages);
    expect(textSpec({ echo: false, best_of: 1, suffix: null, logprobs: null }).input).toEqual(asText('Hi'));
    const echoed = { role: 'assistant', content: 'Hello', refusal: null, annotations: [], tool_calls: [] };
    expect(messagesOf(chatSpec({ messages: [...messages, echoed] }))).toHaveLength(2);
  });

  it.each([
    [{ tools: [{ type: 'web_search' }] }, 'tools.0.type'],
    [{ add_generation_prompt: false }, 'add_generation_prompt'],
    [{ nonsense: 1 }, 'nonsense'],
    [{ stream: true, stream_options: { nonsense: 1 } }, 'stream_options.nonsense'],
    [{ messages: [{ role: 'function', content: 'x' }] }, 'messages.0.role'],
    [
      {
        messages: [
          { role: 'assistant', tool_calls: [{ type: 'custom', function: { name: 'f', arguments: '' } }] },
        ],
      },
      'messages.0.tool_calls.0.type',
    ],
    [{ messages: [{ role: 'assistant', content: 'x', prefix: true }] }, 'messages.0.prefix'],
    [{ stream_options: { nonsense: 1 } }, 'stream_options.nonsense'],
  ])('refuse %j as unsupported', (fields, param) => {
    expect(refusal(() => chat(fields))).toEqual(['REQUEST_UNSUPPORTED', param]);
  });

  it.each([
    [{ best_of: 2, stream: true }, 'best_of'],
    [{ suffix: 'x', echo: true }, 'echo'],
    [{ max_completion_tokens: 5 }, 'max_completion_tokens'],
  ])('refuse %j as unsupported in a completion', (fields, param) => {
    expect(refusal(() => textSpec(fields))).toEqual(['REQUEST_UNSUPPORTED', param]);
  });

  it.each([
    [{ temperature: 'hot' }, 'temperature'],
    [{ messages: [{ role: 'tool', content: null, tool_call_id: 'a' }] }, 'messages.0.content'],
    [{ messages: [{ role: 'tool', content: 'x' }] }, 'messages.0.tool_call_id'],
    [
      { messages: [{ role: 'assistant', content: 'x', tool_calls: [{}] }] },
      'messages.0.tool_calls.0.function',
    ],
    [{ tools: 'f' }, 'tools'],
    [{ tools: [{ type: 'function', function: { name: 'a b' } }] }, 'tools.0.function.name'],
    [
      { tools: [{ type: 'function', function: { name: 'f', parameters: [] } }] },
      'tools.0.function.parameters',
    ],
    [{ tools: [tool, tool] }, 'tools.1.function.name'],
    [{ tools: Array.from({ length: limits.toolsMax + 1 }, () => tool) }, 'tools'],
    [{ tool_choice: 'sometimes' }, 'tool_choice'],
    [{ tools: [tool], tool_choice: allowed('auto', 'g') }, 'tool_choice'],
    [{ parallel_tool_calls: 'yes' }, 'parallel_tool_calls'],
    [{ reasoning_effort: 5 }, 'reasoning_effort'],
    [{ chat_template_kwargs: [] }, 'chat_template_kwargs'],
    [{ continue_final_message: true, add_generation_prompt: true }, 'add_generation_prompt'],
    [{ n: 0 }, 'n'],
    [{ n: limits.choicesMax + 1 }, 'n'],
    [{ temperature: 2.1 }, 'temperature'],
    [{ top_logprobs: 3 }, 'top_logprobs'],
    [{ logprobs: true, top_logprobs: 21 }, 'top_logprobs'],
    [{ logit_bias: { x: 1 } }, 'logit_bias.x'],
    [{ logit_bias: { 5: 101 } }, 'logit_bias.5'],
    [{ response_format: { type: 'xml' } }, 'response_format'],
    [{ repeat_last_n: -1 }, 'repeat_last_n'],
    [{ top_p: -0.1 }, 'top_p'],
    [{ top_k: 1.5 }, 'top_k'],
    [{ repeat_penalty: 0 }, 'repeat_penalty'],
    [{ seed: 0.5 }, 'seed'],
    [{ max_tokens: 0 }, 'max_tokens'],
    [{ max_tokens: 4, max_completion_tokens: 5 }, 'max_tokens'],
    [{ stop: Array.from({ length: 17 }, () => 'x') }, 'stop'],
    [{ stop: 'x'.repeat(257) }, 'stop'],
    [{ stop: '\ud83d' }, 'stop'],
    [{ stream: 'yes' }, 'stream'],
    [{ max_tokens: -2 }, 'max_tokens'],
    [{ max_tokens: 1.5 }, 'max_tokens'],
    [{ top_k: -2 }, 'top_k'],
    [{ seed: 2 ** 65 }, 'seed'],
    [{ seed: -(2 ** 65) }, 'seed'],
    [{ seed: '5' }, 'seed'],
    [{ store: 'yes' }, 'store'],
    [{ user: 5 }, 'user'],
    [{ messages: [{ role: '', content: 'x' }] }, 'messages.0.role'],
    [{ messages: [{ role: 'user', content: null }] }, 'messages.0.content'],
    [{ messages: [{ role: 'user', content: 'x', name: 5 }] }, 'messages.0.name'],
    [{ stream_options: { include_usage: 'yes' } }, 'stream_options.include_usage'],
    [{ messages: [] }, 'messages'],
    [{ messages: 'Hi' }, 'messages'],
    [{ messages: [{ role: 'user', content: 5 }] }, 'messages.0.content'],
    [{ messages: [{ role: 'user' }] }, 'messages.0.content'],
    [{ messages: undefined }, 'messages'],
    [{ metadata: 'x' }, 'metadata'],
    [{ metadata: [] }, 'metadata'],
    [{ priority: limits.priorityMax + 1 }, 'priority'],
    [{ priority: -limits.priorityMax - 1 }, 'priority'],
    [{ priority: 0.5 }, 'priority'],
    [{ priority: 'high' }, 'priority'],
    [{ timeout_ms: 0 }, 'timeout_ms'],
    [{ timeout_ms: 1.5 }, 'timeout_ms'],
    [{ timeout_ms: deadlines.requestMs + 1 }, 'timeout_ms'],
    [{ ignore_eos: 1 }, 'ignore_eos'],
    [{ messages: Array.from({ length: 8193 }, () => messages[0]) }, 'messages'],
    [
      { messages: [{ role: 'user', content: Array.from({ length: 8192 }, () => ({ type: 'text' })) }] },
      'messages',
    ],
  ])('refuse %j as invalid', (fields, param) => {
    expect(refusal(() => chat(fields))).toEqual(['REQUEST_INVALID', param]);
  });

  it('read tools, and which of them may be called', () => {
    const inputOf = (fields: object) => {
      const { input } = chatSpec(fields);
      return input.kind === 'chat' ? input : null;
    };
    const parameters = { type: 'object', properties: { a: { type: 'string' } } };
    const tools = [
      { ...tool, id: 'x' },
      { type: 'function', function: { name: 'g', description: 'G.', parameters, strict: true } },
    ];
    expect(inputOf({ tools })?.toolUse).toEqual({
      tools: [
        { name: 'f', description: null, parameters: null, isStrict: false },
        { name: 'g', description: 'G.', parameters, isStrict: true },
      ],
      choice: { kind: 'auto' },
      isParallel: true,
    });
    const choiceOf = (tool_choice: unknown) => inputOf({ tools, tool_choice })?.toolUse.choice;
    expect(choiceOf('none')).toEqual({ kind: 'none' });
    expect(choiceOf('')).toEqual({ kind: 'auto' });
    expect(choiceOf(allowed('auto', 'g'))).toEqual({ kind: 'named', names: ['g'], isRequired: false });
    expect(inputOf({ tools, parallel_tool_calls: false })?.toolUse.isParallel).toBe(false);
    expect(inputOf({ tool_choice: 'auto' })?.toolUse).toBe(noTools);
  });

  it('read calls, results and reasoning of earlier answers', () => {
    const call = { id: 'a', type: 'function', function: { name: 'f', arguments: '{"x": 1}' } };
    const talk = [
      ...messages,
      { role: 'assistant', content: null, tool_calls: [call], reasoning_content: 'Hm.' },
      { role: 'tool', content: 'one', tool_call_id: 'a' },
      {
        role: 'assistant',
        content: 'One.',
        reasoning: 'So.',
        tool_calls: [{ function: { name: 'f', arguments: { x: 1 } } }],
      },
    ];
    const given = chat({ messages: talk });
    expect(given.withoutEffect).toEqual([]);
    expect(messagesOf(given.spec)).toEqual([
      ...messages,
      {
        role: 'assistant',
        content: [],
        toolCalls: [{ id: 'a', name: 'f', arguments: '{"x": 1}' }],
        reasoning: 'Hm.',
      },
      { role: 'tool', content: 'one', toolCallId: 'a' },
      {
        role: 'assistant',
        content: 'One.',
        reasoning: 'So.',
        toolCalls: [{ id: '', name: 'f', arguments: '{"x":1}' }],
      },
    ]);
  });

  it('read values for the template, and whether the last message goes on', () => {
    expect(chatSpec({ chat_template_kwargs: { a: 1 }, reasoning_effort: 'low' }).input).toMatchObject({
      templateValues: { a: 1, reasoning_effort: 'low' },
      continuesLast: false,
    });
    for (const more of [{}, { add_generation_prompt: false }])
      expect(chatSpec({ continue_final_message: true, ...more }).input).toMatchObject({
        continuesLast: true,
      });
  });

  it('refuse bodies that are no objects', () => {
    for (const body of [undefined, null, 5, 'x', []])
      expect(refusal(() => parseChatRequest(body))).toEqual(['REQUEST_INVALID', undefined]);
  });

  it('read prompts in all their forms', () => {
    expect(textSpec({ prompt: ['one'] }).input).toEqual(asText('one'));
    const tokens = { kind: 'tokens', tokens: Int32Array.of(1, 2) };
    expect(textSpec({ prompt: [1, 2] }).input).toEqual(tokens);
    expect(textSpec({ prompt: [[1, 2]] }).input).toEqual(tokens);
    expect(textSpec({ prompt: ['a', [1]] }).input).toEqual({
      kind: 'several',
      inputs: [asText('a'), { kind: 'tokens', tokens: Int32Array.of(1) }],
    });
    for (const prompt of [[], [-1], [1.5], ['a', 1], 5, null, [2 ** 40]])
      expect(refusal(() => textSpec({ prompt }))).toEqual(['REQUEST_INVALID', 'prompt']);
  });

  it.each([
    [2 ** 63, -(2 ** 63)],
    [2 ** 64 - 2048, 2 ** 64 - 4096],
    [-(2 ** 53) - 2, 2 ** 53 + 2],
  ])('take seeds of 64 bits, the same for the same: %d', (seed, other) => {
    const { seed: taken } = chatSpec({ seed }).sampling;
    expect(taken).toBe(textSpec({ seed }).sampling.seed);
    expect(Number.isInteger(taken) && taken >= 0 && taken < 2 ** 32).toBe(true);
    if (Math.abs(other) !== Math.abs(seed)) expect(chatSpec({ seed: other }).sampling.seed).not.toBe(taken);
  });

  it('give seeds that differ other draws, also where their low bits say nothing', () => {
    const seeds = Array.from({ length: 1000 }, (_, at) => 2 ** 62 + at * 1024);
    expect(new Set(seeds.map((seed) => chatSpec({ seed }).sampling.seed)).size).toBe(seeds.length);
  });

  it('take more output than any context, and no limits, as what there is', () => {
    expect(chatSpec({ max_tokens: -1 }).outputTokensMax).toBeNull();
    expect(chatSpec({ max_completion_tokens: -1 }).outputTokensMax).toBeNull();
    expect(textSpec({ max_tokens: -1 }).outputTokensMax).toBeNull();
    expect(chatSpec({ max_tokens: 2 ** 63 }).outputTokensMax).toBe(2 ** 63);
    for (const top_k of [-1, 0]) expect(chatSpec({ top_k }).sampling.topK).toBe(0);
    // Its field on the wire has 32 bits.
    expect(chatSpec({ top_k: 2 ** 40 }).sampling.topK).toBeLessThan(2 ** 32);
  });

  it('take a blank string for no value', () => {
    expect(chat({ model: '' }).model).toBeNull();
    expect(chat({ model: ' \t' }).model).toBeNull();
    expect(chatSpec({ stop: '' }).stops).toEqual([]);
    expect(chatSpec({ stop: ['', '\n', ''] }).stops).toEqual(['\n']);
    const idle = { user: '', reasoning_effort: '', tool_choice: '', response_format: '', metadata: '' };
    expect(chat(idle).withoutEffect).toEqual([]);
    expect(parseTextRequest({ prompt: 'Hi', suffix: '' }).withoutEffect).toEqual([]);
    expect(messagesOf(chatSpec({ messages: [{ role: 'user', content: 'x', name: '' }] }))).toEqual([
      { role: 'user', content: 'x' },
    ]);
  });

  it('take null for absent wherever it stands', () => {
    const parts = [
      { type: 'text', text: null },
      { type: 'text', text: 'Hi' },
    ];
    const nothing = { refusal: null, tool_calls: null, function_call: null, audio: null, name: null };
    const given = chat({
      messages: [
        { role: 'user', content: parts, name: null },
        { role: 'assistant', content: null, ...nothing },
        { role: 'assistant', ...nothing },
      ],
    });
    expect(messagesOf(given.spec)).toEqual([
      {
        role: 'user',
        content: [
          { type: 'text', text: '' },
          { type: 'text', text: 'Hi' },
        ],
      },
      { role: 'assistant', content: [] },
      { role: 'assistant', content: [] },
    ]);
    expect(given.withoutEffect).toEqual([]);
  });

  it('call developers by the name that templates know', () => {
    expect(messagesOf(chatSpec({ messages: [{ role: 'developer', content: 'x' }] }))).toEqual([
      { role: 'system', content: 'x' },
    ]);
  });
});
