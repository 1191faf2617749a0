import { createServer, type Server as HttpServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { DefaultChatTransport, streamText, type UIMessage, type UIMessageChunk } from 'ai';
import { createButterfly, resumedConversation } from 'butterfly/ai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { question } from '../testing/asked.js';
import { Server } from '../testing/server.js';

let server: Server;
let app: HttpServer;
let transport: DefaultChatTransport<UIMessage>;
beforeAll(async () => {
  server = await new Server(['--ctx', '1024', '--deterministic']).ready();
  app = createServer((request, response) => {
    const source = { baseURL: `${server.url}/v1`, apiKey: 'none' };
    const resumed = /^\/api\/chat\/([^/]+)\/stream$/.exec(request.url ?? '')?.[1];
    const id = resumed ?? request.headers['x-chat']?.toString() ?? '';
    const model =
      resumed === undefined
        ? createButterfly(source)(server.modelName)
        : resumedConversation(source, decodeURIComponent(id));
    void streamText({
      ...{ model, prompt: question, temperature: 1, seed: 4, maxOutputTokens: 300, maxRetries: 0 },
      providerOptions: { butterfly: { ignore_eos: true } },
      headers: { 'x-conversation-id': id },
      onError: () => undefined,
    }).pipeUIMessageStreamToResponse(response);
  });
  await new Promise<void>((resolve) => app.listen(0, '127.0.0.1', resolve));
  const api = `http://127.0.0.1:${(app.address() as AddressInfo).port}/api/chat`;
  transport = new DefaultChatTransport({ api });
});
afterAll(async () => {
  app.closeAllConnections();
  await new Promise((resolve) => app.close(resolve));
  await server[Symbol.asyncDispose]();
});

const messages: UIMessage[] = [{ id: 'm1', role: 'user', parts: [{ type: 'text', text: question }] }];

/** What is said, up to so many pieces; then the page is left. */
async function textOf(stream: ReadableStream<UIMessageChunk>, piecesMax = Infinity): Promise<string> {
  let [text, pieces] = ['', 0];
  for await (const chunk of stream) {
    if (chunk.type === 'error') throw new Error(chunk.errorText);
    if (chunk.type === 'text-delta') text += chunk.delta;
    if (chunk.type === 'text-delta' && ++pieces === piecesMax) break;
  }
  return text;
}

const send = (chatId: string, signal?: AbortSignal): Promise<ReadableStream<UIMessageChunk>> =>
  transport.sendMessages({
    ...{ trigger: 'submit-message', chatId, messageId: undefined, messages, abortSignal: signal },
    headers: { 'x-chat': chatId },
  });

describe('a chat of the AI SDK whose page is loaded anew', () => {
  it('goes on with its answer, from the beginning', async () => {
    const whole = await textOf(await send('chat-whole'));
    const left = new AbortController();
    const before = await textOf(await send('chat-left', left.signal), 5);
    left.abort();
    const again = await transport.reconnectToStream({ chatId: 'chat-left' });
    if (!again) throw new Error('There is nothing to go on with.');
    expect(await textOf(again)).toBe(whole);
    expect(whole.startsWith(before)).toBe(true);
    expect(before.length).toBeLessThan(whole.length);
  });

  it('fails where nothing is kept', async () => {
    const nothing = await transport.reconnectToStream({ chatId: 'chat-unknown' });
    await expect(nothing ? textOf(nothing) : null).rejects.toThrow();
  });
});
