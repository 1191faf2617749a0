import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { ButterflyError } from '@butterfly/common';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { LoadReport } from './load-test/tally.js';
import { createProgram } from './program.js';
import { Butterfly, run } from './testing/butterfly.js';
import { Server } from './testing/server.js';

let server: Server;
beforeAll(async () => {
  server = await new Server(['--workers', '1', '--ctx', '2048', '--parallel', '2']).ready();
});
afterAll(() => server[Symbol.asyncDispose]());

async function bench(...args: readonly string[]) {
  const { code, stdout, stderr } = await run(['bench', ...args, '--json']);
  return { code, stderr, report: JSON.parse(stdout.join('\n')) as LoadReport & { readonly model: string } };
}

const small = ['--requests', '5', '--max-tokens', '8', '--prompt-tokens', '40'];

describe('butterfly bench', () => {
  it.each([
    ['at once', ['--concurrency', '2']],
    ['at a rate, in chats', ['--rate', '1000', '--chat']],
  ])('counts the requests and tokens of a server, %s', async (_, args) => {
    const { code, report } = await bench(server.url, ...small, ...args);
    expect(code).toBe(0);
    expect(report).toMatchObject({
      model: server.modelName,
      requests: { planned: 5, sent: 5, answered: 5, failed: 0, stopped: 0 },
      outputTokens: 40,
      tokensCountedBy: 'usage',
      errors: {},
    });
    for (const figures of [report.firstTokenMs, report.betweenTokensMs, report.endToEndMs])
      expect(figures?.p50).toBeLessThanOrEqual(figures?.p99 ?? NaN);
    // Words have one token or a few.
    expect(Math.abs((report.inputTokens ?? 0) / 5 - 40)).toBeLessThan(20);
  });

  it('has the errors of a server by code', async () => {
    const { code, report, stderr } = await bench(server.url, ...small, '--model', 'another');
    expect(code).not.toBe(0);
    expect(report).toMatchObject({ requests: { answered: 0, failed: 5 }, outputTokens: 0, endToEndMs: null });
    expect(report.errors).toEqual({ '404 NOT_FOUND': 5 });
    expect(stderr.at(-1)).toContain('None of 5 requests was answered');
  });
});

it.each([
  ['--rate', '2', '--concurrency', '3'],
  ['--prompt-file', 'x', '--prompt-tokens', '3'],
  ['--prompt-file', 'x', '--same-prompt'],
])('refuses %s %s with %s by name', async (one, value, other, ...rest) => {
  const program = await createProgram('bench', {}, null);
  const asked = program.parseAsync(['bench', 'http://127.0.0.1:1', one, value, other, ...rest], {
    from: 'user',
  });
  const error: unknown = await asked.catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(ButterflyError);
  for (const name of [one, other]) expect(String(error)).toContain(name);
});

it('prints what was measured so far when it is stopped, of a server that counts nothing and hangs', async () => {
  let asked = 0;
  const hanging = createServer((request, response) => {
    request.resume();
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    asked += 1;
    response.write('data: {"choices":[{"text":"a"}]}\n\ndata: {"choices":[{"text":"b"}]}\n\n');
    // Two that count the words of prompts, and one that is measured, come to an end; another has an error of llama-server.
    if (asked <= 3) response.end('data: [DONE]\n\n');
    else if (asked === 4)
      response.end('data: {"error":{"code":500,"message":"No memory.","type":"server_error"}}\n\n');
  });
  await new Promise<void>((resolve) => hanging.listen(0, '127.0.0.1', resolve));
  try {
    const url = `http://127.0.0.1:${(hanging.address() as AddressInfo).port}`;
    await using command = new Butterfly(['bench', url, '--model', 'x', '--concurrency', '1', '--json']);
    await new Promise<void>((resolve) => {
      hanging.on('request', () => {
        if (asked === 5) resolve();
      });
    });
    command.kill('SIGINT');
    const { code } = await command.ended();
    expect(code).not.toBe(0);
    const report = JSON.parse(command.stdout.join('\n')) as LoadReport;
    expect(report).toMatchObject({
      requests: { planned: 32, sent: 3, answered: 1, failed: 1, stopped: 1 },
      inputTokens: null,
      tokensCountedBy: 'pieces',
      errors: { '200 500': 1 },
    });
    expect(command.stderr.at(-1)).toContain('stopped with 2 of 32');
  } finally {
    hanging.closeAllConnections();
    hanging.close();
  }
});
