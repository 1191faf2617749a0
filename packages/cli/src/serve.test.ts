import type OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { run } from './testing/butterfly.js';
import { model as modelPath } from './testing/models.js';
import { Server } from './testing/server.js';

const parallel = 1;
const model = 'aidreams-260k';
const messages = [{ role: 'user' as const, content: 'What do you dream of?' }];

let server: Server;
let openai: OpenAI;
beforeAll(async () => {
  server = await new Server(['--workers', '3', '--ctx', '2048', '--parallel', String(parallel)]).ready();
  openai = server.openai;
});
afterAll(() => server[Symbol.asyncDispose]());

async function complete(prompt: string, maxTokens = 1500): Promise<string> {
  const { choices } = await openai.completions.create({
    model,
    prompt,
    max_tokens: maxTokens,
    temperature: 0,
  });
  return choices[0]?.text ?? '';
}

async function stream(prompt: string): Promise<string> {
  const request = { model, prompt, max_tokens: 1500, temperature: 0, stream: true } as const;
  let text = '';
  for await (const { choices } of await openai.completions.create(request)) text += choices[0]?.text ?? '';
  return text;
}

describe('three workers and the official client', () => {
  it('share out the layers, each one once', () => {
    const { stages } = server;
    expect(stages.map(({ layers }) => layers[0])).toEqual([
      0,
      ...stages.slice(0, -1).map(({ layers }) => layers[1] + 1),
    ]);
    expect(stages.at(-1)?.layers[1]).toBe(3);
    expect(new Set(stages.map(({ pid }) => pid)).size).toBe(3);
  });

  it('chat, streaming and not, with the same words', async () => {
    const request = { model, messages, max_tokens: 100, temperature: 0 };
    const whole = await openai.chat.completions.create(request);
    const words = whole.choices[0]?.message.content ?? '';
    expect(words.length).toBeGreaterThan(10);
    const { usage } = whole;
    expect(usage?.total_tokens).toBe((usage?.prompt_tokens ?? 0) + (usage?.completion_tokens ?? 0));

    const events = await openai.chat.completions.create({
      ...request,
      stream: true,
      stream_options: { include_usage: true },
    });
    const pieces: string[] = [];
    let last: OpenAI.ChatCompletionChunk | null = null;
    for await (const event of events) {
      pieces.push(event.choices[0]?.delta.content ?? '');
      last = event;
    }
    expect(pieces.join('')).toBe(words);
    expect(pieces.length).toBeGreaterThan(5);
    expect(last?.usage).toEqual(usage);
  });

  it('complete, streaming and not, with the same words', async () => {
    const text = await complete('Once upon a time');
    expect(text).toContain('petals');
    expect(await stream('Once upon a time')).toBe(text);
  });

  it('name the model', async () => {
    const { data } = await openai.models.list();
    expect(data.map(({ id }) => id)).toEqual([model]);
  });

  it('serve many streams at once, each as if it were alone', async () => {
    const prompts = ['Once upon a time', 'The', 'Light', 'x', 'We'];
    const alone: string[] = [];
    for (const prompt of prompts) alone.push(await complete(prompt));
    expect(await Promise.all(prompts.map(stream))).toEqual(alone);
  });
});

describe('greedy text', () => {
  it.each([1, 2, 4])('is the same with %i workers as with three', async (workers) => {
    const prompt = 'Once upon a time';
    const args = [
      '--workers',
      String(workers),
      '--threads',
      '1',
      '--max-tokens',
      '100',
      '--temperature',
      '0',
    ];
    const { code, stdout } = await run(['generate', modelPath, prompt, ...args]);
    expect(code).toBe(0);
    expect(stdout.join('\n')).toBe(await complete(prompt, 100));
  });
});

describe('a client that goes away in mid-stream', () => {
  it('frees what its requests held', async () => {
    const before = await complete('The');
    const leaving = Array.from({ length: 6 }, async () => {
      const request = { model, prompt: 'The', max_tokens: 1500, temperature: 0, stream: true } as const;
      const events = await openai.completions.create(request);
      await events[Symbol.asyncIterator]().next();
      events.controller.abort();
    });
    await Promise.all(leaving);
    let status = await server.status();
    while (status.running + status.queued > 0) status = await server.status();
    expect(status).toMatchObject({ ready: true, running: 0, queued: 0 });
    const after = await Promise.all(Array.from({ length: parallel + 3 }, () => complete('The')));
    expect(after).toEqual(Array.from({ length: parallel + 3 }, () => before));
  });
});

it('serves over IPv6 too, to workers and clients', async () => {
  await using other = await new Server(['--host', '::1'], { clusterHost: '::1' }).ready();
  expect(other.url).toMatch(/^http:\/\/\[::1\]:\d+$/);
  expect(await other.status()).toMatchObject({ ready: true });
});
