import {
  Agent,
  OpenAIChatCompletionsModel,
  run,
  setDefaultOpenAIClient,
  setTracingDisabled,
  tool,
} from '@openai/agents';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { formTokens, question, threeStages, weatherFault, weatherShape } from '../testing/asked.js';
import type { Server } from '../testing/server.js';

let server: Server;
beforeAll(async () => {
  setTracingDisabled(true);
  server = await threeStages();
  // All that a user of the SDK has to set.
  setDefaultOpenAIClient(server.openai);
});
afterAll(() => server[Symbol.asyncDispose]());

const settings = { temperature: 1, maxTokens: formTokens, parallelToolCalls: false };

describe.each([
  ['the default, which is Responses', () => server.modelName],
  ['chats', () => new OpenAIChatCompletionsModel(server.openai, server.modelName)],
] as const)('agents over %s', (_, model) => {
  it('answer, at once and streamed', async () => {
    const agent = new Agent({
      name: 'Forecaster',
      instructions: 'Be brief.',
      model: model(),
      modelSettings: { temperature: 0, maxTokens: 16 },
    });
    const { finalOutput, rawResponses } = await run(agent, question);
    expect(String(finalOutput).length).toBeGreaterThan(0);
    expect(rawResponses[0]?.usage.outputTokens).toBeGreaterThan(0);
    const streamed = await run(agent, question, { stream: true });
    let text = '';
    for await (const piece of streamed.toTextStream({ compatibleWithNodeStreams: false })) text += piece;
    await streamed.completed;
    expect([text, streamed.finalOutput]).toEqual([finalOutput, finalOutput]);
  });

  it('call a tool and end with what it gives', async () => {
    const given: unknown[] = [];
    const agent = new Agent({
      name: 'Forecaster',
      instructions: 'Tell the weather.',
      model: model(),
      modelSettings: { ...settings, toolChoice: 'required' },
      tools: [
        tool({
          name: 'weather',
          description: 'Tells the weather.',
          parameters: weatherShape,
          execute: (value) => {
            given.push(value);
            return 'sun';
          },
        }),
      ],
      toolUseBehavior: 'stop_on_first_tool',
    });
    expect((await run(agent, question)).finalOutput).toBe('sun');
    const streamed = await run(agent, question, { stream: true });
    await streamed.completed;
    expect([streamed.finalOutput, given.map(weatherFault)]).toEqual(['sun', [null, null]]);
  });

  it('go on after a tool', async () => {
    const agent = new Agent({
      name: 'Forecaster',
      instructions: 'Tell the weather.',
      model: model(),
      modelSettings: { ...settings, temperature: 0, toolChoice: 'required' },
      tools: [
        tool({ name: 'weather', description: 'Tells.', parameters: weatherShape, execute: () => 'sun' }),
      ],
    });
    // The SDK asks for no call after one.
    const { rawResponses, newItems } = await run(agent, question, { maxTurns: 6 });
    expect(rawResponses.length).toBeGreaterThan(1);
    expect(newItems.map(({ type }) => type)).toContain('tool_call_output_item');
  });

  it('hand over to another', async () => {
    const other = new Agent({
      name: 'Storm',
      handoffDescription: 'Knows storms.',
      instructions: 'Tell.',
      model: model(),
      modelSettings: { temperature: 0, maxTokens: 6 },
    });
    const first = new Agent({
      name: 'Desk',
      instructions: 'Hand over.',
      model: model(),
      modelSettings: { ...settings, toolChoice: 'required' },
      handoffs: [other],
    });
    const { lastAgent, newItems } = await run(first, question);
    expect(lastAgent?.name).toBe('Storm');
    expect(newItems.map(({ type }) => type)).toContain('handoff_output_item');
  });

  it('end with an object of their type', async () => {
    const agent = new Agent({
      name: 'Forecaster',
      instructions: 'Tell the weather.',
      model: model(),
      modelSettings: settings,
      outputType: weatherShape,
    });
    expect(weatherFault((await run(agent, question)).finalOutput)).toBeNull();
  });
});
