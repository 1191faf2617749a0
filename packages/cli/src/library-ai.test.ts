import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { embedMany, generateText, Output, streamText, tool } from 'ai';
import { type Cluster, createCluster } from 'butterfly';
import { type ButterflyProvider, createButterfly } from 'butterfly/ai';
import ts from 'typescript';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { z } from 'zod';
import { Butterfly } from './testing/butterfly.js';
import { model as path } from './testing/models.js';

let cluster: Cluster;
let butterfly: ButterflyProvider;
beforeAll(async () => {
  cluster = await createCluster({ model: path, workers: 2, threads: 1, contextTokens: 1024 });
  butterfly = createButterfly(cluster);
});
afterAll(() => cluster.close());

it('says the same whole and streamed as the cluster itself', async () => {
  const asked = { prompt: 'Tell me of a dog.', temperature: 0, maxOutputTokens: 24 };
  const model = butterfly(cluster.modelId);
  const { text, usage } = await generateText({ model, ...asked });
  expect(text).toBe(
    await cluster
      .chat({ messages: [{ role: 'user', content: asked.prompt }], temperature: 0, max_tokens: 24 })
      .text(),
  );
  const stream = streamText({ model, ...asked });
  let streamed = '';
  for await (const piece of stream.textStream) streamed += piece;
  expect([streamed, (await stream.usage).outputTokens]).toEqual([text, usage.outputTokens]);
});

it('calls a tool, makes an object, and makes vectors', async () => {
  const model = butterfly(cluster.modelId);
  const colour = z.object({ colour: z.enum(['red', 'blue']) });
  const painted: string[] = [];
  const paint = tool({
    inputSchema: colour,
    execute: (value) => painted.push(value.colour),
  });
  const { toolCalls, finishReason } = await generateText({
    ...{ model, tools: { paint }, toolChoice: 'required', prompt: 'Paint.', temperature: 0 },
  });
  expect(finishReason).toBe('tool-calls');
  expect(painted).toEqual(toolCalls.map(({ input }) => (input as { colour: string }).colour));
  const { output } = await generateText({ model, prompt: 'Say.', output: Output.object({ schema: colour }) });
  expect(colour.parse(output)).toEqual(output);
  const { embeddings } = await embedMany({
    ...{ model: butterfly.embeddingModel(cluster.modelId), values: ['a dog', 'the moon'] },
  });
  const { vectors } = await cluster.embed(['a dog', 'the moon']);
  expect(embeddings).toEqual(vectors.map((vector) => [...vector]));
});

it('runs the example with a tool', async () => {
  const examples = new URL('../../../examples/agent.ts', import.meta.url);
  // Where the packages of the workspace are found.
  const program = fileURLToPath(new URL('../.cache/agent.mjs', import.meta.url));
  mkdirSync(dirname(program), { recursive: true });
  const { outputText } = ts.transpileModule(readFileSync(examples, 'utf8'), {
    compilerOptions: { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ES2022 },
  });
  writeFileSync(program, outputText);
  await using agent = new Butterfly([path], { program });
  expect(await agent.ended(), agent.stderr.join('\n')).toEqual({ code: 0, signal: null });
  const lines = agent.stdout.map(
    (line) => JSON.parse(line) as { readonly name?: string; readonly result: string },
  );
  expect(lines[0]).toMatchObject({
    name: 'weather',
    result: expect.stringMatching(/^[\d.]+ (?:celsius|fahrenheit)$/) as string,
  });
  expect(lines.at(-1)).toEqual({ text: expect.any(String) as string });
});

it('tells what is refused, and stops for a signal', async () => {
  const model = butterfly(cluster.modelId);
  const asked = { model, prompt: 'Hi', maxRetries: 0 };
  await expect(generateText({ ...asked, temperature: 9 })).rejects.toMatchObject({ statusCode: 400 });
  const options = { providerOptions: { butterfly: { top_k: -7 } } };
  await expect(generateText({ ...asked, ...options })).rejects.toThrow(/top_k/);
  const stopping = new AbortController();
  const { textStream } = streamText({ ...asked, abortSignal: stopping.signal, maxOutputTokens: 200 });
  for await (const piece of textStream) if (piece.length > 0) stopping.abort();
  await expect.poll(() => cluster.describe().replicas[0]?.running).toBe(0);
});
