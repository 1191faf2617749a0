import { embedMany, generateText, streamText } from 'ai';
import { type ButterflyEvent, type Cluster, createCluster } from 'butterfly';
import { createButterfly } from 'butterfly/ai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const events: ButterflyEvent[] = [];
let cluster: Cluster;

beforeAll(async () => {
  cluster = await createCluster({
    workers: 2,
    threads: 1,
    isDeterministic: true,
    join: { host: '127.0.0.1', port: 0 },
    onEvent: (event) => events.push(event),
  });
  await cluster.ready();
});
afterAll(() => cluster.close());

const story = { prompt: 'Once upon a time', max_tokens: 40, temperature: 0 };

function pidOfAWorker(): number {
  for (const event of events) if (event.kind === 'localWorkerStarted') return event.workerPid ?? 0;
  throw new Error('No worker has started.');
}

/** Requests that hold a place. */
function running(): number {
  return cluster.describe().replicas.reduce((sum, each) => sum + each.running + each.queued, 0);
}

it('says by its name what is no objective', async () => {
  const objective = { name: 'energy', costOf: () => NaN };
  await expect(createCluster({ objective, replicas: 2 })).rejects.toMatchObject({ param: 'objective' });
  await using broken = await createCluster({ objective, threads: 1 });
  await expect(broken.ready()).rejects.toMatchObject({
    code: 'CONFIG_INVALID',
    message: expect.stringContaining('"energy" gave NaN for a plan of 1 stage') as string,
  });
});

describe('a cluster inside a program', () => {
  it('gives the same as events, as a whole and as text', async () => {
    let text = '';
    const kinds = new Set<string>();
    for await (const event of cluster.generate(story)) {
      kinds.add(event.kind);
      if (event.kind === 'text') text += event.text;
    }
    expect([...kinds]).toEqual(['text', 'finish', 'usage']);
    expect(await cluster.generate(story).text()).toBe(text);
    const { choices, usage } = await cluster.generate(story).whole();
    expect(choices).toMatchObject([{ text, reason: 'length' }]);
    expect(usage.outputTokens).toBe(40);
  });

  it('cancels for a signal, and for whoever leaves the loop', async () => {
    for await (const event of cluster.generate({ ...story, max_tokens: 200 }))
      if (event.kind === 'text') break;
    await expect.poll(running).toBe(0);
    const signal = AbortSignal.abort();
    await expect(cluster.generate({ ...story, signal }).text()).rejects.toMatchObject({ code: 'CANCELLED' });
    const stopping = new AbortController();
    const answer = cluster.generate({ ...story, max_tokens: 200, signal: stopping.signal }).whole();
    await expect.poll(running).toBe(1);
    stopping.abort();
    await expect(answer).rejects.toMatchObject({ code: 'CANCELLED' });
    await expect.poll(running).toBe(0);
  });

  it('refuses what is wrong by name, and what is read twice', async () => {
    expect(() => cluster.chat({ messages: [{ role: 'user', content: 'Hi' }], temperature: 9 })).toThrow(
      expect.objectContaining({ code: 'REQUEST_INVALID', param: 'temperature' }),
    );
    const answer = cluster.generate(story);
    await answer.text();
    await expect(answer.text()).rejects.toMatchObject({ code: 'REQUEST_INVALID' });
  });

  it('is measured by itself, and shows that to its program alone', async () => {
    const page = await cluster.metrics('application/openmetrics-text; version=1.0.0');
    expect(page.contentType).toMatch(/^application\/openmetrics-text/u);
    expect(page.text).toMatch(/^butterfly_ready 1$/mu);
    expect(page.text).toMatch(/^vllm:generation_tokens_total\{model_name="[^"]+"\} [1-9]/mu);
    // The process is the program's own.
    expect(page.text).not.toContain('butterfly_process_');
    expect((await cluster.fetch(new Request('http://localhost/metrics'))).status).toBe(404);
  });

  it('makes embeddings', async () => {
    const { vectors } = await cluster.embed(['a dog', 'a dog', 'the moon']);
    expect(vectors).toHaveLength(3);
    expect(vectors[0]).toEqual(vectors[1]);
    expect(vectors[0]?.reduce((sum, value) => sum + value * value, 0)).toBeCloseTo(1, 5);
  });

  it('is a provider of the AI SDK', async () => {
    const butterfly = createButterfly(cluster);
    const prompt = 'Tell me of a dog.';
    const model = butterfly(cluster.modelId);
    const asked = { model, prompt, temperature: 0, maxOutputTokens: 24, maxRetries: 0 };
    const { text, usage } = await generateText(asked);
    const messages = [{ role: 'user', content: prompt }];
    expect(text).toBe(await cluster.chat({ messages, temperature: 0, max_tokens: 24 }).text());
    const stream = streamText(asked);
    let streamed = '';
    for await (const piece of stream.textStream) streamed += piece;
    expect([streamed, (await stream.usage).outputTokens]).toEqual([text, usage.outputTokens]);

    const values = ['a dog', 'the moon'];
    const { embeddings } = await embedMany({ model: butterfly.embeddingModel(cluster.modelId), values });
    const { vectors } = await cluster.embed(values);
    expect(embeddings).toEqual(vectors.map((vector) => [...vector]));

    const options = { providerOptions: { butterfly: { top_k: -7 } } };
    await expect(generateText({ ...asked, ...options })).rejects.toThrow(/top_k/);
    const stopping = new AbortController();
    const long = streamText({ ...asked, abortSignal: stopping.signal, maxOutputTokens: 200 });
    for await (const piece of long.textStream) if (piece.length > 0) stopping.abort();
    await expect.poll(running).toBe(0);
  });

  it('goes on with the same words when a worker dies in the midst', async () => {
    const right = await cluster.generate({ ...story, max_tokens: 200 }).text();
    let text = '';
    for await (const event of cluster.generate({ ...story, max_tokens: 200 })) {
      if (event.kind !== 'text') continue;
      if (text === '') process.kill(pidOfAWorker(), 'SIGKILL');
      text += event.text;
    }
    expect(text).toBe(right);
    expect(events.map(({ kind }) => kind)).toContain('localWorkerEnded');
  });
});
