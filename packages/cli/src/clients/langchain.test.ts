import { type AIMessageChunk, HumanMessage, SystemMessage, ToolMessage } from '@langchain/core/messages';
import { tool } from '@langchain/core/tools';
import { ChatOpenAI, type ChatOpenAIFields, OpenAI, OpenAIEmbeddings } from '@langchain/openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { formTokens, question, threeStages, weatherFault, weatherShape } from '../testing/asked.js';
import type { Server } from '../testing/server.js';

let server: Server;
beforeAll(async () => {
  server = await threeStages();
});
afterAll(() => server[Symbol.asyncDispose]());

const fields = (more: ChatOpenAIFields = {}) => ({
  model: server.modelName,
  apiKey: 'none',
  configuration: { baseURL: `${server.url}/v1` },
  maxRetries: 0,
  temperature: 0,
  maxTokens: 16,
  ...more,
});
const inputTokens = (message: { readonly usage_metadata?: unknown }): number =>
  (message.usage_metadata as { readonly input_tokens: number }).input_tokens;
const hot = { temperature: 1, maxTokens: formTokens };

describe.each([
  ['chats, as by default', {}],
  ['Responses', { useResponsesApi: true }],
] as const)('ChatOpenAI over %s', (_, api) => {
  const chat = (more: ChatOpenAIFields = {}) => new ChatOpenAI(fields({ ...api, ...more }));

  it('says the same whole, streamed and in a batch', async () => {
    const said = await chat().invoke([new SystemMessage('Be brief.'), new HumanMessage(question)]);
    const usage: unknown = said.usage_metadata;
    expect(usage).toMatchObject({ output_tokens: expect.any(Number) as number });
    let text = '';
    for await (const chunk of await chat().stream([
      new SystemMessage('Be brief.'),
      new HumanMessage(question),
    ]))
      text += chunk.text;
    expect([text.length > 0, text]).toEqual([true, said.text]);
    const [first, second] = await chat().batch([question, 'Hi']);
    expect([first?.text, second?.text]).toEqual([
      (await chat().invoke(question)).text,
      (await chat().invoke('Hi')).text,
    ]);
  });

  it('calls a bound tool, and reads what came of it', async () => {
    const weather = tool((value) => `${value.city}: sun`, { name: 'weather', schema: weatherShape });
    const bound = chat(hot).bindTools([weather], { tool_choice: 'weather', parallel_tool_calls: false });
    const asked = new HumanMessage(question);
    const said = await bound.invoke([asked]);
    const [call] = said.tool_calls ?? [];
    expect([said.invalid_tool_calls ?? [], weatherFault(call?.args)]).toEqual([[], null]);
    if (call === undefined) throw new Error('There is no call.');
    const result: unknown = await weather.invoke({ ...call, type: 'tool_call' });
    if (!(result instanceof ToolMessage)) throw new Error('The tool gave no message.');
    expect(result.content).toContain('sun');
    const next = await chat().bindTools([weather]).invoke([asked, said, result]);
    expect(inputTokens(next)).toBeGreaterThan(inputTokens(said));
    const chunks: AIMessageChunk[] = [];
    for await (const chunk of await bound.stream([asked])) chunks.push(chunk);
    const gathered = chunks.reduce((before, chunk) => before.concat(chunk));
    expect(weatherFault(gathered.tool_calls?.[0]?.args)).toBeNull();
  });

  it('gives structured output', async () => {
    for (const method of ['jsonSchema', 'functionCalling'] as const) {
      const structured = chat(hot).withStructuredOutput(weatherShape, { name: 'weather', method });
      expect([method, weatherFault(await structured.invoke(question))]).toEqual([method, null]);
    }
  });

  it('is refused what is not there, and knows a prompt that is too long', async () => {
    const image = { type: 'image_url', image_url: { url: 'data:image/png;base64,aGk=' } };
    await expect(chat().invoke([new HumanMessage({ content: [image] })])).rejects.toMatchObject({
      status: 400,
    });
    await expect(chat({ model: 'gpt-9' }).invoke('Hi')).rejects.toMatchObject({ status: 404 });
    await expect(chat().invoke('word '.repeat(2000))).rejects.toMatchObject({ name: 'ContextOverflowError' });
  });
});

describe('the rest of @langchain/openai', () => {
  it('chats with a stop, several choices and log probabilities', async () => {
    const free = (await new ChatOpenAI(fields()).invoke(question)).text;
    const stop = free.trim().slice(2, 5);
    const stopped = await new ChatOpenAI(fields({ stop: [stop] })).invoke(question);
    expect(stopped.text).toBe(free.slice(0, free.indexOf(stop)));
    const { generations } = await new ChatOpenAI(fields({ n: 2, temperature: 1 })).generate([
      [new HumanMessage(question)],
    ]);
    expect(generations[0]).toHaveLength(2);
    const scored = await new ChatOpenAI(fields({ logprobs: true, topLogprobs: 2 })).invoke(question);
    const { content } = scored.response_metadata.logprobs as { content: { top_logprobs: unknown[] }[] };
    expect(new Set(content.map((each) => each.top_logprobs.length))).toEqual(new Set([2]));
  });

  it('completes, several prompts too', async () => {
    const model = new OpenAI(fields());
    const alone = await model.invoke('Once');
    const { generations } = await model.generate(['Once', 'A cat']);
    expect([generations.length, generations[0]?.[0]?.text]).toEqual([2, alone]);
    let text = '';
    for await (const piece of await model.stream('Once')) text += piece;
    expect(text).toBe(alone);
  });

  it('embeds', async () => {
    const embeddings = new OpenAIEmbeddings(fields());
    const [moth] = await embeddings.embedDocuments(['a moth', 'a cat']);
    expect(moth).toHaveLength(64);
    expect(await embeddings.embedQuery('a moth')).toEqual(moth);
  });
});
