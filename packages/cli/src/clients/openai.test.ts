import OpenAI, { APIUserAbortError, BadRequestError, NotFoundError } from 'openai';
import { zodResponseFormat, zodTextFormat } from 'openai/helpers/zod';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  formTokens,
  question,
  threeStages,
  weatherFault,
  weatherSchema,
  weatherShape,
} from '../testing/asked.js';
import type { Server } from '../testing/server.js';

const messages = [{ role: 'user' as const, content: question }];
const tool = {
  type: 'function' as const,
  function: { name: 'get_weather', description: 'Looks.', parameters: weatherSchema },
};
const other = { type: 'function' as const, function: { name: 'wait', parameters: weatherSchema } };
/** Hot, so that nothing but the constraint keeps the model to its form. */
const hot = { temperature: 1.5, seed: 4, max_completion_tokens: formTokens };

let server: Server;
let client: OpenAI;
let model: string;
beforeAll(async () => {
  server = await threeStages();
  client = server.openai;
  model = server.modelName;
});
afterAll(() => server[Symbol.asyncDispose]());

const chat = async (more: object) => {
  const { choices } = await client.chat.completions.create({ model, messages, ...hot, ...more });
  const calls = choices[0]?.message.tool_calls ?? [];
  return {
    content: choices[0]?.message.content ?? null,
    reason: choices[0]?.finish_reason,
    calls: calls.flatMap((call) => (call.type === 'function' ? [call.function] : [])),
  };
};

describe('chats', () => {
  it('stream what they say whole, with usage at the end', async () => {
    const plain = { model, messages, temperature: 0, max_completion_tokens: 12 };
    const whole = await client.chat.completions.create(plain);
    const helper = client.chat.completions.stream({ ...plain, stream_options: { include_usage: true } });
    const final = await helper.finalChatCompletion();
    expect(final.choices[0]?.message.content).toBe(whole.choices[0]?.message.content);
    expect(await helper.totalUsage()).toMatchObject({ completion_tokens: 12 });
    expect(final.usage?.prompt_tokens).toBe(whole.usage?.prompt_tokens);
  });

  it('go on with their own answer, with words of system and developer, and with texts in parts', async () => {
    const asked = (content: string) => [
      { role: 'system' as const, content },
      { role: 'developer' as const, content: 'Be kind.' },
      ...messages,
    ];
    const ask = async (more: OpenAI.Chat.ChatCompletionMessageParam[]) =>
      client.chat.completions.create({ model, messages: more, temperature: 0, max_completion_tokens: 5 });
    const short = await ask(asked('Be brief.'));
    const long = await ask(asked('Be brief, and do not say what the wind does.'));
    expect(long.usage?.prompt_tokens).toBeGreaterThan(short.usage?.prompt_tokens ?? Infinity);
    const said = short.choices[0]?.message;
    if (said === undefined) throw new Error('There is no answer.');
    const parts = [
      { type: 'text' as const, text: 'And ' },
      { type: 'text' as const, text: 'tomorrow?' },
    ];
    const more = await ask([...asked('Be brief.'), said, { role: 'user', content: parts }]);
    expect(more.usage?.prompt_tokens).toBeGreaterThan(short.usage?.prompt_tokens ?? Infinity);
  });

  it('have several choices, and are led by biases', async () => {
    const one = { model, messages, temperature: 1, seed: 2, max_completion_tokens: 6 };
    const several = await client.chat.completions.create({ ...one, n: 2 });
    expect(several.choices.map(({ index }) => index)).toEqual([0, 1]);
    const biased = await client.chat.completions.create({ ...one, logit_bias: { 365: 100 } });
    expect(biased.choices[0]?.message.content).toMatch(/^(.+)\1{5}$/u);
  });

  it('stop at a word', async () => {
    const free = await client.chat.completions.create({
      model,
      messages,
      temperature: 0,
      max_completion_tokens: 9,
    });
    const text = free.choices[0]?.message.content ?? '';
    const stop = text.trim().slice(2, 5);
    const stopped = await chat({ temperature: 0, stop });
    expect([stopped.content, stopped.reason]).toEqual([text.slice(0, text.indexOf(stop)), 'stop']);
  });

  it('are cut off when their client goes', async () => {
    const aborting = new AbortController();
    const stream = await client.chat.completions.create(
      { model, messages, temperature: 0, max_completion_tokens: 900, stream: true },
      { signal: aborting.signal },
    );
    let chunks = 0;
    for await (const { choices } of stream) if ((chunks += choices.length) === 3) aborting.abort();
    expect(chunks).toBeLessThan(900);
    await expect(
      client.chat.completions.create({ model, messages }, { signal: aborting.signal }),
    ).rejects.toBeInstanceOf(APIUserAbortError);
    await expect.poll(() => server.status(), { timeout: 60_000 }).toMatchObject({ running: 0, queued: 0 });
  });
});

describe('tools', () => {
  it.each([
    ['required', 'required', ['get_weather', 'wait']],
    ['a name', { type: 'function', function: { name: 'wait' } }, ['wait']],
    [
      'one of a list',
      { type: 'allowed_tools', allowed_tools: { mode: 'required', tools: [tool] } },
      ['get_weather'],
    ],
  ])('are called where they must be: %s', async (_, tool_choice, names) => {
    const { calls, reason } = await chat({ tools: [tool, other], tool_choice, parallel_tool_calls: false });
    expect([calls.length, reason]).toEqual([1, 'tool_calls']);
    expect(names).toContain(calls[0]?.name);
    expect(weatherFault(JSON.parse(calls[0]?.arguments ?? ''))).toBeNull();
  });

  it('are not called where they must not be', async () => {
    const { calls } = await chat({ tools: [tool], tool_choice: 'none', max_completion_tokens: 20 });
    expect(calls).toEqual([]);
  });

  it('are valid, as many as there are, where several may be called', async () => {
    const { calls } = await chat({
      tools: [tool, other],
      tool_choice: 'required',
      parallel_tool_calls: true,
      max_completion_tokens: 200,
    });
    expect(calls.length).toBeGreaterThan(0);
    for (const [at, { arguments: json }] of calls.entries()) {
      // The last may have met the end of its room.
      if (at < calls.length - 1) expect(weatherFault(JSON.parse(json))).toBeNull();
    }
  });

  it('are run by the helper, which sends back what came of them', async () => {
    const given: unknown[] = [];
    const runner = client.chat.completions.runTools(
      {
        model,
        messages,
        ...hot,
        parallel_tool_calls: false,
        tool_choice: { type: 'function', function: { name: 'get_weather' } },
        tools: [
          {
            type: 'function',
            function: {
              name: 'get_weather',
              description: 'Looks.',
              parameters: weatherSchema,
              parse: JSON.parse,
              function: (value: unknown) => {
                given.push(value);
                return 'sun';
              },
            },
          },
        ],
      },
      { maxChatCompletions: 2 },
    );
    await runner.done();
    expect(given.map(weatherFault)).toEqual([null]);
    expect(runner.messages.map(({ role }) => role)).toEqual(['user', 'assistant', 'tool']);
    const next = await client.chat.completions.create({
      model,
      messages: runner.messages,
      tools: [tool],
      max_completion_tokens: 5,
    });
    expect(next.usage?.completion_tokens).toBeGreaterThan(0);
  });
});

describe('forms', () => {
  it('are parsed by the helper', async () => {
    const { choices } = await client.chat.completions.parse({
      model,
      messages,
      ...hot,
      response_format: zodResponseFormat(weatherShape, 'weather'),
    });
    expect(weatherFault(choices[0]?.message.parsed)).toBeNull();
  });

  it('are any JSON', async () => {
    for (const seed of [1, 2, 3]) {
      const asked = {
        response_format: { type: 'json_object' },
        temperature: 1,
        max_completion_tokens: 150,
        seed,
      };
      const { content, reason } = await chat(asked);
      if (reason === 'stop') expect(typeof JSON.parse(content ?? '')).toBe('object');
      else expect([reason, content?.trim()[0]]).toEqual(['length', '{']);
    }
  });
});

describe('responses', () => {
  it('are created, streamed, parsed and remembered', async () => {
    const asked = { model, input: question, temperature: 0, max_output_tokens: 16 };
    const whole = await client.responses.create(asked);
    const streamed = await client.responses.stream(asked).finalResponse();
    expect([streamed.output_text, streamed.usage?.output_tokens]).toEqual([
      whole.output_text,
      whole.usage?.output_tokens,
    ]);
    expect((await client.responses.retrieve(whole.id)).output_text).toBe(whole.output_text);
    const next = await client.responses.create({ ...asked, previous_response_id: whole.id });
    expect(next.usage?.input_tokens).toBeGreaterThan(whole.usage?.input_tokens ?? Infinity);
    const parsed = await client.responses.parse({
      ...asked,
      temperature: 1.5,
      max_output_tokens: formTokens,
      text: { format: zodTextFormat(weatherShape, 'weather') },
    });
    expect(weatherFault(parsed.output_parsed)).toBeNull();
  });

  it('call tools', async () => {
    const { output } = await client.responses.create({
      model,
      input: question,
      tools: [{ type: 'function', name: 'get_weather', parameters: weatherSchema, strict: true }],
      tool_choice: 'required',
      parallel_tool_calls: false,
      temperature: 1.5,
      max_output_tokens: formTokens,
    });
    const [call] = output.filter(({ type }) => type === 'function_call');
    expect(call?.type === 'function_call' && weatherFault(JSON.parse(call.arguments))).toBeNull();
  });
});

describe('the rest', () => {
  it('completes several prompts, with echo and log probabilities', async () => {
    const { choices } = await client.completions.create({
      model,
      prompt: ['Once', 'A cat'],
      max_tokens: 4,
      echo: true,
      logprobs: 2,
      temperature: 0,
    });
    expect(choices.map(({ text }) => /^(?:Once|A cat)/u.exec(text)?.[0])).toEqual(['Once', 'A cat']);
    for (const { logprobs, text } of choices)
      expect(logprobs?.tokens?.join('')).toMatch(new RegExp(`^(?:<s>)? ?${text}$`, 'u'));
  });

  it('embeds, in both encodings, and lists the model', async () => {
    const asked = { model, input: ['a moth', 'a cat'] };
    const plain = await client.embeddings.create({ ...asked, encoding_format: 'float' });
    // The client decodes it.
    const packed = await client.embeddings.create({ ...asked, encoding_format: 'base64' });
    expect(plain.data.map(({ embedding }) => embedding.length)).toEqual([64, 64]);
    const bytes = (embedding: unknown): Buffer => Buffer.from(embedding as string, 'base64');
    expect(packed.data.map(({ embedding }) => bytes(embedding).length)).toEqual([64 * 4, 64 * 4]);
    const { data } = await client.models.list();
    expect(data.map(({ id }) => id)).toEqual([model]);
    expect((await client.models.retrieve(model)).id).toBe(model);
  });

  it('refuses by name what is not there', async () => {
    const image = [{ type: 'image_url', image_url: { url: 'data:image/png;base64,aGk=' } }];
    await expect(chat({ messages: [{ role: 'user', content: image }] })).rejects.toThrow(
      /messages\.0\.content\.0/u,
    );
    await expect(chat({ model: 'gpt-9' })).rejects.toBeInstanceOf(NotFoundError);
    const long = chat({ messages: [{ role: 'user', content: 'word '.repeat(2000) }] });
    await expect(long).rejects.toMatchObject({ code: 'context_length_exceeded' });
    await expect(long).rejects.toBeInstanceOf(BadRequestError);
  });
});
