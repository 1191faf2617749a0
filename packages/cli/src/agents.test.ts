import Anthropic from '@anthropic-ai/sdk';
import { Ajv } from 'ajv';
import { Ollama } from 'ollama';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Server } from './testing/server.js';

const weather = {
  type: 'object',
  properties: {
    city: { type: 'string', maxLength: 12 },
    days: { type: 'integer', minimum: 1, maximum: 7 },
    unit: { enum: ['celsius', 'fahrenheit'] },
  },
  required: ['city', 'days', 'unit'],
  additionalProperties: false,
};
const isWeather = new Ajv().compile(weather);
const tool = {
  type: 'function' as const,
  function: { name: 'get_weather', description: 'Looks.', parameters: weather },
};
const messages = [{ role: 'user' as const, content: 'How is the weather in Ulm?' }];
/** Hot, so that nothing but the constraint keeps the model to its form. */
const hot = { temperature: 1.5, max_completion_tokens: 300 };

let server: Server;
beforeAll(async () => {
  server = await new Server(['--workers', '3', '--stages', '3', '--ctx', '1024']).ready();
});
afterAll(() => server[Symbol.asyncDispose]());

const seeded = (seed: number): object => ({ seed });

describe('agents over a model in three stages', () => {
  it('get calls that parse and are valid, whole and streamed', async () => {
    for (const seed of [1, 2, 3]) {
      const asked = {
        model: server.modelName,
        messages,
        tools: [tool],
        tool_choice: 'required' as const,
        parallel_tool_calls: false,
        ...hot,
        ...seeded(seed),
      };
      const { choices } = await server.openai.chat.completions.create(asked);
      expect(choices[0]?.finish_reason).toBe('tool_calls');
      const [call] = choices[0]?.message.tool_calls ?? [];
      if (call?.type !== 'function') throw new Error('There is no call.');
      expect(call.function.name).toBe('get_weather');
      expect([call.function.arguments, isWeather(JSON.parse(call.function.arguments))]).toEqual([
        call.function.arguments,
        true,
      ]);
      const streamed = await server.openai.chat.completions.stream(asked).finalChatCompletion();
      const [again] = streamed.choices[0]?.message.tool_calls ?? [];
      expect(again?.type === 'function' && again.function.arguments).toBe(call.function.arguments);
    }
  });

  it('get answers of a schema, and go on with it when the last worker is killed', async () => {
    const format = {
      type: 'json_schema' as const,
      json_schema: { name: 'weather', schema: weather, strict: true },
    };
    const asked = { model: server.modelName, messages, response_format: format, ...hot, ...seeded(5) };
    const whole = (await server.openai.chat.completions.create(asked)).choices[0]?.message.content ?? '';
    expect([whole, isWeather(JSON.parse(whole))]).toEqual([whole, true]);
    const stream = await server.openai.chat.completions.create({ ...asked, stream: true });
    let text = '';
    let isKilled = false;
    for await (const chunk of stream) {
      text += chunk.choices[0]?.delta.content ?? '';
      if (isKilled || text.length < 5) continue;
      isKilled = true;
      const last = server.stages.at(-1);
      if (last) process.kill(last.pid, 'SIGKILL');
    }
    expect([isKilled, isWeather(JSON.parse(text))]).toEqual([true, true]);
  });

  it('get an answer of a schema or calls, whichever the model begins', async () => {
    const form = { type: 'object', properties: { sunny: { type: 'boolean' } }, required: ['sunny'] };
    for (const seed of [1, 2, 3]) {
      const { choices } = await server.openai.chat.completions.create({
        model: server.modelName,
        messages,
        tools: [tool],
        parallel_tool_calls: false,
        response_format: { type: 'json_schema', json_schema: { name: 'form', schema: form, strict: true } },
        ...hot,
        ...seeded(seed),
      });
      const { content, tool_calls: calls = [] } = choices[0]?.message ?? {};
      const given = calls.map(
        (call) => call.type === 'function' && isWeather(JSON.parse(call.function.arguments)),
      );
      if (given.length > 0) expect(given).toEqual(given.map(() => true));
      else expect(JSON.parse(content ?? '')).toEqual({ sunny: expect.any(Boolean) as boolean });
    }
  });

  it('get the likeliest of several texts, and texts that repeat themselves less', async () => {
    const asked = { model: server.modelName, prompt: 'Once upon a time', max_tokens: 24, ...seeded(3) };
    const ask = async (fields: object) =>
      (await server.openai.completions.create({ ...asked, ...fields, stream: false })).choices;
    const all = await ask({ n: 4, logprobs: 0 });
    const mean = ({ logprobs }: (typeof all)[number]): number => {
      const told = logprobs?.token_logprobs ?? [];
      return told.reduce((sum, each) => sum + each, 0) / told.length;
    };
    const ranked = all.toSorted((a, b) => mean(b) - mean(a)).map(({ text }) => text);
    const best = await ask({ n: 2, best_of: 4 });
    expect(best.map(({ text }) => text)).toEqual(ranked.slice(0, 2));
    const dull = { temperature: 0, max_tokens: 200 };
    const dry = {
      dry_multiplier: 2,
      dry_allowed_length: 1,
      dry_penalty_last_n: 1024,
      dry_sequence_breakers: [],
    };
    const longestRepeat = (text: string): number => {
      const words = text.split(/\s+/);
      let longest = 0;
      for (let a = 0; a < words.length; a++)
        for (let b = a + 1; b < words.length; b++) {
          let length = 0;
          while (b + length < words.length && words[a + length] === words[b + length]) length++;
          longest = Math.max(longest, length);
        }
      return longest;
    };
    const [plain, varied] = [await ask(dull), await ask({ ...dull, ...dry })];
    expect(longestRepeat(varied[0]?.text ?? '')).toBeLessThan(longestRepeat(plain[0]?.text ?? ''));
  });

  it('are told how likely each token was, at the best choices', async () => {
    const { choices } = await server.openai.chat.completions.create({
      model: server.modelName,
      messages,
      temperature: 0,
      max_completion_tokens: 5,
      logprobs: true,
      top_logprobs: 3,
    });
    const told = choices[0]?.logprobs?.content ?? [];
    expect(told).toHaveLength(5);
    for (const { token, logprob, top_logprobs: top } of told) {
      expect(top[0]).toMatchObject({ token, logprob });
      expect(top.map((each) => each.logprob)).toEqual(top.map((each) => each.logprob).sort((a, b) => b - a));
    }
    expect(told.map(({ token }) => token).join('')).toBe(choices[0]?.message.content);
  });

  it('score a text', async () => {
    const { choices } = await server.openai.completions.create({
      model: server.modelName,
      prompt: 'Once upon a time',
      max_tokens: 0,
      echo: true,
      logprobs: 1,
    });
    const { logprobs, text } = choices[0] ?? {};
    expect(text).toBe('Once upon a time');
    expect(logprobs?.tokens?.join('').endsWith('Once upon a time')).toBe(true);
    expect(logprobs?.token_logprobs?.slice(1).every((each) => each < 0)).toBe(true);
  });

  it('speak Anthropic and Ollama', async () => {
    const anthropic = new Anthropic({ baseURL: server.url, apiKey: 'none' });
    const message = await anthropic.messages.create({
      model: server.modelName,
      max_tokens: 300,
      messages,
      tools: [{ name: 'get_weather', input_schema: { ...weather, type: 'object' as const } }],
      tool_choice: { type: 'any', disable_parallel_tool_use: true },
    });
    expect(message.stop_reason).toBe('tool_use');
    const [use] = message.content.filter(({ type }) => type === 'tool_use');
    expect(use?.type === 'tool_use' && isWeather(use.input)).toBe(true);
    const ollama = new Ollama({ host: server.url });
    const { message: said } = await ollama.chat({
      model: server.modelName,
      messages,
      format: weather,
      options: { temperature: 1.5, num_predict: 100 },
    });
    expect(isWeather(JSON.parse(said.content))).toBe(true);
  });

  it('get embeddings of texts, the same of each alone and of all together', async () => {
    const input = ['a butterfly', 'a moth', 'the weather in Ulm'];
    const { data } = await server.openai.embeddings.create({ model: server.modelName, input });
    const alone = await Promise.all(
      input.map((text) => server.openai.embeddings.create({ model: server.modelName, input: text })),
    );
    expect(data.map(({ embedding }) => embedding)).toEqual(alone.map((each) => each.data[0]?.embedding));
    for (const { embedding } of data) expect(Math.hypot(...embedding)).toBeCloseTo(1, 4);
  });
});
