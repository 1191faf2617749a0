import { createOpenAI } from '@ai-sdk/openai';
import { Agent, OpenAIResponsesModel, Runner, setTracingDisabled, tool as agentTool } from '@openai/agents';
import { generateText, stepCountIs, streamText, tool as sdkTool } from 'ai';
import OpenAI from 'openai';
import type { ResponseInputItem } from 'openai/resources/responses/responses';
import { zodTextFormat } from 'openai/helpers/zod';
import { beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { startApi } from '../testing/api.js';
import { conformanceErrors } from '../testing/conformance/validate.js';
import { eventsFor, type Line, startScripted } from '../testing/scripted-responses.js';
import { eventsOf } from '../testing/server-events.js';

const call: Line = { kind: 'call', id: 'call_1', name: 'weather', arguments: ['{"city":', '"Bern"}'] };
const first: readonly Line[] = [{ kind: 'reasoning', text: 'I look.' }, call];
const last: readonly Line[] = [{ kind: 'text', text: 'Sunny.' }];

/** A model that thinks, calls a tool and then says what came of it. */
const startWeather = () => startScripted((_spec, turn) => eventsFor(turn === 0 ? first : last));
const clientOf = (baseURL: string) => new OpenAI({ baseURL, apiKey: 'none', maxRetries: 0 });
const weather = {
  type: 'function' as const,
  name: 'weather',
  description: 'Tells the weather.',
  parameters: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
  strict: true,
};

/** What the model read in its second turn. */
const secondTurn = [
  { role: 'user', content: 'How is it in Bern?' },
  {
    role: 'assistant',
    reasoning: 'I look.',
    toolCalls: [{ id: 'call_1', name: 'weather', arguments: '{"city":"Bern"}' }],
  },
  { role: 'tool', content: expect.stringContaining('sun') as string, toolCallId: 'call_1' },
];

const messagesOf = (server: Awaited<ReturnType<typeof startScripted>>, turn: number) => {
  const input = server.specs[turn]?.input;
  return input?.kind === 'chat' ? input.messages : null;
};

describe('the official client', () => {
  it('calls a tool and sends back what came of it', async () => {
    await using server = await startWeather();
    const client = clientOf(server.baseURL);
    const asked = { role: 'user' as const, content: 'How is it in Bern?' };
    const one = await client.responses.create({ model: 'm', tools: [weather], input: [asked] });
    expect(conformanceErrors('response', { ...one })).toEqual([]);
    const [thought, made] = one.output;
    expect([thought?.type, made]).toEqual([
      'reasoning',
      expect.objectContaining({ type: 'function_call', call_id: 'call_1', arguments: '{"city":"Bern"}' }),
    ]);
    expect(one.usage).toMatchObject({
      input_tokens_details: { cached_tokens: 3 },
      output_tokens_details: { reasoning_tokens: 2 },
    });
    const result = { type: 'function_call_output' as const, call_id: 'call_1', output: 'sun' };
    const two = await client.responses.create({
      model: 'm',
      tools: [weather],
      input: [asked, ...(one.output as ResponseInputItem[]), result],
    });
    expect(two.output_text).toBe('Sunny.');
    expect(messagesOf(server, 1)).toMatchObject(secondTurn);
    await client.responses.create({ model: 'm', previous_response_id: one.id, input: [result] });
    expect(messagesOf(server, 2)).toMatchObject(secondTurn);
  });

  it('streams a tool call, and its helper puts it together', async () => {
    await using server = await startWeather();
    const helper = clientOf(server.baseURL).responses.stream({ model: 'm', tools: [weather], input: 'Hi' });
    const final = await helper.finalResponse();
    expect(final.output[1]).toMatchObject({
      type: 'function_call',
      arguments: '{"city":"Bern"}',
      status: 'completed',
    });
  });

  it('gets events that conform, whatever follows whatever', async () => {
    const lines: Line[] = [
      { kind: 'text', text: 'A' },
      call,
      { ...call, id: 'call_2' },
      { kind: 'reasoning', text: 'B' },
      ...last,
    ];
    await using server = await startScripted(() => eventsFor(lines, 'length'));
    const post = (stream: boolean) =>
      fetch(`${server.baseURL}/responses`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ input: 'Hi', stream, tools: [weather] }),
      });
    const events = eventsOf(await (await post(true)).text());
    for (const event of events)
      expect([event.type, conformanceErrors('responseEvent', event)]).toEqual([event.type, []]);
    const { output } = events.at(-1)?.response as { output: { type: string; status: string }[] };
    expect(output.map(({ type, status }) => [type, status])).toEqual([
      ['message', 'completed'],
      ['function_call', 'completed'],
      ['function_call', 'completed'],
      ['reasoning', 'completed'],
      ['message', 'incomplete'],
    ]);
    const done = events.filter(({ type }) => type === 'response.output_item.done');
    expect(done.map(({ item }) => item)).toEqual(output);
    expect(done.map(({ output_index }) => output_index)).toEqual([0, 1, 2, 3, 4]);
    expect(conformanceErrors('response', await (await post(false)).json())).toEqual([]);
  });

  it('parses an answer by its schema', async () => {
    await using server = await startScripted(() => eventsFor([{ kind: 'text', text: '{"degrees":21}' }]));
    const { output_parsed } = await clientOf(server.baseURL).responses.parse({
      model: 'm',
      input: 'Hi',
      text: { format: zodTextFormat(z.object({ degrees: z.number() }), 'weather') },
    });
    expect(output_parsed).toEqual({ degrees: 21 });
    expect(server.specs[0]?.format).toMatchObject({ kind: 'schema', schema: { required: ['degrees'] } });
  });
});

describe("the AI SDK's default entry point", () => {
  const tools = {
    weather: sdkTool({
      description: 'Tells the weather.',
      inputSchema: z.object({ city: z.string() }),
      execute: ({ city }) => `${city}: sun`,
    }),
  };
  const options = { tools, prompt: 'How is it in Bern?', stopWhen: stepCountIs(3) };

  it.each([true, false])('calls tools over several steps (store: %s)', async (store) => {
    await using server = await startWeather();
    const openai = createOpenAI({ baseURL: server.baseURL, apiKey: 'none' });
    const { text, steps } = await generateText({
      ...options,
      model: openai('m'),
      providerOptions: {
        openai: store ? { store } : { store, include: ['reasoning.encrypted_content'] },
      },
    });
    expect([text, steps.length]).toEqual(['Sunny.', 2]);
    expect(messagesOf(server, 1)).toMatchObject(secondTurn);
  });

  it('streams text and tools', async () => {
    await using server = await startWeather();
    const openai = createOpenAI({ baseURL: server.baseURL, apiKey: 'none' });
    const { textStream, finishReason } = streamText({ ...options, model: openai('m') });
    let text = '';
    for await (const piece of textStream) text += piece;
    expect([text, await finishReason]).toEqual(['Sunny.', 'stop']);
  });

  it('answers over the real API', async () => {
    await using api = await startApi();
    const openai = createOpenAI({ baseURL: `${api.url}/v1`, apiKey: 'none' });
    const { text, usage } = await generateText({ model: openai('echo'), prompt: 'Hi' });
    expect([text, usage.outputTokens]).toEqual(['user=Hi|', 8]);
  });
});

describe('the Agents SDK', () => {
  beforeAll(() => setTracingDisabled(true));
  const agentOf = (baseURL: string) =>
    new Agent({
      name: 'Forecaster',
      instructions: 'Tell the weather.',
      model: new OpenAIResponsesModel(clientOf(baseURL), 'm'),
      tools: [
        agentTool({
          name: 'weather',
          description: 'Tells the weather.',
          parameters: z.object({ city: z.string() }),
          execute: ({ city }) => `${city}: sun`,
        }),
      ],
    });

  it('runs an agent with a tool', async () => {
    await using server = await startWeather();
    const { finalOutput } = await new Runner().run(agentOf(server.baseURL), 'How is it in Bern?');
    expect(finalOutput).toBe('Sunny.');
    expect(messagesOf(server, 1)).toMatchObject([
      { role: 'system', content: 'Tell the weather.' },
      ...secondTurn,
    ]);
  });

  it('streams a run', async () => {
    await using server = await startWeather();
    const run = await new Runner().run(agentOf(server.baseURL), 'How is it in Bern?', { stream: true });
    let text = '';
    for await (const piece of run.toTextStream({ compatibleWithNodeStreams: false })) text += piece;
    await run.completed;
    expect([text, run.finalOutput]).toEqual(['Sunny.', 'Sunny.']);
  });
});
