import { request } from 'node:http';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Server, startWorker } from './testing/server.js';

const page = 'https://chat.example';
const comment = ': keep-alive\n\n';
let server: Server;
beforeAll(async () => {
  const options = [
    '--cors',
    'HTTPS://Chat.example/',
    '--allow-host',
    'LLM.example',
    '--stream-keep-alive',
    '1',
  ];
  server = new Server(['--workers', '0', '--wait-for', '1', ...options]);
  await server.line(/^API on/);
});
afterAll(() => server[Symbol.asyncDispose]());

const statusAs = (host: string) =>
  new Promise<number | undefined>((resolve, reject) => {
    const sent = request(`${server.url}/health`, { headers: { host } }, (response) => {
      response.resume();
      resolve(response.statusCode);
    });
    sent.once('error', reject).end();
  });

describe('serve', () => {
  it('lets in the pages that it was told to', async () => {
    const headers = { origin: page, 'access-control-request-method': 'POST' };
    const { status, headers: answer } = await fetch(`${server.url}/v1/models`, {
      method: 'OPTIONS',
      headers,
    });
    expect([status, answer.get('access-control-allow-origin')]).toEqual([204, page]);
  });

  it('answers under its own names and those that it was given', async () => {
    expect(await statusAs('llm.example')).toBe(200);
    expect(await statusAs('localhost:1')).toBe(200);
    expect(await statusAs('evil.example')).toBe(403);
  });

  it('opens a stream and keeps it while there is no worker, and then answers', async () => {
    const body = { prompt: 'Once upon a time', max_tokens: 5, stream: true };
    const response = await server.post('/v1/completions', body);
    expect(response.status).toBe(200);
    if (!response.body) throw new Error('The response has no body.');
    let text = '';
    const decoder = new TextDecoder();
    const workers: AsyncDisposable[] = [];
    for await (const bytes of response.body as AsyncIterable<Uint8Array>) {
      text += decoder.decode(bytes, { stream: true });
      if (workers.length > 0 || text.length < 2 * comment.length) continue;
      expect(text.replaceAll(comment, '')).toBe('');
      workers.push(startWorker(server));
    }
    await Promise.all(workers.map((worker) => worker[Symbol.asyncDispose]()));
    expect(text).toMatch(/data: \[DONE\]\n\n$/);
    expect(workers).toHaveLength(1);
  });
});
