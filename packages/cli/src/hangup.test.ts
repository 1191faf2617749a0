import { readFileSync } from 'node:fs';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, describe, expect, it } from 'vitest';
import { Butterfly } from './testing/butterfly.js';
import { Folder, model } from './testing/models.js';
import { hasPseudoTerminals, shellCommand, startInTerminal } from './testing/pseudo-terminal.js';
import { Server, startWorker } from './testing/server.js';
import { makeToken } from './testing/tokens.js';

const folder = new Folder();
afterAll(() => folder[Symbol.dispose]());
const deadlineMs = 60_000;

/** What the shell that waited for the command wrote of its end. */
async function exitCode(path: string): Promise<string> {
  const endMs = performance.now() + deadlineMs;
  while (performance.now() < endMs) {
    const text = readOrNothing(path);
    if (text.endsWith('\n')) return text.trim();
    await sleep(50);
  }
  throw new Error('The command did not end in time.');
}

function readOrNothing(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

describe.runIf(hasPseudoTerminals)('a terminal that closes', () => {
  const quick = ['--threads', '1', '--kv-cache-type', 'f16'];

  it.concurrent.each([
    ['serve', ['serve', model, '--workers', '2', '--port', '0', '--cluster-port', '0', ...quick], 'Ready.'],
    ['worker', ['worker', '--join', '127.0.0.1:1', '--threads', '1'], 'Waiting for an orchestrator'],
    ['generate', ['generate', model, 'The', '--ctx', '8192', '--temperature', '0', ...quick], 'Ever'],
  ])('ends %s in order, though all that it still says goes nowhere', async (name, args, ready) => {
    const path = `${folder.path}/${name}`;
    // As a shell does, it passes the news on; unlike one it stays, to tell how the command ended.
    const command = `trap 'kill -HUP $!' HUP; ${shellCommand(args)} & wait $!; wait $!; echo $? > '${path}'`;
    // A worker without a certificate or a token has nothing to wait for.
    const terminal = startInTerminal(command, { BUTTERFLY_LOG: 'debug', BUTTERFLY_TOKEN: await makeToken() });
    let shown = '';
    terminal.stdout.setEncoding('utf8');
    for await (const text of terminal.stdout) {
      shown += text as string;
      if (name === 'generate' ? /\n\S* ?\w+ \w+ \w+/.test(shown) : shown.includes(ready)) break;
    }
    terminal.kill('SIGKILL');
    await once(terminal, 'close');
    expect(await exitCode(path)).toBe('0');
  });
});

describe('SIGHUP', () => {
  it.concurrent('has a worker say goodbye, however often it comes', async () => {
    await using server = new Server(['--workers', '0']);
    await server.line(/--join HOST/);
    await using worker = startWorker(server);
    await worker.line(/^Joined/);
    for (let times = 0; times < 3; times++) worker.kill('SIGHUP');
    expect(await worker.ended()).toEqual({ code: 0, signal: null });
    expect(worker.stderr).toEqual([]);
  });

  it.concurrent('ends generate in order', async () => {
    await using butterfly = new Butterfly(['generate', model, 'The', '--threads', '1', '--ctx', '2048'], {
      env: { BUTTERFLY_LOG: 'info' },
    });
    await butterfly.until('its worker', () => butterfly.records('A local worker starts.')[0] ?? null);
    butterfly.kill('SIGHUP');
    expect(await butterfly.ended()).toEqual({ code: 0, signal: null });
  });

  it.concurrent('never hurries a server that drains already', async () => {
    await using server = await new Server(['--ctx', '2048']).ready();
    const stream = await server.openai.completions.create({
      ...{ model: 'aidreams-260k', prompt: 'The', max_tokens: 1500, temperature: 0 },
      stream: true,
    });
    let reason: string | null = null;
    let pieces = 0;
    for await (const { choices } of stream) {
      reason = choices[0]?.finish_reason ?? reason;
      if (++pieces === 5) server.kill('SIGTERM');
      if (pieces === 6) server.kill('SIGHUP');
    }
    expect(reason).toBe('stop');
    expect(await server.ended()).toEqual({ code: 0, signal: null });
  });
});
