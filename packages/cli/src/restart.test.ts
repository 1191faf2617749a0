import { join } from 'node:path';
import { freePort } from '@butterfly/testkit';
import { streamText } from 'ai';
import { createButterfly, resumingFetch } from 'butterfly/ai';
import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Butterfly } from './testing/butterfly.js';
import { formTokens, question, weatherFault, weatherSchema } from './testing/asked.js';
import { Folder } from './testing/models.js';
import { Server, startWorker } from './testing/server.js';

/** Long enough that a server can die in the midst of each. */
const outputTokens = 300;
const prompt = 'Once upon a time';

let folder: Folder;
let ports: readonly [api: number, cluster: number];
let server: Server;
/** They outlive each server, keep what they have loaded, and dial the next one. */
let workers: readonly Butterfly[];
const restarts: Promise<void>[] = [];

function begin(): Server {
  const [api, cluster] = ports.map(String) as [string, string];
  return new Server([
    ...['--workers', '0', '--wait-for', '2', '--stages', '2', '--cluster-port', cluster],
    ...['--port', api, '--data-dir', folder.path, '--ctx', '1024', '--parallel', '8', '--deterministic'],
  ]);
}
/** Ends it at once, and starts another one in its place. */
async function restart(): Promise<void> {
  server.kill('SIGKILL');
  await server.ended();
  server = begin();
  await server.ready();
}

beforeAll(async () => {
  folder = new Folder();
  ports = [await freePort(), await freePort()];
  server = begin();
  await server.line(/^Join with: /);
  workers = ['one', 'two'].map((name) =>
    startWorker(server, ['--data-dir', join(folder.path, name), '--name', name]),
  );
  await server.ready();
});
afterAll(async () => {
  await Promise.allSettled(restarts);
  await server[Symbol.asyncDispose]();
  for (const worker of workers) await worker[Symbol.asyncDispose]();
  folder[Symbol.dispose]();
});

const base = (): string => `http://127.0.0.1:${ports[0]}/v1`;
const openai = (): OpenAI =>
  new OpenAI({ baseURL: base(), apiKey: 'none', maxRetries: 0, fetch: resumingFetch() });

/** A client that asks, tells how many pieces came, and gives all that it heard. */
type Client = (onPiece: (pieces: number) => void) => Promise<string>;

// Deprecated by OpenAI; here it is what it says.
const seeded: object = { seed: 3 };
const sampled = { temperature: 1, seed: 7, ignore_eos: true } as const;

const completion: Client = async (onPiece) => {
  const asked = { model: server.modelName, prompt, max_tokens: outputTokens, ...sampled };
  // Of each choice by itself: how they take turns is nobody's business.
  const texts = ['', ''];
  let pieces = 0;
  for await (const { choices, usage } of await openai().completions.create({
    ...asked,
    ...{ stream: true, logprobs: 2, n: 2, stream_options: { include_usage: true } },
  })) {
    for (const { index, ...said } of choices) texts[index] = (texts[index] ?? '') + JSON.stringify(said);
    if (usage) texts.push(String(usage.completion_tokens));
    onPiece(++pieces);
  }
  return texts.join('\n');
};

const schemaChat: Client = async (onPiece) => {
  let [text, pieces] = ['', 0];
  const schema = { type: 'array', items: weatherSchema, minItems: 8, maxItems: 8 };
  for await (const { choices } of await openai().chat.completions.create({
    ...{ model: server.modelName, messages: [{ role: 'user', content: question }], temperature: 1 },
    ...{ max_completion_tokens: formTokens, stream: true, ...seeded },
    response_format: { type: 'json_schema', json_schema: { name: 'w', strict: true, schema } },
  })) {
    text += choices[0]?.delta.content ?? '';
    onPiece(++pieces);
  }
  return text;
};

const toolCalls: Client = async (onPiece) => {
  let [text, pieces] = ['', 0];
  for await (const { choices } of await openai().chat.completions.create({
    ...{ model: server.modelName, messages: [{ role: 'user', content: question }], temperature: 1 },
    ...{ max_completion_tokens: formTokens, stream: true, tool_choice: 'required', ...seeded },
    tools: [
      { type: 'function', function: { name: 'weather', strict: true, parameters: { ...weatherSchema } } },
    ],
  })) {
    const call = choices[0]?.delta.tool_calls?.[0]?.function;
    text += call?.arguments ?? '';
    if (call) onPiece(++pieces);
  }
  return text;
};

const aiSdk: Client = async (onPiece) => {
  const butterfly = createButterfly({ baseURL: base(), apiKey: 'none' });
  const { textStream } = streamText({
    ...{ model: butterfly(server.modelName), prompt, temperature: 1, maxRetries: 0 },
    ...{ maxOutputTokens: outputTokens, seed: 9, providerOptions: { butterfly: { ignore_eos: true } } },
  });
  let [text, pieces] = ['', 0];
  for await (const piece of textStream) {
    text += piece;
    onPiece(++pieces);
  }
  return text;
};

/** As llama-server's page does: by the bytes that it has. */
const conversation: Client = async (onPiece) => {
  const name = `conversation-${Math.random()}`;
  const body = { ...{ model: server.modelName, prompt, max_tokens: outputTokens, stream: true }, ...sampled };
  let bytes = Buffer.alloc(0);
  let response = await fetch(`${base()}/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-conversation-id': name },
    body: JSON.stringify(body),
  });
  for (;;) {
    try {
      for await (const piece of response.body ?? []) {
        bytes = Buffer.concat([bytes, piece as Uint8Array]);
        onPiece(bytes.toString().split('\n\n').length);
      }
      break;
    } catch {
      response = await again(`${base()}/stream?conv_id=${name}&from=${bytes.length}`);
    }
  }
  return textOf(bytes.toString());
};

const background: Client = async (onPiece) => {
  const asked = { model: server.modelName, input: prompt, max_output_tokens: outputTokens, ...sampled };
  const plain = new OpenAI({ baseURL: base(), apiKey: 'none', maxRetries: 0 });
  let [text, id, last] = ['', '', -1];
  let events = await plain.responses.create({ ...asked, background: true, stream: true });
  for (;;) {
    try {
      for await (const event of events) {
        expect(event.sequence_number).toBe(++last);
        if (event.type === 'response.created') ({ id } = event.response);
        if (event.type === 'response.output_text.delta') text += event.delta;
        onPiece(last);
      }
      break;
    } catch {
      await again(`${base()}/models`);
      events = await plain.responses.retrieve(id, { stream: true, starting_after: last });
    }
  }
  return text;
};

/** Until somebody answers. */
async function again(url: string): Promise<Response> {
  for (;;) {
    const response = await fetch(url).catch(() => null);
    if (response?.ok) return response;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

const textOf = (stream: string): string =>
  stream
    .split('\n\n')
    .flatMap((event) => /^data: (\{.*)$/m.exec(event)?.[1] ?? [])
    .map((json) => (JSON.parse(json) as { choices: { text: string }[] }).choices[0]?.text ?? '')
    .join('');

const clients = { completion, schemaChat, toolCalls, aiSdk, conversation, background };

describe('an orchestrator that is killed while clients of all kinds hear their answers', () => {
  it('goes on with all of them when it is started again, and none of them hears another word', async () => {
    const names = Object.keys(clients) as (keyof typeof clients)[];
    const undisturbed = await Promise.all(names.map((name) => clients[name](() => undefined)));
    expect(weatherFault((JSON.parse(undisturbed[1] ?? '') as unknown[])[0])).toBeNull();
    for (const killedAt of [3, 40]) {
      const heard = await Promise.all(
        names.map((name) =>
          clients[name]((pieces) => {
            if (pieces === killedAt && name === 'completion') restarts.push(restart());
          }),
        ),
      );
      await Promise.all(restarts);
      for (const [index, name] of names.entries())
        expect(`${name}: ${heard[index] ?? ''}`).toBe(`${name}: ${undisturbed[index] ?? ''}`);
      expect(server.records('An answer goes on that an earlier process began.').length).toBeGreaterThan(3);
      expect(workers.map(({ ending }) => ending)).toEqual([null, null]);
    }
  });
});
