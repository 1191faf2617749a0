import { createOpenAI, type OpenAIProvider } from '@ai-sdk/openai';
import {
  embedMany,
  generateObject,
  generateText,
  type LanguageModel,
  Output,
  stepCountIs,
  streamText,
  tool,
} from 'ai';
import { type ButterflyProvider, createButterfly } from 'butterfly/ai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { formTokens, question, threeStages, weatherFault, weatherShape } from '../testing/asked.js';
import type { Server } from '../testing/server.js';

const hot = { temperature: 1, maxOutputTokens: formTokens, maxRetries: 0 };

let server: Server;
let openai: OpenAIProvider;
let butterfly: ButterflyProvider;
beforeAll(async () => {
  server = await threeStages();
  const baseURL = `${server.url}/v1`;
  openai = createOpenAI({ baseURL, apiKey: 'none' });
  butterfly = createButterfly({ baseURL, apiKey: 'none' });
});
afterAll(() => server[Symbol.asyncDispose]());

/** The ways that the SDK has to ask; the first two are what its users come upon. */
const ways: readonly (readonly [name: string, (id: string) => LanguageModel])[] = [
  ['openai(id), which is Responses', (id) => openai(id)],
  ['butterfly(id), which is openai-compatible and chats', (id) => butterfly(id)],
  ['openai.chat(id)', (id) => openai.chat(id)],
];

describe.each(ways)('%s', (_, modelOf) => {
  const model = (): LanguageModel => modelOf(server.modelName);

  it('says the same whole and streamed, and how many tokens that took', async () => {
    const asked = { model: model(), prompt: question, temperature: 0, maxOutputTokens: 16, maxRetries: 0 };
    const whole = await generateText({ ...asked, system: 'Be brief.' });
    const { finishReason, usage } = whole;
    expect(whole.text.length).toBeGreaterThan(0);
    expect(usage.outputTokens).toBeGreaterThan(0);
    const stream = streamText({ ...asked, system: 'Be brief.' });
    let text = '';
    for await (const piece of stream.textStream) text += piece;
    expect([text, await stream.finishReason, (await stream.usage).outputTokens]).toEqual([
      whole.text,
      finishReason,
      usage.outputTokens,
    ]);
    const { response } = whole;
    const next = await generateText({
      model: model(),
      messages: [
        { role: 'user', content: question },
        ...response.messages,
        { role: 'user', content: 'And?' },
      ],
      maxOutputTokens: 2,
    });
    expect(next.usage.inputTokens).toBeGreaterThan(whole.usage.inputTokens ?? Infinity);
  });

  it('calls a tool, and goes on with what came of it', async () => {
    const given: unknown[] = [];
    const tools = {
      weather: tool({
        description: 'Tells the weather.',
        inputSchema: weatherShape,
        execute: (value) => {
          given.push(value);
          return 'sun';
        },
      }),
    };
    const asked = {
      model: model(),
      tools,
      prompt: question,
      ...hot,
      stopWhen: stepCountIs(2),
      prepareStep: ({ stepNumber }: { stepNumber: number }) => ({
        toolChoice: stepNumber === 0 ? ('required' as const) : ('none' as const),
      }),
      providerOptions: { openai: { parallelToolCalls: false }, butterfly: { parallel_tool_calls: false } },
    };
    const { steps } = await generateText(asked);
    expect(steps[0]?.finishReason).toBe('tool-calls');
    expect(steps).toHaveLength(2);
    expect(given.length).toBeGreaterThan(0);
    const streamed = streamText(asked);
    await streamed.consumeStream();
    expect(await streamed.steps).toHaveLength(2);
    expect(given.map(weatherFault).filter((fault) => fault !== null)).toEqual([]);
  });

  it('makes objects, whole and streamed', async () => {
    const asked = { model: model(), prompt: question, ...hot };
    const { output } = await generateText({ ...asked, output: Output.object({ schema: weatherShape }) });
    expect(weatherFault(output)).toBeNull();
    // Most programs ask so still.
    // eslint-disable-next-line @typescript-eslint/no-deprecated
    const { object } = await generateObject({ ...asked, schema: weatherShape });
    expect(weatherFault(object)).toBeNull();
    const stream = streamText({ ...asked, output: Output.object({ schema: weatherShape }) });
    let last: unknown = null;
    for await (const partial of stream.partialOutputStream) last = partial;
    expect([weatherFault(last), last]).toEqual([null, await stream.output]);
  });

  it('tells what was refused, and ends when it is told to', async () => {
    const content = [{ type: 'image' as const, image: new Uint8Array([1, 2]), mediaType: 'image/png' }];
    const image = generateText({ model: model(), messages: [{ role: 'user', content }], maxRetries: 0 });
    await expect(image).rejects.toMatchObject({ statusCode: 400 });
    await expect(
      generateText({ model: modelOf('gpt-9'), prompt: 'Hi', maxRetries: 0 }),
    ).rejects.toMatchObject({
      statusCode: 404,
    });
    const long = generateText({ model: model(), prompt: 'word '.repeat(2000), maxRetries: 0 });
    await expect(long).rejects.toThrow(/maximum context length is \d+ tokens/u);
    const aborting = new AbortController();
    const { textStream } = streamText({
      model: model(),
      prompt: question,
      temperature: 0,
      maxOutputTokens: 900,
      abortSignal: aborting.signal,
    });
    let pieces = 0;
    for await (const piece of textStream) {
      pieces += piece.length > 0 ? 1 : 0;
      if (pieces === 3) aborting.abort();
    }
    await expect.poll(() => server.status(), { timeout: 60_000 }).toMatchObject({ running: 0, queued: 0 });
    expect(pieces).toBeLessThan(900);
  });
});

describe('the other models of the SDK', () => {
  it('complete', async () => {
    for (const model of [openai.completion(server.modelName), butterfly.completionModel(server.modelName)]) {
      const { text, usage } = await generateText({
        model,
        prompt: 'Once',
        temperature: 0,
        maxOutputTokens: 4,
      });
      expect([text.length > 0, usage.outputTokens]).toEqual([true, 4]);
    }
  });

  it('embed', async () => {
    const values = ['a moth', 'a cat'];
    const made = [];
    for (const model of [openai.embedding(server.modelName), butterfly.embeddingModel(server.modelName)])
      made.push((await embedMany({ model, values })).embeddings);
    expect(made[0]?.map(({ length }) => length)).toEqual([64, 64]);
    expect(made[1]).toEqual(made[0]);
  });
});
